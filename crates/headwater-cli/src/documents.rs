//! Every command that a document shows is one that the command line takes.

use std::path::{Path, PathBuf};

use clap::Parser;

use crate::args::Cli;

/// What documents with commands are in, from the root of the repository.
const PLACES: [&str; 8] = [
    "README.md",
    "CONTRIBUTING.md",
    "docs",
    "prompts",
    "templates",
    "sources",
    "python/README.md",
    "testing",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn documents(path: &Path, found: &mut Vec<PathBuf>) {
    if path.is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            documents(&entry.unwrap().path(), found);
        }
    } else if path.extension().is_some_and(|e| e == "md" || e == "tmpl" || e == "mdc" || e == "yaml") {
        found.push(path.to_owned());
    }
}

/// A command that a document shows.
#[derive(Debug, PartialEq, Eq)]
struct Shown {
    line: usize,
    words: Vec<String>,
}

/// The commands of a text: lines in code that begin with `headwater`, alone or behind `&&` or `|`, and pieces of code in
/// sentences that do.
fn commands(text: &str, markdown: bool) -> Vec<Shown> {
    let mut found = Vec::new();
    let mut in_code = false;
    // Lines of a sentence, from which line on: code may be broken over two of them.
    let (mut sentence, mut began) = (String::new(), 1);
    let mut lines = text.lines().enumerate();
    let of_sentence = |sentence: &mut String, began: usize, found: &mut Vec<Shown>| {
        for code in sentence.split('`').skip(1).step_by(2) {
            found.extend(of_line(code, began));
        }
        sentence.clear();
    };
    while let Some((index, line)) = lines.next() {
        let line = line.trim();
        let is_fence = markdown && line.starts_with("```");
        if in_code && !is_fence {
            let mut command = line.to_owned();
            while command.ends_with('\\')
                && let Some((_, more)) = lines.next()
            {
                command.pop();
                command.push_str(more.trim());
            }
            // What stands further to the right says what the command is for.
            let command = command.split_once("  ").map_or(command.as_str(), |(command, _)| command);
            found.extend(of_line(command, index + 1));
            continue;
        }
        in_code ^= is_fence;
        if is_fence || line.is_empty() {
            of_sentence(&mut sentence, began, &mut found);
            began = index + 2;
            continue;
        }
        sentence.push_str(line.trim_start_matches('#').trim_start());
        sentence.push(' ');
    }
    of_sentence(&mut sentence, began, &mut found);
    found
}

fn of_line(line: &str, number: usize) -> Vec<Shown> {
    let mut found = Vec::new();
    for words in pieces(line) {
        let mut words = words.as_slice();
        // A variable before the command, or a prompt.
        while let Some((first, rest)) = words.split_first()
            && (first == "$" || (first.contains('=') && !first.starts_with('-')))
        {
            words = rest;
        }
        if let [first, _, ..] = words
            && first == "headwater"
        {
            found.push(Shown { line: number, words: words.to_vec() });
        }
    }
    found
}

/// The words of each command of a line, as a shell takes them; comments and redirections are left out.
fn pieces(line: &str) -> Vec<Vec<String>> {
    let mut all = vec![Vec::new()];
    let (mut word, mut quoted, mut any) = (String::new(), None, false);
    let mut letters = line.chars().peekable();
    let end = |word: &mut String, any: &mut bool, all: &mut Vec<Vec<String>>| {
        if std::mem::take(any) {
            all.last_mut().unwrap().push(std::mem::take(word));
        }
    };
    while let Some(c) = letters.next() {
        match (quoted, c) {
            (Some('"'), '\\') => word.extend(letters.next()),
            (Some(quote), c) if c == quote => quoted = None,
            (Some(_), c) => word.push(c),
            (None, '\'' | '"') => (quoted, any) = (Some(c), true),
            (None, '#') if !any => break,
            // `<name>` stands for a word; `> file` leads elsewhere.
            (None, '<') => {
                any = true;
                let inside: String = letters.by_ref().take_while(|c| *c != '>').collect();
                word.push_str(&inside.replace(' ', "_"));
            }
            (None, '>') => break,
            (None, '&' | '|' | ';') => {
                end(&mut word, &mut any, &mut all);
                all.push(Vec::new());
            }
            (None, c) if c.is_whitespace() => end(&mut word, &mut any, &mut all),
            (None, c) => {
                any = true;
                word.push(c);
            }
        }
    }
    end(&mut word, &mut any, &mut all);
    all
}

/// Why the command line does not take a command, if it does not.
fn refused(words: &[String]) -> Option<String> {
    // Words that stand for what the reader puts there.
    let words: Vec<String> = words
        .iter()
        .filter(|word| *word != "…" && *word != "...")
        .map(|word| word.replace('…', "x=y"))
        .collect();
    let error = Cli::try_parse_from(&words).err()?;
    use clap::error::ErrorKind::{
        DisplayHelp, DisplayHelpOnMissingArgumentOrSubcommand, DisplayVersion, MissingRequiredArgument,
        MissingSubcommand,
    };
    let is_whole = words.len() > 2;
    match error.kind() {
        DisplayHelp | DisplayVersion => None,
        // In a sentence, a command is named without its arguments.
        DisplayHelpOnMissingArgumentOrSubcommand | MissingSubcommand => None,
        MissingRequiredArgument if !is_whole || words.iter().skip(1).all(|w| !w.starts_with('-')) => None,
        _ => Some(error.to_string()),
    }
}

#[test]
fn every_command_of_a_document_is_one() {
    let mut files = Vec::new();
    for place in PLACES {
        documents(&root().join(place), &mut files);
    }
    let (mut checked, mut wrong) = (0, Vec::new());
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let markdown = file.extension().is_some_and(|e| e != "yaml");
        for shown in commands(&text, markdown) {
            checked += 1;
            if let Some(why) = refused(&shown.words) {
                let name = file.strip_prefix(root()).unwrap_or(&file).display().to_string();
                wrong.push(format!("{name}:{}: {}\n{why}", shown.line, shown.words.join(" ")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(checked > 100, "only {checked} commands were found");
}

#[test]
fn commands_are_found_and_read_as_a_shell_reads_them() {
    let check = |text: &str, expect: &[&[&str]]| {
        let found: Vec<Vec<String>> = commands(text, true).into_iter().map(|shown| shown.words).collect();
        assert_eq!(found, expect, "{text}");
    };
    check("```\nheadwater run x   # why\n```", &[&["headwater", "run", "x"]]);
    check(
        "```\nheadwater init a && cd a\n  headwater run x | tail -1\n```",
        &[&["headwater", "init", "a"], &["headwater", "run", "x"]],
    );
    check(
        "```\nheadwater state set p t --offset '{\"a\": 1}' > f\n```",
        &[&["headwater", "state", "set", "p", "t", "--offset", "{\"a\": 1}"]],
    );
    check("```\nheadwater test x    what it is for\n```", &[&["headwater", "test", "x"]]);
    check("```\nheadwater a \\\n    b\n```", &[&["headwater", "a", "b"]]);
    check(
        "see `headwater run <spec> --full-refresh=<table>` and `headwater`",
        &[&["headwater", "run", "spec", "--full-refresh=table"]],
    );
    check("see `headwater connector\nadd x y` for more", &[&["headwater", "connector", "add", "x", "y"]]);
    check("headwater run x", &[]);
    assert!(refused(&["headwater", "run", "x", "--such"].map(str::to_owned)).is_some());
    assert!(refused(&["headwater", "rnu", "x"].map(str::to_owned)).is_some());
    assert!(refused(&["headwater", "run", "x"].map(str::to_owned)).is_none());
}
