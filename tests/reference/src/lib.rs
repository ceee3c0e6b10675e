//! Compares the tables of docs/reference.md with those of the code, or writes them anew.
//!
//! A unit test of the crate that has a table calls [`matches`], so that the words of the document are in no program. The document
//! has each table between two comments, `<!-- table: NAME -->` and `<!-- end of table -->`; the text around them is written by hand.
//! `make reference` compares all tables, and `make reference BLESS=1` writes them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "test code: a panic is how a test says that it failed"
)]

pub mod sources;

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

const DOCUMENT: &str = "docs/reference.md";
/// After a table, and an empty line.
const END: &str = "\n<!-- end of table -->";

/// The folder of the whole repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
}

/// Returns a text as a cell has code.
pub fn code(text: impl std::fmt::Display) -> String {
    format!("`{text}`")
}

/// Returns a text of the program as a cell has it: nothing in it is Markdown.
pub fn plain(text: &str) -> String {
    text.chars().flat_map(|c| if r"\`*|<>".contains(c) { vec!['\\', c] } else { vec![c] }).collect()
}

/// Compares a table of the document with these columns and rows, or writes them there.
///
/// # Panics
/// If they differ, or the document has no such table.
pub fn matches<const N: usize>(name: &str, columns: [&str; N], rows: impl IntoIterator<Item = [String; N]>) {
    let rule = [const { "---" }; N];
    let rows = rows.into_iter().map(|row| line(&row));
    let made: String = [line(&columns), line(&rule)].into_iter().chain(rows).collect();
    let path = repository().join(DOCUMENT);
    let mut file = File::options().read(true).write(true).open(&path).unwrap();
    // Tests of other tables write at the same time.
    file.lock().unwrap();
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    let (before, kept, after) = parts(&text, name);
    if kept == made {
        return;
    }
    if std::env::var_os("BLESS").is_some_and(|value| !value.is_empty()) {
        file.rewind().unwrap();
        file.set_len(0).unwrap();
        return file.write_all([before, &made, after].concat().as_bytes()).unwrap();
    }
    let (kept, made): (Vec<_>, Vec<_>) = (kept.lines().collect(), made.lines().collect());
    let number = (0..).find(|n| kept.get(*n) != made.get(*n)).unwrap();
    panic!(
        "{DOCUMENT}, table {name}, line {}: the document has {:?}, the code has {:?}. If the code is right: make reference BLESS=1",
        number + 1,
        kept.get(number),
        made.get(number)
    );
}

/// Returns the first cells of a table of the document, without their quotes.
///
/// # Panics
/// If the document has no such table.
pub fn keys(name: &str) -> Vec<String> {
    let text = std::fs::read_to_string(repository().join(DOCUMENT)).unwrap();
    let (_, table, _) = parts(&text, name);
    let cell = |line: &str| line.trim_start_matches("| ").split(" |").next().unwrap().trim_matches('`').to_owned();
    table.lines().skip(2).map(cell).collect()
}

/// Returns the names of the document's tables.
///
/// # Panics
/// If the document cannot be read.
pub fn tables() -> Vec<String> {
    let text = std::fs::read_to_string(repository().join(DOCUMENT)).unwrap();
    let name = |line: &str| Some(line.strip_prefix("<!-- table: ")?.strip_suffix(" -->")?.to_owned());
    text.lines().filter_map(name).collect()
}

fn line(cells: &[impl AsRef<str>]) -> String {
    cells.iter().fold("|".to_owned(), |line, cell| line + " " + cell.as_ref() + " |") + "\n"
}

/// Returns the text before a table, the table, and the text after it.
fn parts<'a>(text: &'a str, name: &str) -> (&'a str, &'a str, &'a str) {
    let begin = format!("<!-- table: {name} -->\n\n");
    let start = text.find(&begin).unwrap_or_else(|| panic!("{DOCUMENT} has no line {:?}", begin.trim())) + begin.len();
    let length = text[start..].find(END).unwrap_or_else(|| panic!("{DOCUMENT}: the table {name} has no end"));
    let (before, rest) = text.split_at(start);
    let (table, after) = rest.split_at(length);
    (before, table, after)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_what_stands_between_its_comments() {
        let text = "a\n<!-- table: one -->\n\n| k |\n| 1 |\n\n<!-- end of table -->\nb\n<!-- table: two -->\n\n\n<!-- end of table -->\n";
        let (before, table, after) = parts(text, "one");
        assert_eq!(table, "| k |\n| 1 |\n");
        assert_eq!([before, table, after].concat(), text);
        let (before, table, after) = parts(text, "two");
        assert_eq!((table, after), ("", "\n<!-- end of table -->\n"));
        assert_eq!([before, table, after].concat(), text);
    }

    #[test]
    fn a_programs_text_is_no_markdown() {
        assert_eq!(plain("catamaran.wasm/engine.<container> a|b"), r"catamaran.wasm/engine.\<container\> a\|b");
        assert_eq!(plain("[ADDRESS]:PORT such as [::]:8080"), "[ADDRESS]:PORT such as [::]:8080");
    }

    #[test]
    #[should_panic(expected = "has no line")]
    fn a_table_that_the_document_lacks_fails_its_test() {
        matches("no such table", ["key"], [[code("value")]]);
    }

    #[test]
    #[should_panic(expected = "the document has")]
    fn a_table_that_differs_fails_its_test() {
        if std::env::var_os("BLESS").is_some_and(|value| !value.is_empty()) {
            panic!("BLESS writes: the document has what this test would not");
        }
        matches(&tables()[0], ["key"], [[code("value")]]);
    }
}
