//! The corpus is what its script writes.

use std::process::Command;

use crate::support::folder;

#[test]
fn the_corpus_is_current() {
    let written = tempfile::tempdir().unwrap();
    let script = folder().join("make_corpus.py");
    let output = Command::new("python3").arg(script).arg(written.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let names = |folder: &std::path::Path| {
        let entries = std::fs::read_dir(folder).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let committed = folder().join("corpus");
    assert_eq!(names(written.path()), names(&committed));
    for name in names(&committed) {
        let equal = std::fs::read(written.path().join(&name)).unwrap()
            == std::fs::read(committed.join(&name)).unwrap();
        assert!(equal, "corpus/{} is not what make_corpus.py writes; run it", name.display());
    }
}
