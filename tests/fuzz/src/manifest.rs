//! An image's index, manifest and configuration, on both sides of the process without rights: the process that reads a document, and the
//! driver, which believes no more of its message than the document has.

use catamaran_helper::untrusted::{CONFIGURATION, believed, record, written};

use crate::Taken;
use crate::lines::widened;

/// The limit of the message about a document (`image/summary.rs`).
const LONGEST: usize = 64 << 10;

/// A letter for the kind of the rest: `0` to `3` a document of that type, `4` to `7` the same with a known image ID, `c` a configuration,
/// `r` the record of containerd's CRI plugin, and any other the message of the process without rights, up to an empty line, and the
/// document after it. `~` is a long text.
pub(crate) fn target(input: &[u8]) -> Taken {
    let Some((first, rest)) = input.split_first() else { return false };
    let rest = widened(rest);
    match first {
        b'0'..=b'7' => both_sides(first & 3, first & 4 != 0, &rest),
        b'c' => both_sides(CONFIGURATION, false, &rest),
        b'r' => record(&rest).is_ok(),
        _ => {
            let end = rest.windows(2).position(|two| two == b"\n\n").map_or(rest.len(), |at| at + 1);
            let (said, document) = rest.split_at(end);
            let image = hostile(0, said, document);
            hostile(CONFIGURATION, said, document) || image
        }
    }
}

/// Checks that the driver reads the very same from the message. Returns whether the document is accepted.
fn both_sides(number: u8, resolved: bool, document: &[u8]) -> bool {
    let said = written(number, resolved, document);
    assert!(said.len() <= LONGEST, "{} bytes are written of a document of {}", said.len(), document.len());
    match believed(number, said.as_bytes(), document) {
        Ok(again) => assert_eq!(again, said),
        Err(reason) => assert_eq!(format!("refused\t{reason}\n"), said),
    }
    !said.starts_with("refused\t")
}

/// Checks that the believed part of any message is believed again, and names no digest that the document does not have.
fn hostile(number: u8, said: &[u8], document: &[u8]) -> bool {
    let Ok(again) = believed(number, said, document) else { return false };
    assert_eq!(believed(number, again.as_bytes(), document).as_ref(), Ok(&again));
    if number != CONFIGURATION {
        let document = String::from_utf8_lossy(document);
        let lines =
            again.lines().filter(|line| ["candidate", "config", "wasm"].iter().any(|key| line.starts_with(key)));
        for word in
            lines.flat_map(|line| line.split('\t')).filter(|word| word.starts_with("sha256:") && word.len() == 71)
        {
            assert!(document.contains(word), "{word} is not in the document");
        }
    }
    true
}
