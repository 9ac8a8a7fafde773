//! What is handed to pip.

use std::path::Path;

/// Names under which connectors require the framework, which is what is brought along.
const FRAMEWORK: &[&str] = &["lakeflow-community-connectors", "databricks-labs-community-connector"];

/// The name of a requirement, as package indexes compare names.
pub(crate) fn name_of(requirement: &str) -> String {
    let text = requirement.trim();
    let end = text
        .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')))
        .unwrap_or(text.len());
    let (name, _) = text.split_at(end);
    let mut normal = String::new();
    for c in name.chars() {
        match c {
            '-' | '_' | '.' if normal.ends_with('-') => {}
            '-' | '_' | '.' => normal.push('-'),
            c => normal.push(c.to_ascii_lowercase()),
        }
    }
    normal
}

/// Says whether a requirement is the framework.
pub(crate) fn is_framework(requirement: &str) -> bool {
    FRAMEWORK.contains(&name_of(requirement).as_str())
}

/// A connector's own list without the framework and the connector itself, and with the files that it names made
/// absolute, so that it can be read from another folder.
pub(crate) fn rewritten(text: &str, folder: &Path) -> String {
    let mut lines = Vec::new();
    for line in text.replace("\\\n", " ").lines() {
        let bare = line.split(" #").next().unwrap_or_default().trim();
        let option = ["--requirement", "--constraint", "-r", "-c"].iter().find_map(|option| {
            let rest = bare.strip_prefix(option)?;
            let rest = rest.strip_prefix('=').unwrap_or(rest);
            Some((option, rest.trim()))
        });
        match option {
            Some((option, file)) if !file.is_empty() && !file.contains("://") => {
                let file = folder.join(file);
                lines.push(format!("{option} {}", file.display()));
            }
            _ if bare.is_empty() || bare.starts_with('#') => {}
            _ if is_framework(bare) || is_itself(bare) => {}
            _ => lines.push(line.to_owned()),
        }
    }
    lines.join("\n")
}

/// The options of a list that say where packages come from; what is installed besides comes from there, too.
pub(crate) fn index_options(text: &str) -> Vec<String> {
    const OPTIONS: &[&str] = &["--no-index", "--index-url", "-i", "--extra-index-url", "--find-links", "-f"];
    let lines = text.lines().map(|line| line.split(" #").next().unwrap_or_default().trim());
    let options = lines.filter(|line| {
        let name = line.split(|c: char| c == '=' || c.is_whitespace()).next().unwrap_or_default();
        OPTIONS.contains(&name)
    });
    options
        .flat_map(|line| {
            let (name, value) =
                line.split_once(|c: char| c == '=' || c.is_whitespace()).unwrap_or((line, ""));
            [name, value.trim()].map(str::to_owned)
        })
        .filter(|word| !word.is_empty())
        .collect()
}

/// Says whether a line installs the folder that it stands in.
fn is_itself(line: &str) -> bool {
    let target = ["--editable", "-e"].iter().find_map(|option| line.strip_prefix(option)).unwrap_or(line);
    let target = target.trim_start_matches('=').trim();
    let target = target.split('[').next().unwrap_or(target);
    matches!(target, "." | "./" | "file:.")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{index_options, is_framework, name_of, rewritten};

    #[test]
    fn names_are_compared_as_indexes_do() {
        assert_eq!(name_of(" PyJWT[crypto]>=2 ; python_version<'4'"), "pyjwt");
        assert_eq!(name_of("Google_Auth.lib--x==1"), "google-auth-lib-x");
        assert!(is_framework("lakeflow_community_connectors >=0.1.0,<1.0"));
        assert!(is_framework("lakeflow-community-connectors @ git+https://git.example.org/x"));
        assert!(!is_framework("lakeflow-community-connectors-extra"));
    }

    #[test]
    fn a_list_says_where_packages_come_from() {
        let text =
            "a==1\n--no-index\n--find-links /wheels # here\n-i=https://x.example.org/simple\n--hash=1\n";
        assert_eq!(
            index_options(text),
            ["--no-index", "--find-links", "/wheels", "-i", "https://x.example.org/simple"]
        );
    }

    #[test]
    fn a_list_is_read_from_another_folder() {
        let text = "# what is needed\nrequests>=2 # http\n-r more.txt\n--constraint=c.txt\n-e .\n.[dev]\n\
                    lakeflow-community-connectors>=0.1\n--index-url https://x.example.org/simple\na==1 \\\n  --hash=sha256:1\n";
        assert_eq!(
            rewritten(text, Path::new("/c")),
            "requests>=2 # http\n-r /c/more.txt\n--constraint /c/c.txt\n--index-url https://x.example.org/simple\n\
             a==1    --hash=sha256:1"
        );
    }
}
