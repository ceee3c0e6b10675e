//! A handler's options: the TOML in containerd's configuration, and the message that contains it.

use catamaran_cache::engine::Engine;
use catamaran_daemon::untrusted;

use crate::lines::pick;
use crate::{Taken, told};

const TYPE: &str = "runtimeoptions.v1.Options";
/// `config_body` of that message: its third field, of bytes.
const BODY: u8 = 3 << 3 | 2;

/// A line with the name by which the shim was called, or `message`; then the TOML, or the whole message.
pub(crate) fn target(input: &[u8]) -> Taken {
    let end = input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len());
    let (first, rest) = (input.get(..end).unwrap_or_default(), input.get(end + 1..).unwrap_or_default());
    let first = pick(&String::from_utf8_lossy(first), &["catamaran", "wasmtime", "wasmer", "message"]);
    let read = match first {
        // A message may name a file of this machine, by its absolute path.
        "message" if rest.contains(&b'/') => return false,
        "message" => untrusted::options(TYPE, rest, None),
        name => untrusted::options(TYPE, &message(rest), Engine::parse(name)),
    };
    if let Ok((allowed, default)) = &read {
        assert!(allowed.contains(default), "the default {default} is not among {allowed:?}");
        assert!(allowed.iter().all(|one| allowed.iter().filter(|other| *other == one).count() == 1), "{allowed:?}");
    }
    told::taken(read)
}

fn message(body: &[u8]) -> Vec<u8> {
    let mut message = vec![BODY];
    let mut length = body.len();
    while length >= 0x80 {
        message.push(length as u8 | 0x80);
        length >>= 7;
    }
    message.push(length as u8);
    message.extend(body);
    message
}
