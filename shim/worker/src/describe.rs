//! The second task of a compile process: describing a module's imports and exports for an administrator.
//!
//! ```text
//! import INTERFACE NAME      without NAME for a component, whose imports are whole interfaces
//! export NAME
//! left-out NUMBER            the number of further lines
//! broken REASON              the file cannot be read any further
//! ```
//!
//! Each is a line, with tabs between the words. Standard input is the module, standard output the lines, at most [`LONGEST`] bytes.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::process::ExitCode;

use crate::compiler::EXIT_OUTPUT;
use crate::quote::cut;
use crate::unprivileged::{Allowance, give_up_rights};

/// The first argument of a compile process that is to describe; the second is its parent's pid, with which it dies.
pub const DESCRIBE: &str = "describe";
/// The most bytes of a description.
pub const LONGEST: usize = 64 << 10;
/// Enough for the largest module, half a gigabyte, which is read into memory whole.
const ALLOWANCE: Allowance = Allowance { file: LONGEST as u64, processor: 60, memory: 2 << 30, threads: 1 };

/// Whether this process is asked for a description.
pub fn is_asked() -> bool {
    std::env::args().nth(1).as_deref() == Some(DESCRIBE)
}

/// Gives up every right, reads the module, and writes the description that `describe` makes of it.
pub fn run(describe: impl FnOnce(&[u8]) -> Description) -> ExitCode {
    let parent = std::env::args().nth(2).and_then(|pid| pid.parse().ok());
    if let Err(e) = give_up_rights(parent, ALLOWANCE) {
        eprintln!("the process that describes a module cannot confine itself: {e}");
        return ExitCode::FAILURE;
    }
    let mut module = Vec::new();
    if let Err(e) = std::io::stdin().lock().read_to_end(&mut module) {
        eprintln!("reading the module: {e}");
        return ExitCode::FAILURE;
    }
    let text = describe(&module).text();
    let mut output = std::io::stdout().lock();
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("writing the description: {e}");
            ExitCode::from(EXIT_OUTPUT)
        }
    }
}

/// A module's imports and exports.
#[derive(Debug, Default)]
pub struct Description {
    lines: BTreeSet<String>,
    broken: Option<String>,
}

impl Description {
    /// Adds an import; `name` is empty if the import is a whole interface.
    pub fn import(&mut self, interface: &str, name: &str) {
        self.line(&["import", interface, name]);
    }

    /// Adds an export.
    pub fn export(&mut self, name: &str) {
        self.line(&["export", name]);
    }

    /// Says that the file cannot be read any further.
    pub fn broken(&mut self, reason: &str) {
        self.broken = Some(format!("broken\t{}\n", plain(reason)));
    }

    fn line(&mut self, words: &[&str]) {
        self.lines.insert(words.iter().map(|word| plain(word)).collect::<Vec<_>>().join("\t") + "\n");
    }

    /// Returns the lines, as many as there is room for.
    pub fn text(self) -> String {
        let mut text = self.broken.unwrap_or_default();
        let mut left_out = 0;
        for line in self.lines {
            match text.len() + line.len() < LONGEST - 64 {
                true => text.push_str(&line),
                false => left_out += 1,
            }
        }
        if left_out > 0 {
            text.push_str(&format!("left-out\t{left_out}\n"));
        }
        text
    }
}

fn plain(word: &str) -> String {
    cut(word).replace(char::is_control, " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_is_bounded_and_its_words_are_plain() {
        let mut description = Description::default();
        for number in 0..10_000 {
            description.import("env", &format!("a\tlong\nname {number} {}", "x".repeat(1000)));
        }
        description.import("env", "a\tlong\nname 1 ");
        description.broken("at\n7");
        let text = description.text();
        assert!(text.len() <= LONGEST && text.starts_with("broken\tat 7\nimport\tenv\ta long name 0 xxx"), "{text}");
        let (kept, last) = text.trim_end().rsplit_once('\n').unwrap();
        let left: usize = last.strip_prefix("left-out\t").unwrap().parse().unwrap();
        assert_eq!(kept.lines().count() - 1 + left, 10_001);
        assert!(kept.lines().skip(1).all(|line| line.split('\t').count() == 3));
    }
}
