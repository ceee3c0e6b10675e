//! A container's log, as `kubectl logs` reads it.

use std::fs;
use std::path::Path;

/// A line of a container's log: `TIME STREAM TAG TEXT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// When it was read, in RFC 3339 with nanoseconds.
    pub time: String,
    /// `stdout` or `stderr`.
    pub stream: String,
    /// Whether the guest's line ends here (`F`), or goes on in the stream's next one (`P`).
    pub full: bool,
    /// The text without its line end.
    pub text: String,
}

/// Reads a log.
///
/// # Panics
/// When it cannot be read, and when a line of it is not in the CRI's form.
pub(super) fn read(path: &Path) -> Vec<LogLine> {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.lines()
        .map(|line| {
            let words: Vec<&str> = line.splitn(4, ' ').collect();
            let [time, stream, tag, text] = words[..] else { panic!("no line of a log: {line:?}") };
            assert!(time.len() > 20 && time.contains('T') && ["F", "P"].contains(&tag), "{line:?}");
            assert!(["stdout", "stderr"].contains(&stream), "{line:?}");
            LogLine { time: time.to_owned(), stream: stream.to_owned(), full: tag == "F", text: text.to_owned() }
        })
        .collect()
}

/// Returns the guest's own lines of one stream, joined again where the log cut them.
pub(super) fn whole(lines: Vec<LogLine>, stream: &str) -> Vec<String> {
    let mut found = vec![String::new()];
    for line in lines.into_iter().filter(|line| line.stream == stream) {
        found.last_mut().expect("it begins with one").push_str(&line.text);
        if line.full {
            found.push(String::new());
        }
    }
    // A line that the guest has begun and not ended comes into the log when the guest ends.
    if found.last().is_some_and(String::is_empty) {
        found.pop();
    }
    found
}

#[cfg(test)]
mod tests {
    use super::{LogLine, whole};

    #[test]
    fn parts_of_a_cut_line_are_joined() {
        let line = |stream: &str, full, text: &str| LogLine {
            time: String::new(),
            stream: stream.to_owned(),
            full,
            text: text.to_owned(),
        };
        let log = vec![
            line("stdout", false, "a"),
            line("stderr", true, "x"),
            line("stdout", true, "b"),
            line("stdout", true, "c"),
            line("stdout", false, "d"),
        ];
        assert_eq!(whole(log.clone(), "stdout"), ["ab", "c", "d"]);
        assert_eq!(whole(log, "stderr"), ["x"]);
        assert!(whole(Vec::new(), "stdout").is_empty());
    }
}
