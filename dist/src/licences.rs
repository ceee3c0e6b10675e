//! THIRD-PARTY: the licences of all that programs link, each text once.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::SOURCE;
use crate::crates::{Crate, Crates};
use crate::error::{On, Result};
use crate::programs::Programs;
use crate::runtime;

/// Names of licence files, in capitals. Anything may follow.
const FILES: [&str; 6] = ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE"];

/// The licences of some programs.
#[derive(Debug)]
pub struct Licences {
    /// This repository's own.
    own: String,
    /// The programs, for people.
    programs: Vec<String>,
    /// The linked parts, `NAME VERSION`, with their licence expressions.
    parts: BTreeMap<String, String>,
    /// The texts, each with the parts that have it: `NAME VERSION (FILE)`.
    texts: BTreeMap<String, BTreeSet<String>>,
    /// Parts whose package has no text, with their authors as far as the manifest names them.
    without: BTreeMap<String, Vec<String>>,
}

impl Licences {
    /// Reads the licences of these programs.
    ///
    /// # Errors
    /// cargo cannot list the programs' crates, or a file cannot be read.
    pub fn read(source: &Path, programs: &Programs) -> Result<Self> {
        let own = source.join("LICENSE");
        let names: Vec<&str> = programs.names().collect();
        let mut licences = Self {
            own: fs::read_to_string(&own).on("reading", &own)?,
            programs: names.iter().map(|name| (*name).to_owned()).collect(),
            parts: BTreeMap::new(),
            texts: BTreeMap::new(),
            without: BTreeMap::new(),
        };
        for name in &names {
            for part in runtime::parts(programs.bytes(name))? {
                licences.add(format!("{}, {}", part.name, part.version), part.licence.to_owned(), part.texts(), &[]);
            }
        }
        let crates = Crates::read(source, &names, programs.architecture.triple())?;
        for (id, found) in crates.all.iter().filter(|(_, found)| found.own.is_none()) {
            let expression = found.licence.clone().unwrap_or_else(|| "no expression".into());
            licences.add(id.to_string(), expression, texts(found)?, &found.authors);
        }
        Ok(licences)
    }

    fn add(&mut self, part: String, expression: String, mut texts: Vec<(String, String)>, authors: &[String]) {
        if texts.is_empty() {
            self.without.insert(part.clone(), authors.to_vec());
            texts = self.common(&expression);
        }
        for (file, text) in texts {
            self.texts.entry(tidy(&text)).or_default().insert(format!("{part} ({file})"));
        }
        self.parts.insert(part, expression);
    }

    /// The usual text of a licence.
    fn common(&self, expression: &str) -> Vec<(String, String)> {
        let known = [("Apache-2.0", &*self.own), ("MIT", include_str!("mit.txt"))];
        let words = |name: &str| expression.split([' ', '(', ')']).any(|word| word == name);
        known
            .into_iter()
            .filter(|(name, _)| words(name))
            .map(|(name, text)| (name.to_owned(), text.to_owned()))
            .collect()
    }

    /// The repository's own licence.
    pub fn own(&self) -> &str {
        &self.own
    }

    /// Parts whose package has no file with the licence's text: `NAME VERSION`.
    pub fn without_text(&self) -> impl Iterator<Item = &str> {
        self.without.keys().map(String::as_str)
    }

    /// Reports on stderr which parts have no text.
    pub fn warn(&self) {
        let parts: Vec<&str> = self.without_text().collect();
        if !parts.is_empty() {
            let number = parts.len();
            eprintln!(
                "catamaran-dist: {number} packages bring no text of their licence, see THIRD-PARTY: {}",
                parts.join(", ")
            );
        }
    }

