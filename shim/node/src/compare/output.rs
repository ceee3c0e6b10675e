//! Reads a guest's output from a FIFO while the guest writes it, and compares the outputs of both engines.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};

use rustix::fs::{CWD, FileType, Mode, OFlags};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::OfEngine;

/// The number of bytes that are kept to show the first difference; the digest covers the rest.
const KEPT: usize = 64 << 10;
/// The number of characters that are shown of a line.
const SHOWN: usize = 100;

/// One stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Text {
    pub(crate) bytes: u64,
    /// The SHA-256 of the whole stream, in hexadecimal.
    pub(crate) digest: String,
    /// The beginning of the stream.
    #[serde(skip)]
    pub(crate) kept: Vec<u8>,
}

/// Whether both engines' outputs are the same.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Compared {
    /// None if one of the engines did not run it.
    pub(crate) equal: Option<bool>,
    pub(crate) difference: Option<Difference>,
}

/// The first difference.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Difference {
    pub(crate) stream: &'static str,
    /// Counted from 1; None if the difference lies beyond the bytes that were kept.
    pub(crate) line: Option<usize>,
    /// The line on each engine; None if the stream ends before it.
    pub(crate) lines: [Option<String>; 2],
}

/// Reads a FIFO to its end.
pub(crate) struct Reader {
    path: PathBuf,
    thread: JoinHandle<Text>,
}

impl Reader {
    /// Makes the FIFO, and starts to read.
    pub(crate) fn start(path: &Path) -> io::Result<Self> {
        rustix::fs::mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
        let own = path.to_owned();
        // Opening blocks until a process opens the FIFO for writing.
        let thread = thread::spawn(move || File::open(own).map(read).unwrap_or_else(|_| read(io::empty())));
        Ok(Self { path: path.to_owned(), thread })
    }

    /// Returns the output once nobody writes any more.
    pub(crate) fn end(self) -> Text {
        // Releases a reader that still waits for a writer. A non-blocking open for writing fails until the reader is in its own open.
        while !self.thread.is_finished() {
            let flags = OFlags::NONBLOCK.bits().cast_signed();
            drop(File::options().write(true).custom_flags(flags).open(&self.path));
            thread::sleep(std::time::Duration::from_millis(1));
        }
        let _ = fs::remove_file(&self.path);
        self.thread.join().unwrap_or_else(|_| read(io::empty()))
    }
}

fn read(mut from: impl Read) -> Text {
    let (mut digest, mut kept, mut bytes) = (Sha256::new(), Vec::new(), 0);
    let mut buffer = vec![0; KEPT];
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        let piece = buffer.get(..read).unwrap_or_default();
        digest.update(piece);
        bytes += read as u64;
        let room = KEPT.saturating_sub(kept.len()).min(read);
        kept.extend_from_slice(piece.get(..room).unwrap_or_default());
    }
    let digest = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Text { bytes, digest, kept }
}

/// Compares a guest's outputs on two engines.
pub(crate) fn compare(one: &OfEngine, other: &OfEngine) -> Compared {
    let mut compared = Compared { equal: None, difference: None };
    for (stream, one, other) in [("stdout", &one.stdout, &other.stdout), ("stderr", &one.stderr, &other.stderr)] {
        let (Some(one), Some(other)) = (one, other) else { return Compared { equal: None, difference: None } };
        if one != other && compared.difference.is_none() {
            compared.difference = Some(difference(stream, one, other));
        }
    }
    compared.equal = Some(compared.difference.is_none());
    compared
}

fn difference(stream: &'static str, one: &Text, other: &Text) -> Difference {
    let lines = |text: &Text| text.kept.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect::<Vec<_>>();
    let (one, other) = (lines(one), lines(other));
    let line = (0..one.len().max(other.len())).find(|number| one.get(*number) != other.get(*number));
    let shown = |lines: &[Vec<u8>]| line.and_then(|number| lines.get(number)).map(|line| shown(line));
    Difference { stream, line: line.map(|number| number + 1), lines: [shown(&one), shown(&other)] }
}

/// A line of a guest's output, made safe for a terminal.
fn shown(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line.strip_suffix(b"\n").unwrap_or(line)).replace(char::is_control, " ");
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_fifo_is_read_to_its_end_or_let_go_where_nobody_writes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        let reader = Reader::start(&path).unwrap();
        let mut writer = File::options().write(true).open(&path).unwrap();
        writer.write_all(&vec![b'x'; 3 * KEPT]).unwrap();
        drop(writer);
        let text = reader.end();
        assert_eq!((text.bytes, text.kept.len()), (3 * KEPT as u64, KEPT));
        let nothing = Reader::start(&path).unwrap().end();
        assert_eq!((nothing.bytes, nothing.digest.get(..8)), (0, Some("e3b0c442")));
        assert!(!path.exists());
    }

    #[test]
    fn the_first_difference_is_shown_by_its_line() {
        let text = |words: &str| read(words.as_bytes());
        let of = |one: &str, other: &str| difference("stdout", &text(one), &text(other));
        let lines = |one: Option<&str>, other: Option<&str>| [one.map(str::to_owned), other.map(str::to_owned)];
        assert_eq!(
            (of("a\nb\nc\n", "a\nB\u{1b}\nc\n").line, of("a\n", "a\nb\n").lines),
            (Some(2), lines(None, Some("b")))
        );
        assert_eq!(of("a\nb\u{1b}[2J\n", "a\n").lines, lines(Some("b [2J"), None));
        assert_eq!(of(&"x".repeat(200), "").lines[0].as_ref().unwrap().len(), SHOWN + 3);
        let long = "x\n".repeat(KEPT);
        assert_eq!(of(&format!("{long}a"), &format!("{long}b")).line, None, "behind what was kept");
    }
}
