//! Finds in the sources of the shipped programs which variables of the environment they read, and which fields of the log they write.

use std::fs;
use std::path::{Path, PathBuf};

use crate::repository;

/// A source file of a shipped program, without its tests.
pub struct Source {
    /// The crate's folder below `shim/`.
    pub program: String,
    /// The file.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
}

/// Returns the sources of all shipped programs.
///
/// # Panics
/// If they cannot be read.
pub fn shipped() -> Vec<Source> {
    let mut found = Vec::new();
    for folder in entries(&repository().join("shim")) {
        let program = folder.file_name().unwrap().to_string_lossy().into_owned();
        let mut left = vec![folder.join("src")];
        while let Some(path) = left.pop() {
            if path.is_dir() {
                left.extend(entries(&path));
            } else if path.extension().is_some_and(|end| end == "rs") && !is_test(&path) {
                let text = without_tests(&fs::read_to_string(&path).unwrap());
                found.push(Source { program: program.clone(), path, text });
            }
        }
    }
    assert!(found.len() > 100, "only {} sources are found", found.len());
    found
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().path()).collect()
}

fn is_test(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == "tests.rs")
        || path.components().any(|part| part.as_os_str() == "tests" && path.is_file())
}

/// Cuts off the module of tests at the end of a file.
fn without_tests(text: &str) -> String {
    let end = text.find("\n#[cfg(test)]\nmod tests {").unwrap_or(text.len());
    text[..end].to_owned()
}

/// Returns the variables that the programs read from their own environment: the crate's folder, and the variable's name. A variable
/// that a development build alone reads is left out.
///
/// # Panics
/// If a source reads a variable whose name is neither written there nor that of a constant.
pub fn variables(sources: &[Source]) -> Vec<(&str, String)> {
    let mut found = Vec::new();
    for source in sources {
        let lines: Vec<_> = source.text.lines().collect();
        for (number, line) in lines.iter().enumerate() {
            if number > 0 && lines[number - 1].trim() == "#[cfg(debug_assertions)]" {
                continue;
            }
            for call in ["env::var(", "env::var_os(", "env::vars(", "env::vars_os("] {
                for (_, behind) in line.match_indices(call).map(|(at, _)| line.split_at(at + call.len())) {
                    let argument = behind.split(')').next().unwrap();
                    let name = name(argument, source, sources).unwrap_or_else(|| {
                        panic!(
                            "{}: {call}{argument}): name the variable, or a constant with its name",
                            source.path.display()
                        )
                    });
                    found.push((source.program.as_str(), name));
                }
            }
        }
    }
    found.sort();
    found.dedup();
    found
}

/// Returns the name of a variable: the text in quotes, or that of a constant.
fn name(argument: &str, source: &Source, sources: &[Source]) -> Option<String> {
    if let Some(text) = argument.strip_prefix('"') {
        return Some(text.trim_end_matches('"').to_owned());
    }
    let constant = format!("const {}: &str = \"", argument.rsplit("::").next()?);
    let own = sources.iter().filter(|other| other.program == source.program);
    let value = own.chain(sources).find_map(|other| other.text.split_once(&constant).map(|(_, behind)| behind))?;
    Some(value.split('"').next()?.to_owned())
}

/// Returns the lines of a program that have the name of a variable of a guest in quotes, instead of a constant's.
pub fn unnamed(sources: &[Source]) -> Vec<String> {
    let is_name = |text: &&str| text.len() > 2 && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
    let mut found = Vec::new();
    for source in sources {
        for line in source.text.lines().map(str::trim).filter(|line| !line.starts_with("//")) {
            let reads =
                ["env.", "env(", "key ==", "name ==", "outline.variable("].iter().any(|word| line.contains(word));
            if reads && line.split('"').skip(1).step_by(2).any(|text| is_name(&text)) {
                found.push(format!("{}: {line}", source.path.display()));
            }
        }
    }
    found
}

/// Returns the fields that a program writes into the log by itself: ` NAME={`.
pub fn fields(sources: &[Source], program: &str) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources.iter().filter(|source| source.program == program) {
        for (at, _) in source.text.match_indices("={") {
            let before = &source.text[..at];
            let start = before.rfind(|c: char| !c.is_ascii_lowercase() && c != '_').map_or(0, |at| at + 1);
            if start < at && before[..start].ends_with([' ', '"']) {
                found.push(format!("{}: {}", source.path.display(), &before[start..]));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(program: &str, text: &str) -> Source {
        Source { program: program.to_owned(), path: PathBuf::from("x.rs"), text: without_tests(text) }
    }

    #[test]
    fn a_variable_is_found_by_its_text_and_by_its_constant() {
        let sources = [
            source("one", "const A: &str = \"ONE\";\nstd::env::var_os(A); env::var(\"TWO\"); env::var(there::B)"),
            source("two", "pub const A: &str = \"OTHER\";\npub const B: &str = \"THREE\";\n"),
            source(
                "three",
                "#[cfg(debug_assertions)]\nif env::var(\"FOUR\")\n\n#[cfg(test)]\nmod tests {\nenv::var(\"FIVE\")",
            ),
        ];
        let expected = ["ONE", "THREE", "TWO"].map(|name| ("one", name.to_owned()));
        assert_eq!(variables(&sources), expected);
    }

    #[test]
    #[should_panic(expected = "name the variable, or a constant")]
    fn a_variable_whose_name_comes_from_elsewhere_is_not_passed_over() {
        variables(&[source("one", "fn read(name: &str) { env::var(name); }")]);
    }

    #[test]
    #[should_panic(expected = "name the variable, or a constant")]
    fn reading_the_whole_environment_is_not_passed_over() {
        variables(&[source("one", "for (name, value) in env::vars() {}")]);
    }

    #[test]
    fn a_guests_variable_and_a_field_of_the_log_are_found() {
        let sources =
            [source("one", "guest.env.iter().find(|(key, _)| key == \"SECRET_NAME\")\nkey == NAME;\nerror(\"EPERM\")")];
        assert_eq!(unnamed(&sources).len(), 1);
        let sources =
            [source("one", "info!(\"made id={id} at {place} and x_y={}\"); format!(\"--set={x}\"); let a = {b};")];
        let found = fields(&sources, "one");
        assert!(found.len() == 2 && found[0].ends_with(" id") && found[1].ends_with(" x_y"), "{found:?}");
        assert!(fields(&sources, "two").is_empty());
    }
}
