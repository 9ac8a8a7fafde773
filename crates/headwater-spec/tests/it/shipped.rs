//! The connector specs of the built-in sources.

use std::path::Path;

use headwater_spec::ConnectorSpec;

#[test]
fn the_specs_of_the_built_in_sources_are_read_without_a_doubt() {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../sources");
    let mut seen = 0;
    for entry in std::fs::read_dir(&sources).expect("the folder of sources") {
        let path = entry.expect("a source").path().join("connector_spec.yaml");
        let name = path.display().to_string();
        let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{name}: {e}"));
        let parsed = ConnectorSpec::parse_bytes(&bytes, &name).unwrap_or_else(|e| panic!("{}", e.render()));
        assert_eq!(parsed.warnings, [], "{name}");
        assert!(parsed.value.display_name().is_some(), "{name} has no name to show");
        for parameter in parsed.value.parameters() {
            assert!(parameter.description.is_some(), "{name}: `{}` is not described", parameter.name);
        }
        seen += 1;
    }
    assert!(seen > 0);
}
