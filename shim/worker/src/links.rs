//! Resolves a path's links as the kernel does for a process with this root.
//!
//! A Wasm container has no procfs, but its `/dev/stdout` is a link into one, as in every container, and images have links to
//! that. So a path below `/proc/self/fd` that is not in the tree stands for the guest's descriptor of that number.

use std::os::fd::BorrowedFd;

use rustix::fs::readlinkat;
use rustix::io::{Errno, Result};

/// How many links the kernel follows in one look-up.
const MOST_LINKS: usize = 40;

/// The place where a path leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expanded {
    /// Out of the root by the path's own `..` or `/`, which WASI does not permit; a link that does so stays in the root, as
    /// with the kernel.
    Outside,
    /// To this path below the root. Only a last name that is not followed can be a link or `..`. The path ends in a slash if the
    /// place has to be a folder.
    At(Vec<u8>),
    /// To this descriptor of the guest's own.
    Descriptor(u32),
}

/// Follows the links of `path`, that of its last name only if `follow`.
///
/// Looks at names one after the other, and each may change after its look-up: a caller that opens the place must not rely on
/// the result to stay within the root.
///
/// # Errors
/// The kernel's: a name is not there, is no folder, may not be searched, or there are too many links.
pub fn expand(root: BorrowedFd<'_>, path: &[u8], follow: bool) -> Result<Expanded> {
    if path.is_empty() || path.starts_with(b"/") {
        return Ok(Expanded::Outside);
    }
    let mut walk = Walk { root, done: Vec::new(), rest: path.to_vec(), at: 0, own: path.len(), links: 0 };
    while let Some(name) = walk.next() {
        let step = match walk.rest[walk.at..name.end] {
            // Kept without a look-up, with the slashes behind it: the caller's system call decides what those mean.
            _ if name.last && !follow => walk.last(&name),
            [b'.'] => walk.pass(&name),
            [b'.', b'.'] => walk.parent(&name)?,
            _ => walk.normal(&name)?,
        };
        match step {
            Step::On => {}
            Step::Out => return Ok(Expanded::Outside),
            Step::Descriptor(number) => return Ok(Expanded::Descriptor(number)),
            Step::End { folder } => return Ok(Expanded::At(walk.end(folder))),
        }
    }
    Ok(Expanded::At(walk.end(true)))
}

/// Returns the descriptor that a path names in this process's own folder of procfs; None for any other path.
fn descriptor(path: &[u8]) -> Option<u32> {
    let mut names = path.split(|&byte| byte == b'/').filter(|name| !name.is_empty());
    let process = match (names.next()?, names.next()?) {
        (b"proc", process) => process,
        _ => return None,
    };
    let own = std::process::id().to_string();
    let is_own = matches!(process, b"self" | b"thread-self") || process == own.as_bytes();
    let (folder, number) = (names.next()?, names.next()?);
    let is_number = is_own && folder == b"fd" && names.next().is_none() && !path.ends_with(b"/");
    // As the kernel prints a number: no sign and no leading zero.
    let digits = number.iter().all(u8::is_ascii_digit) && (number == b"0" || !number.starts_with(b"0"));
    (is_number && digits).then(|| std::str::from_utf8(number).ok()?.parse().ok()).flatten()
}

struct Walk<'a> {
    root: BorrowedFd<'a>,
    /// The path walked so far, from the root and without links.
    done: Vec<u8>,
    /// The path still to walk, from `at` on.
    rest: Vec<u8>,
    at: usize,
    /// The number of bytes at the end of `rest` that are the path's own, and not a link's.
    own: usize,
    links: usize,
}

/// The name of `rest` that begins at `at`: its end, the next name's beginning, and whether it is the last.
struct Name {
    end: usize,
    next: usize,
    last: bool,
}

enum Step {
    On,
    /// Out of the root.
    Out,
    Descriptor(u32),
    /// Whether it has to be a folder.
    End {
        folder: bool,
    },
}

impl Walk<'_> {
    fn next(&mut self) -> Option<Name> {
        let slashes = |from: usize| self.rest[from..].iter().take_while(|&&byte| byte == b'/').count();
        let name = |from: usize| self.rest[from..].iter().take_while(|&&byte| byte != b'/').count();
        self.at += slashes(self.at);
        let end = self.at + name(self.at);
        let next = end + slashes(end);
        (end > self.at).then_some(Name { end, next, last: next == self.rest.len() })
    }

    /// Whether the name is one of the path itself, and not of a link.
    fn is_own(&self) -> bool {
        self.rest.len() - self.at <= self.own
    }

    fn pass(&mut self, name: &Name) -> Step {
        self.at = name.next;
        Step::On
    }

    fn last(&mut self, name: &Name) -> Step {
        if self.rest[self.at..name.end] == *b".." && self.done.is_empty() {
            return Step::Out;
        }
        self.push(name);
        self.done.extend_from_slice(&self.rest[name.end..]);
        Step::End { folder: false }
    }

    fn end(mut self, folder: bool) -> Vec<u8> {
        if self.done.is_empty() {
            self.done.push(b'.');
        }
        if folder && !self.done.ends_with(b"/") {
            self.done.push(b'/');
        }
        self.done
    }

    /// Goes to the parent folder.
    fn parent(&mut self, name: &Name) -> Result<Step> {
        if self.done.is_empty() {
            return Ok(if self.is_own() { Step::Out } else { self.pass(name) });
        }
        // A file has no parent, and a folder that may not be searched shows none.
        match readlinkat(self.root, [&self.done[..], b"/."].concat(), Vec::new()) {
            Err(Errno::INVAL) => {}
            Err(e) => return Err(e),
            Ok(_) => return Err(Errno::NOTDIR),
        }
        self.done.truncate(self.done.iter().rposition(|&byte| byte == b'/').unwrap_or(0));
        Ok(self.pass(name))
    }

    /// Goes to this name, or to the target of the link that it is.
    fn normal(&mut self, name: &Name) -> Result<Step> {
        let before = self.done.len();
        self.push(name);
        match readlinkat(self.root, &self.done[..], Vec::new()) {
            Ok(text) => {
                self.done.truncate(before);
                self.link(text.as_bytes(), name.end).map(|()| Step::On)
            }
            // The caller learns what is there, if anything, when it uses the place.
            Err(_) if name.last => Ok(Step::End { folder: name.next > name.end }),
            Err(Errno::INVAL) => Ok(self.pass(name)),
            Err(Errno::NOENT) => self.descriptor(name).map(Step::Descriptor).ok_or(Errno::NOENT),
            Err(e) => Err(e),
        }
    }

    /// Returns the descriptor, if any, that the path stands for whose `name` is not in the tree.
    fn descriptor(&self, name: &Name) -> Option<u32> {
        descriptor(&[&self.done[..], &self.rest[name.end..]].concat())
    }

    /// Replaces the name by the link's text, before the rest of the path.
    fn link(&mut self, text: &[u8], end: usize) -> Result<()> {
        self.links += 1;
        match text.first() {
            _ if self.links > MOST_LINKS => return Err(Errno::LOOP),
            None => return Err(Errno::NOENT),
            Some(b'/') => self.done.clear(),
            Some(_) => {}
        }
        let behind = &self.rest[end..];
        self.own = self.own.min(behind.len());
        self.rest = [text, behind].concat();
        self.at = 0;
        Ok(())
    }

    fn push(&mut self, name: &Name) {
        if !self.done.is_empty() {
            self.done.push(b'/');
        }
        self.done.extend_from_slice(&self.rest[self.at..name.end]);
    }
}

#[cfg(test)]
mod tests;
