//! The commands that the table assigns to one test.

use std::collections::BTreeMap;

use crate::pages::pages;
use crate::ways::{WAYS, Way};

/// A command as the pages have it.
#[derive(Clone, Debug)]
pub struct Typed {
    /// The command.
    pub text: String,
    /// The output of each place that shows one.
    pub outputs: Vec<String>,
}

/// The commands of one test, which must take all of them.
#[derive(Debug)]
pub struct Assigned {
    test: String,
    left: BTreeMap<String, Typed>,
}

impl Assigned {
    /// Those of the test of this name.
    ///
    /// # Panics
    /// When the table has none for it, or a page cannot be read.
    pub fn to(test: &str) -> Self {
        let of_test = |way: &Way| matches!(way, Way::Test { name, .. } if *name == test);
        let texts: Vec<&str> =
            WAYS.iter().filter(|(way, _)| of_test(way)).flat_map(|(_, texts)| *texts).copied().collect();
        assert!(!texts.is_empty(), "the table in tests/documents/src/ways.rs has no command for {test}");
        let mut left: BTreeMap<String, Typed> = BTreeMap::new();
        for page in pages() {
            let commands = page.blocks().into_iter().flat_map(|block| block.commands().unwrap_or_default());
            for command in commands.filter(|command| texts.contains(&command.text.as_str())) {
                let new = Typed { text: command.text.clone(), outputs: Vec::new() };
                let typed = left.entry(command.text).or_insert(new);
                typed.outputs.extend(Some(command.output).filter(|output| !output.is_empty()));
            }
        }
        Self { test: test.to_owned(), left }
    }

    /// Takes the only one that begins with these words.
    ///
    /// # Panics
    /// When there is none left, or more than one.
    pub fn take(&mut self, start: &str) -> Typed {
        let found = self.take_all(start);
        <[Typed; 1]>::try_from(found)
            .unwrap_or_else(|found| panic!("{}: one command '{start}': {found:#?}", self.test))
            .into_iter()
            .next()
            .unwrap()
    }

    /// Takes all that begin with these words, in the order of the alphabet.
    pub fn take_all(&mut self, start: &str) -> Vec<Typed> {
        let texts: Vec<String> = self.left.keys().filter(|text| text.starts_with(start)).cloned().collect();
        texts.iter().filter_map(|text| self.left.remove(text)).collect()
    }

    /// The end of the test.
    ///
    /// # Panics
    /// When it has not taken a command that the table assigns to it.
    pub fn finish(self) {
        assert!(self.left.is_empty(), "{} does not run: {:#?}", self.test, self.left.keys());
    }
}
