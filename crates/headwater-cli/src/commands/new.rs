//! `connector new`: a small connector that works, to start from.
//!
//! The models are real code, in `templates/`: a source `My source` that nobody has. A copy has the new connector's name
//! in all places and forms of that name.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::args::{self, Language};
use crate::config::shown;
use crate::connectors::is_built_in;
use crate::fail::{Exit, Failure};
use crate::output::{Out, Style};

/// A file of the model: its path in the connector's folder, and its text.
type File = (&'static str, &'static str);

macro_rules! files {
    ($($path:literal: $from:literal),* $(,)?) => {
        &[$(($path, include_str!(concat!("../../../../", $from)))),*]
    };
}

/// What a connector has in either language.
const COMMON: &[File] = files! {
    "connector_spec.yaml": "templates/connector_spec.yaml",
    "api.md": "templates/api.md",
    "simulator/endpoints.yaml": "templates/simulator/endpoints.yaml",
    "simulator/suite.yaml": "templates/simulator/suite.yaml",
    "simulator/corpus/items.json": "templates/simulator/corpus/items.json",
    "simulator/corpus/categories.json": "templates/simulator/corpus/categories.json",
};

const PYTHON: &[File] = files! {
    "__init__.py": "templates/python/__init__.py",
    "my_source.py": "templates/python/my_source.py",
    "client.py": "templates/python/client.py",
    "pyproject.toml": "templates/python/pyproject.toml",
    "README.md": "templates/python/README.md",
    "tests/conftest.py": "templates/python/tests/conftest.py",
    "tests/test_my_source.py": "templates/python/tests/test_my_source.py",
    ".gitignore": "templates/python/gitignore",
};

const RUST: &[File] = files! {
    "Cargo.toml": "templates/rust/Cargo.toml.tmpl",
    "src/main.rs": "templates/rust/src/main.rs",
    "src/lib.rs": "templates/rust/src/lib.rs",
    "src/items.rs": "templates/rust/src/items.rs",
    "src/tables.rs": "templates/rust/src/tables.rs",
    "README.md": "templates/rust/README.md",
    "tests/contract.rs": "templates/rust/tests/contract.rs",
    ".gitignore": "templates/rust/gitignore",
};

/// Instructions for work with a coding assistant, in the places where assistants look.
const PROMPTS: &[File] = files! {
    "prompts/README.md": "prompts/README.md",
    "prompts/1-understand.md": "prompts/1-understand.md",
    "prompts/2-implement.md": "prompts/2-implement.md",
    "prompts/3-test.md": "prompts/3-test.md",
    "prompts/4-document.md": "prompts/4-document.md",
    ".cursor/rules/connector.mdc": ".cursor/rules/connector.mdc",
    ".claude/skills/connector-understand/SKILL.md": ".claude/skills/connector-understand/SKILL.md",
    ".claude/skills/connector-implement/SKILL.md": ".claude/skills/connector-implement/SKILL.md",
    ".claude/skills/connector-test/SKILL.md": ".claude/skills/connector-test/SKILL.md",
    ".claude/skills/connector-document/SKILL.md": ".claude/skills/connector-document/SKILL.md",
};

/// Names that mean something else in one of the languages, or to the connector's own files.
const TAKEN: &[&str] = &[
    "abstract",
    "alloc",
    "and",
    "as",
    "assert",
    "async",
    "await",
    "become",
    "box",
    "break",
    "class",
    "client",
    "const",
    "continue",
    "core",
    "crate",
    "databricks",
    "def",
    "del",
    "do",
    "dyn",
    "elif",
    "else",
    "enum",
    "except",
    "extern",
    "final",
    "finally",
    "fn",
    "for",
    "from",
    "gen",
    "global",
    "if",
    "impl",
    "import",
    "in",
    "is",
    "items",
    "lambda",
    "let",
    "loop",
    "macro",
    "match",
    "mod",
    "move",
    "mut",
    "nonlocal",
    "not",
    "or",
    "override",
    "pass",
    "priv",
    "proc_macro",
    "prompts",
    "pub",
    "pyspark",
    "raise",
    "ref",
    "return",
    "self",
    "simulator",
    "static",
    "std",
    "struct",
    "super",
    "tables",
    "test",
    "tests",
    "trait",
    "try",
    "type",
    "typeof",
    "unsafe",
    "unsized",
    "use",
    "virtual",
    "where",
    "while",
    "with",
    "yield",
];

const LONGEST_NAME: usize = 50;

pub(crate) fn new(arguments: &args::ConnectorNew, out: &Out) -> Result<Exit, Failure> {
    let name = arguments.name.as_str();
    check_name(name)?;
    let mut values = Vec::new();
    if arguments.lang == Language::Rust {
        values = dependencies(arguments.headwater_path.as_deref())?;
    } else if arguments.headwater_path.is_some() {
        return Err(Failure::usage("`--headwater-path` goes with `--lang rust`")
            .hint("a connector in Python needs no source code of Headwater"));
    }
    let own = match arguments.lang {
        Language::Python => PYTHON,
        Language::Rust => RUST,
    };
    let prompts = if arguments.with_prompts { PROMPTS } else { &[] };
    let folder = arguments.dir.join(name);
    let files: Vec<File> = COMMON.iter().chain(own).chain(prompts).copied().collect();
    write(&folder, name, &files, &values)?;
    tell(arguments, &folder, &files, out)
}

