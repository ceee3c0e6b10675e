//! Reads the kernel's files of a cgroup: a number, or a name and a number a line.

use std::fs::File;
use std::io::{Error, ErrorKind, Read, Result};
use std::mem::MaybeUninit;
use std::path::Path;

use catamaran_host::wire::Message;
use nix::libc;
use rustix::fs::RawDir;

/// The size that nearly every file fits in, and is then read at once.
const PAGE: usize = 4096;

/// A controller's files of one container.
#[derive(Clone, Copy)]
pub(crate) struct Folder<'a> {
    pub(crate) path: &'a Path,
    /// The number for `max`: containerd's messages have 0 in v1, and the largest number in v2.
    pub(crate) unlimited: u64,
}

impl Folder<'_> {
    /// Reads a file; None if the kernel has no such file, or has removed it, or does not keep its figures.
    pub(crate) fn text(&self, file: &str) -> Result<Option<String>> {
        let mut text = String::with_capacity(PAGE);
        match File::open(self.path.join(file)).and_then(|mut file| file.read_to_string(&mut text)) {
            Ok(_) => Ok(Some(text)),
            Err(e) => match e.raw_os_error() {
                // ENODEV: the cgroup was removed after the file was opened. EOPNOTSUPP: pressure is disabled.
                Some(libc::ENOENT | libc::ENODEV | libc::EOPNOTSUPP) => Ok(None),
                _ => Err(self.place(file, &e)),
            },
        }
    }

    /// Reads a file of one number.
    pub(crate) fn number(&self, file: &str) -> Result<Option<u64>> {
        let Some(text) = self.text(file)? else { return Ok(None) };
        self.parse(text.trim()).map(Some).ok_or_else(|| self.strange(file, &text))
    }

    /// Reads a file of one number that only some kernels have; 0 if it is missing.
    pub(crate) fn number_or_zero(&self, file: &str) -> Result<u64> {
        Ok(self.number(file)?.unwrap_or(0))
    }

    /// Calls `take` with the name and the number of each line. Returns false if there is no such file.
    pub(crate) fn lines(&self, file: &str, mut take: impl FnMut(&str, u64)) -> Result<bool> {
        let Some(text) = self.text(file)? else { return Ok(false) };
        for line in text.lines() {
            let pair = line.split_once(' ').and_then(|(name, value)| Some((name, self.parse(value.trim())?)));
            let (name, value) = pair.ok_or_else(|| self.strange(file, line))?;
            take(name, value);
        }
        Ok(true)
    }

    /// Makes a message of a file's lines, each in the field that `field` has for its name; None if there is no such file.
    pub(crate) fn message(&self, file: &str, field: impl Fn(&str) -> Option<u32>) -> Result<Option<Message>> {
        let mut message = Message::default();
        let found = self.lines(file, |name, value| {
            if let Some(field) = field(name) {
                message.number(field, value);
            }
        })?;
        Ok(found.then_some(message))
    }

    /// Reads a file's numbers, in order.
    pub(crate) fn numbers(&self, file: &str) -> Result<Vec<u64>> {
        let Some(text) = self.text(file)? else { return Ok(Vec::new()) };
        let words = text.split_whitespace();
        words.map(|word| self.parse(word).ok_or_else(|| self.strange(file, word))).collect()
    }

    /// Returns the parts of file names between `before` and `after`, sorted: the page sizes of files such as `hugetlb.2MB.max`.
    pub(crate) fn named(&self, before: &str, after: &str) -> Result<Vec<String>> {
        let folder = match File::open(self.path) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            opened => opened.map_err(|e| self.place("", &e))?,
        };
        // Not std's read_dir, which takes 32 kB from a heap that would keep them.
        let mut space = [MaybeUninit::uninit(); PAGE];
        let mut entries = RawDir::new(&folder, &mut space);
        let mut found = Vec::new();
        while let Some(entry) = entries.next() {
            let entry = match entry {
                Err(e) if e == rustix::io::Errno::NOENT => break,
                entry => entry.map_err(|e| self.place("", &e.into()))?,
            };
            let name = entry.file_name().to_str().ok();
            let middle = name.and_then(|name| name.strip_prefix(before)?.strip_suffix(after));
            found.extend(middle.filter(|middle| !middle.contains('.')).map(str::to_owned));
        }
        found.sort();
        Ok(found)
    }

    fn parse(&self, word: &str) -> Option<u64> {
        if word == "max" { Some(self.unlimited) } else { word.parse().ok() }
    }

    fn place(&self, file: &str, e: &Error) -> Error {
        Error::new(e.kind(), format!("{}: {e}", self.path.join(file).display()))
    }

    /// Makes an error that shows the text in the place of a number.
    pub(crate) fn strange(&self, file: &str, text: &str) -> Error {
        let text: String = text.chars().take(80).collect();
        let place = self.path.join(file);
        Error::new(
            ErrorKind::InvalidData,
            format!("{}: {text:?}: a form in which the kernel does not write this file", place.display()),
        )
    }
}
