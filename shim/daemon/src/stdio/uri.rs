//! Parses a request's stream: the path of a FIFO, or a URI, as containerd's own shim takes them
//! (`cmd/containerd-shim-runc-v2/process/io.go`, containerd's `docs/` "Logging").
//!
//! ```text
//! ""                              the null device
//! /path, fifo:///path             a FIFO that the client has made
//! file:///path                    a file that is made if need be, and appended to
//! binary:///program?key=value     a program that reads both outputs; binary-v2 must say when it is ready
//! ```

use std::borrow::Cow;
use std::ffi::{CString, OsString};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use log::warn;

use crate::error::{Error, Result};

/// The target of a request's stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    Null,
    Fifo(PathBuf),
    File(PathBuf),
    Program(Program),
}

/// A logger: a program of the host that the client names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Program {
    pub(super) path: PathBuf,
    /// The arguments behind the program's own name.
    pub(super) arguments: Vec<CString>,
    /// Whether the program must write a byte when it is ready. Otherwise it is enough that it closes the descriptor for that.
    pub(super) speaks: bool,
}

const EXPECTED: &str = "the absolute path of a FIFO, fifo:///path, file:///path, binary:///program?key=value or \
                        binary-v2:///program?key=value";

/// Parses the request's stream `name`.
pub(super) fn parse(name: &str, text: &str) -> Result<Target> {
    let refused = |expected: &str| Error::refused(format!("the request's {name}"), text, expected);
    if text.is_empty() {
        return Ok(Target::Null);
    }
    if text.starts_with('/') {
        // A path is taken as it is: `?` and `%` have a meaning only in a URI.
        return Ok(Target::Fifo(text.into()));
    }
    let (scheme, rest) = text.split_once(':').ok_or_else(|| refused(EXPECTED))?;
    let scheme = scheme.to_ascii_lowercase();
    if !["fifo", "file", "binary", "binary-v2"].contains(&scheme.as_str()) {
        return Err(refused(EXPECTED));
    }
    let rest = rest.split_once('#').map_or(rest, |(before, _)| before);
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    // In `file://var/log` the host is `var`, so that the path would be another one than the client means.
    let path = path.strip_prefix("//").unwrap_or(path);
    let expected = || format!("{scheme}:///path, with three slashes and an absolute path");
    if !path.starts_with('/') {
        return Err(refused(&expected()));
    }
    let decoded = decoded(path, false).filter(|bytes| !bytes.contains(&0));
    let path =
        decoded.ok_or_else(|| refused("a path whose \"%\" are followed by two hexadecimal digits, and not by 00"))?;
    let path = PathBuf::from(OsString::from_vec(path));
    Ok(match scheme.as_str() {
        "fifo" => Target::Fifo(path),
        "file" => Target::File(path),
        scheme => {
            let arguments = arguments(name, query).ok_or_else(|| refused("arguments without a null character"))?;
            Target::Program(Program { path, arguments, speaks: scheme == "binary-v2" })
        }
    })
}

impl Program {
    /// Returns the name for messages. The arguments may be confidential.
    pub(super) fn name(&self) -> Cow<'_, str> {
        Path::to_string_lossy(&self.path)
    }
}

/// Returns a query's words: each key and its first value, which may be empty. Leaves out what Go's `url.ParseQuery` leaves out, as
/// containerd's shim does. Unlike there, keys keep the order in which they first occur.
fn arguments(name: &str, query: &str) -> Option<Vec<CString>> {
    let mut pairs: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    for (index, part) in query.split('&').enumerate().filter(|(_, part)| !part.is_empty()) {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        match (part.contains(';'), decoded(key, true), decoded(value, true)) {
            (false, Some(key), Some(value)) => {
                if !pairs.iter().any(|(known, _)| *known == key) {
                    pairs.push((key, value));
                }
            }
            _ => warn!(
                "the request's {name}: argument {index} of the logger is left out, because it has a \";\" or a wrong \"%\""
            ),
        }
    }
    pairs.into_iter().flat_map(|(key, value)| [key, value]).map(|word| CString::new(word).ok()).collect()
}

/// Decodes percent signs. Returns None if a `%` is not followed by two hexadecimal digits. In a query `+` is a space.
fn decoded(text: &str, query: bool) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => digit(bytes.next()?)? << 4 | digit(bytes.next()?)?,
            b'+' if query => b' ',
            byte => byte,
        });
    }
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(text: &str) -> (String, Vec<String>, bool) {
        match parse("stdout", text).unwrap() {
            Target::Program(Program { path, arguments, speaks }) => (
                path.to_str().unwrap().to_owned(),
                arguments.iter().map(|word| word.to_str().unwrap().to_owned()).collect(),
                speaks,
            ),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn stream_uris_are_paths_or_have_a_known_scheme() {
        let fifo = |path: &str| Target::Fifo(path.into());
        for (text, target) in [
            ("", Target::Null),
            ("/run/a b?c#d%zz", fifo("/run/a b?c#d%zz")),
            ("fifo:///run/a%20b", fifo("/run/a b")),
            ("file:///var/log/a.log", Target::File("/var/log/a.log".into())),
            ("FILE:/var/log/a?b=c#d", Target::File("/var/log/a".into())),
            ("file:////a", Target::File("//a".into())),
        ] {
            assert_eq!(parse("stdout", text).unwrap(), target, "{text}");
        }
        for (text, word) in [
            ("a", "absolute path"),
            ("npipe:////./pipe/a", "npipe"),
            ("http://host/a", "http://host/a"),
            ("file://var/log/a", "three slashes"),
            ("file:a", "three slashes"),
            ("binary://", "three slashes"),
            ("binary:///a%4", "hexadecimal"),
            ("binary:///a%00", "hexadecimal"),
            ("binary:///a?b=%00", "null character"),
        ] {
            let refused = parse("stderr", text).unwrap_err().to_string();
            assert!(refused.contains(word) && refused.contains("the request's stderr"), "{text}: {refused}");
        }
    }

    /// The expected words are what containerd's `NewBinaryCmd` makes of Go's `url.Parse` and `Query`.
    #[test]
    fn a_binary_loggers_arguments_are_parsed_as_containerd_does() {
        for (query, words) in [
            ("", vec![]),
            ("?", vec![]),
            ("?id=1", vec!["id", "1"]),
            ("?test", vec!["test", ""]),
            ("?b=2&a=1&b=3&&", vec!["b", "2", "a", "1"]),
            ("?=v", vec!["", "v"]),
            ("?a=b=c", vec!["a", "b=c"]),
            ("?a+b=%2Fc%26%3d+d", vec!["a b", "/c&= d"]),
            ("?a;b=1&c=2", vec!["c", "2"]),
            ("?a=%zz&c=2", vec!["c", "2"]),
            ("?a=1#b", vec!["a", "1"]),
        ] {
            let (path, found, speaks) = program(&format!("binary:///bin/x{query}"));
            assert_eq!(
                (path.as_str(), found, speaks),
                ("/bin/x", words.into_iter().map(str::to_owned).collect(), false)
            );
        }
        assert!(program("binary-v2:///bin/x").2);
    }
}
