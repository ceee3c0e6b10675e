//! The log: changes, and each lasting problem once.

use std::collections::BTreeMap;

/// Writes lines for `kubectl logs`. A lasting problem is one line, however often it is found.
pub(crate) struct Log<'s> {
    say: &'s dyn Fn(&str),
    /// The present problems: the text that was logged about each subject.
    troubles: BTreeMap<String, String>,
}

impl<'s> Log<'s> {
    pub(crate) fn new(say: &'s dyn Fn(&str)) -> Self {
        Self { say, troubles: BTreeMap::new() }
    }

    pub(crate) fn say(&self, words: &str) {
        (self.say)(words);
    }

    /// Logs a problem with a subject, unless its last problem was the same.
    pub(crate) fn trouble(&mut self, subject: &str, words: &str) {
        if self.troubles.get(subject).is_none_or(|said| said != words) {
            self.say(&format!("{subject}: {words}"));
            self.troubles.insert(subject.to_owned(), words.to_owned());
        }
    }

    /// Logs that a subject's problem is over, if it had one.
    pub(crate) fn well(&mut self, subject: &str) {
        if self.troubles.remove(subject).is_some() {
            self.say(&format!("{subject}: well again"));
        }
    }

    /// Forgets a subject that is gone, without a line.
    pub(crate) fn forget(&mut self, subject: &str) {
        self.troubles.remove(subject);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn a_failure_is_logged_once_until_it_changes() {
        let said = RefCell::new(Vec::new());
        let say = |words: &str| said.borrow_mut().push(words.to_owned());
        let mut log = Log::new(&say);
        for words in ["down", "down", "slow", "slow"] {
            log.trouble("nodes", words);
        }
        log.well("nodes");
        log.well("nodes");
        log.trouble("nodes", "slow");
        log.forget("nodes");
        log.well("nodes");
        assert_eq!(*said.borrow(), ["nodes: down", "nodes: slow", "nodes: well again", "nodes: slow"]);
    }
}