    /// The whole file.
    pub fn text(&self) -> String {
        let mut text = format!(
            "What {} contain beside Catamaran's own code, and its licences.\n\nThe sources of each crate are in the public registry of Rust's packages, \
             under its name and version. Catamaran's own are at\n{SOURCE}, with lock files that name each crate: from there the programs\n\
             can be built again with other versions of any part.\n\n",
            self.programs.join(", ")
        );
        for (part, expression) in &self.parts {
            text.push_str(&format!("  {part}: {expression}\n"));
        }
        if !self.without.is_empty() {
            text.push_str(
                "\nThe packages of these bring no text of their licence. The usual text is below, and these are their authors:\n\n",
            );
            for (part, authors) in &self.without {
                let authors = if authors.is_empty() { "not named".to_owned() } else { authors.join(", ") };
                text.push_str(&format!("  {part}: {authors}\n"));
            }
        }
        let mut texts: Vec<_> = self.texts.iter().collect();
        texts.sort_by_key(|(_, parts)| parts.first());
        for (licence, parts) in texts {
            text.push_str(&format!("\n{}\n\n", "=".repeat(100)));
            parts.iter().for_each(|part| text.push_str(&format!("{part}\n")));
            text.push_str(&format!("{}\n\n{licence}\n", "-".repeat(100)));
        }
        text
    }
}

/// A crate's files with the name of a licence, and the one that its manifest names.
fn texts(found: &Crate) -> Result<Vec<(String, String)>> {
    let mut paths: BTreeSet<PathBuf> = found.licence_file.iter().cloned().collect();
    for folder in [found.folder.clone(), found.folder.join("LICENSES"), found.folder.join("licenses")] {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let is_meant = |path: &PathBuf| path.is_file() && (path.parent() != Some(&*found.folder) || is_licence(path));
        paths.extend(entries.map(|entry| entry.path()).filter(is_meant));
    }
    let mut texts = Vec::new();
    for path in paths {
        let bytes = fs::read(&path).on("reading", &path)?;
        let name = path.strip_prefix(&found.folder).unwrap_or(&path).display().to_string();
        texts.push((name, String::from_utf8_lossy(&bytes).into_owned()));
    }
    Ok(texts)
}

fn is_licence(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_uppercase();
    let is_code = [".RS", ".PY", ".HTML"].iter().any(|end| name.ends_with(end));
    !is_code && FILES.iter().any(|file| name.starts_with(file))
}

/// Removes carriage returns, blanks at the ends of lines, and empty lines around, so that equal texts compare equal.
fn tidy(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    lines.join("\n").trim_matches('\n').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made() -> Licences {
        let mut licences = Licences {
            own: "The Apache text".into(),
            programs: vec!["catamaran-x".into()],
            parts: BTreeMap::new(),
            texts: BTreeMap::new(),
            without: BTreeMap::new(),
        };
        let file = |text: &str| vec![("LICENSE".to_owned(), text.to_owned())];
        licences.add("b 1.0".into(), "MIT".into(), file("Permission  \r\nis granted\n\n"), &[]);
        licences.add("a 2.0".into(), "MIT".into(), file("\nPermission\nis granted"), &[]);
        licences.add("c 3.0".into(), "MIT OR Apache-2.0".into(), Vec::new(), &["Somebody".to_owned()]);
        licences
    }

    #[test]
    fn a_text_is_there_once_with_all_that_have_it() {
        let text = made().text();
        assert_eq!(text.matches("Permission\nis granted").count(), 1, "{text}");
        assert!(text.contains("a 2.0 (LICENSE)\nb 1.0 (LICENSE)\n---"), "{text}");
    }

    #[test]
    fn a_part_without_a_text_is_listed_with_its_authors_and_has_the_usual_one() {
        let licences = made();
        assert_eq!(licences.without_text().collect::<Vec<_>>(), ["c 3.0"]);
        let text = licences.text();
        for expected in [
            "  c 3.0: MIT OR Apache-2.0\n",
            "authors:\n\n  c 3.0: Somebody\n",
            "c 3.0 (Apache-2.0)\n---",
            "The Apache text",
            "c 3.0 (MIT)\n---",
        ] {
            assert!(text.contains(expected), "{expected}: {text}");
        }
    }

    #[test]
    fn licences_are_known_by_their_files_names() {
        for (name, expected) in
            [("LICENSE-MIT", true), ("licence.txt", true), ("Copying", true), ("license.rs", false), ("README", false)]
        {
            assert_eq!(is_licence(Path::new(name)), expected, "{name}");
        }
    }
}