/// A name has to be one for connections, folders, modules of Python and crates.
fn check_name(name: &str) -> Result<(), Failure> {
    let fits = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.len() <= LONGEST_NAME
            && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
            && !name.ends_with('_')
            && !name.contains("__")
    };
    if !fits(name) {
        let failure = Failure::usage(format!("`{name}` is not a name for a new connector"));
        let nearest = normalised(name);
        return Err(failure.hint(match fits(&nearest) && !TAKEN.contains(&nearest.as_str()) {
            true => format!("take `{nearest}`: small letters, digits and single `_`, a letter first"),
            false => format!(
                "use small letters, digits and single `_`, a letter first, at most {LONGEST_NAME} characters"
            ),
        }));
    }
    if TAKEN.contains(&name) {
        return Err(Failure::usage(format!(
            "`{name}` cannot be the name of a connector: it means something else"
        ))
        .hint(format!("take another one, such as `{name}_source`")));
    }
    if is_built_in(name) {
        return Err(Failure::usage(format!("connector `{name}` is built in")).hint("take another name"));
    }
    Ok(())
}

/// The name in the form that names have.
fn normalised(name: &str) -> String {
    let mut fitting = String::new();
    for c in name.chars() {
        match c {
            c if c.is_ascii_alphanumeric() => fitting.push(c.to_ascii_lowercase()),
            _ if !fitting.is_empty() && !fitting.ends_with('_') => fitting.push('_'),
            _ => {}
        }
    }
    fitting.trim_end_matches('_').to_owned()
}

/// Where a crate finds ours: in a folder, or in the repository that this binary was built from.
fn dependencies(path: Option<&Path>) -> Result<Vec<(String, String)>, Failure> {
    let crates = ["headwater-connect", "headwater-http", "headwater-testkit"];
    let mut values = vec![("rust-version".to_owned(), env!("CARGO_PKG_RUST_VERSION").to_owned())];
    match (path, env!("CARGO_PKG_REPOSITORY")) {
        (None, "") => {
            return Err(Failure::usage(
                "a connector in Rust needs the source code of Headwater, and it is not known where that is",
            )
            .hint("clone its repository, and name the folder with `--headwater-path DIR`"));
        }
        (None, url) => {
            values.extend(crates.map(|name| (name.to_owned(), format!("git = {}", toml_text(url)))));
        }
        (Some(path), _) => {
            let root = path.canonicalize().map_err(|e| {
                Failure::other(format!("there is no folder {}", shown(path).display()), &e)
                    .with_exit(Exit::Usage)
            })?;
            for name in crates {
                let folder = root.join("crates").join(name);
                if !folder.join("Cargo.toml").is_file() {
                    return Err(Failure::usage(format!(
                        "{} does not hold the source code of Headwater: it has no crates/{name}",
                        shown(path).display()
                    ))
                    .hint("name the folder of its repository, in which ARCHITECTURE.md is"));
                }
                let Some(folder) = folder.to_str() else {
                    return Err(Failure::usage(format!(
                        "{} has a name that Cargo.toml cannot hold",
                        shown(path).display()
                    )));
                };
                values.push((name.to_owned(), format!("path = {}", toml_text(folder))));
            }
        }
    }
    Ok(values)
}

/// A text as TOML takes it.
fn toml_text(text: &str) -> String {
    // The escapes of JSON are among those of TOML.
    serde_json::Value::from(text).to_string()
}

/// The text of a model for a connector `name`.
fn filled_in(text: &str, name: &str, values: &[(String, String)]) -> String {
    let words: Vec<&str> = name.split('_').collect();
    let capital = |word: &str| {
        let mut letters = word.chars();
        letters.next().map(|c| c.to_ascii_uppercase().to_string() + letters.as_str()).unwrap_or_default()
    };
    let title = capital(&words.join(" "));
    let class: String = words.iter().map(|word| capital(word)).collect();
    let mut text = text
        .replace("my_source", name)
        .replace("MY_SOURCE", &name.to_ascii_uppercase())
        .replace("my-source", &words.join("-"))
        .replace("MySource", &class)
        .replace("My source", &title);
    for (place, value) in values {
        text = text.replace(&format!("{{{{{place}}}}}"), value);
    }
    text
}

/// Writes the folder, which must not be there; one that cannot be written whole is taken away again.
fn write(folder: &Path, name: &str, files: &[File], values: &[(String, String)]) -> Result<(), Failure> {
    let failed = |path: &Path, error: &std::io::Error| {
        Failure::other(format!("{} cannot be written", shown(path).display()), error).with_exit(Exit::Usage)
    };
    if let Some(parent) = folder.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        std::fs::create_dir_all(parent).map_err(|e| failed(parent, &e))?;
    }
    match std::fs::create_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            return Err(Failure::usage(format!("{} exists already", shown(folder).display()))
                .hint("take another name, or make it elsewhere with `--dir DIR`"));
        }
        made => made.map_err(|e| failed(folder, &e))?,
    }
    let write_all = || {
        for (path, text) in files {
            let path = folder.join(path.replace("my_source", name));
            let parent = path.parent().unwrap_or(folder);
            std::fs::create_dir_all(parent).map_err(|e| failed(&path, &e))?;
            let mut file = std::fs::File::create_new(&path).map_err(|e| failed(&path, &e))?;
            file.write_all(filled_in(text, name, values).as_bytes()).map_err(|e| failed(&path, &e))?;
        }
        Ok(())
    };
    write_all().inspect_err(|_| {
        // The failure to tell is the first.
        drop(std::fs::remove_dir_all(folder));
    })
}

fn tell(arguments: &args::ConnectorNew, folder: &Path, files: &[File], out: &Out) -> Result<Exit, Failure> {
    let name = arguments.name.as_str();
    let place = shown(&std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned()));
    let steps = steps(name, &place, arguments.lang);
    if out.is_json() {
        let mut files: Vec<PathBuf> =
            files.iter().map(|(path, _)| path.replace("my_source", name).into()).collect();
        files.sort();
        let lang = match arguments.lang {
            Language::Python => "python",
            Language::Rust => "rust",
        };
        let next: Vec<&str> = steps.iter().map(|(command, _)| command.as_str()).collect();
        out.json(&json!({"connector": name, "lang": lang, "folder": place, "files": files, "next": next}))?;
        return Ok(Exit::Ok);
    }
    out.say(&format!("{} {}: {} files", out.style(Style::Green, "made"), place.display(), files.len()));
    out.say("it reads a source that nobody has, and passes its tests: change api.md, simulator/ and the code step by step");
    let width = steps.iter().map(|(command, _)| command.chars().count()).max().unwrap_or_default();
    for (index, (command, about)) in steps.iter().enumerate() {
        let next = if index == 0 { "next:" } else { "" };
        out.say(&format!("{next:<5} {command:<width$}  {about}"));
    }
    if arguments.with_prompts {
        out.say(&format!(
            "instructions for work with an assistant: {}",
            place.join("prompts/README.md").display()
        ));
    }
    Ok(Exit::Ok)
}

/// What to do next, each with what it is for.
fn steps(name: &str, place: &Path, lang: Language) -> Vec<(String, &'static str)> {
    let given = place.display().to_string();
    // A bare name would be taken for that of an added connector.
    let folder = if given.contains('/') { given } else { format!("./{given}") };
    match lang {
        Language::Python => vec![
            (format!("headwater test {folder}"), "hold it to the rules, against its simulated source"),
            (format!("headwater connector add {name} {folder}"), "add it to a project"),
            (format!("headwater connector docs {folder}"), "write its README.md anew"),
        ],
        Language::Rust => vec![
            (format!("cargo build --release --manifest-path {folder}/Cargo.toml"), "build it"),
            (
                format!(
                    "headwater connector add {name} --command {folder}/target/release/{}",
                    name.replace('_', "-")
                ),
                "add it to a project",
            ),
            (
                format!("headwater test {name} --folder {folder}"),
                "hold it to the rules, against its simulated source",
            ),
            (format!("headwater connector docs {name} --folder {folder}"), "write its README.md anew"),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::{COMMON, PROMPTS, PYTHON, RUST, check_name, filled_in, normalised};

    #[test]
    fn names_are_checked_and_a_near_one_is_offered() {
        for name in ["shop", "my_shop2", "a"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for name in [
            "",
            "2shop",
            "My-Shop",
            "my__shop",
            "shop_",
            "_shop",
            "größe",
            "a/b",
            "class",
            "example",
            &"x".repeat(51),
        ] {
            assert!(check_name(name).is_err(), "{name}");
        }
        assert_eq!(normalised("My-Shop (2)"), "my_shop_2");
        assert_eq!(normalised("--"), "");
    }

    #[test]
    fn every_form_of_the_name_is_replaced() {
        let model = "my_source MySource My source MY_SOURCE my-source {{x}}";
        let text = filled_in(model, "big_shop", &[("x".into(), "1".into())]);
        assert_eq!(text, "big_shop BigShop Big shop BIG_SHOP big-shop 1");
        for (path, text) in [COMMON, PYTHON, RUST, PROMPTS].concat() {
            let text = filled_in(text, "big_shop", &[]).to_lowercase();
            for form in ["my_source", "mysource", "my source", "my-source"] {
                assert!(!text.contains(form), "{path} still says `{form}`");
            }
        }
    }

    #[test]
    fn the_crate_asks_for_what_the_workspace_has() {
        let model = include_str!("../../../../templates/rust/Cargo.toml.tmpl");
        let workspace = include_str!("../../../../Cargo.toml");
        let dependencies =
            model.lines().skip_while(|line| *line != "[dependencies]").filter(|line| line.contains('='));
        let mut checked = 0;
        for line in dependencies.filter(|line| !line.starts_with("headwater-")) {
            assert!(workspace.lines().any(|other| other == line), "the workspace does not say `{line}`");
            checked += 1;
        }
        assert!(checked > 5);
    }
}
