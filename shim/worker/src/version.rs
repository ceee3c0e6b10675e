//! The version of a build, which each message between its programs begins with. A program that receives a message of another
//! version refuses it before it reads any of its fields, and answers with its own version, so that both ends can name both.
//!
//! The programs of a pod are of one build, because the server opens all of them when it starts and executes them by descriptor.
//! If programs of several versions are installed on a node, a pod can still start with a mixture of them.
//!
//! ```text
//! message = VERSION line feed JSON        in one packet, or in a file in memory
//! ```

use std::fmt;
use std::io;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The package's version, and a digest of the source files that define the programs' messages: two builds of one package version
/// differ if these files do.
pub const VERSION: &str = match str::from_utf8(&TEXT) {
    Ok(text) => text,
    Err(_) => panic!("a version is ASCII"),
};

/// The files whose types are in messages.
const FORM: [&[u8]; 18] = [
    include_bytes!("compiler.rs"),
    include_bytes!("control.rs"),
    include_bytes!("runner.rs"),
    include_bytes!("job.rs"),
    include_bytes!("mountattr.rs"),
    include_bytes!("rules.rs"),
    include_bytes!("server.rs"),
    include_bytes!("version.rs"),
    include_bytes!("../../cache/src/engine.rs"),
    include_bytes!("../../cache/src/image.rs"),
    include_bytes!("../../cache/src/module.rs"),
    include_bytes!("../../cache/src/order.rs"),
    include_bytes!("../../cache/src/target.rs"),
    include_bytes!("../../cgroup/src/request.rs"),
    include_bytes!("../../cgroup/src/update/mod.rs"),
    include_bytes!("../../files/src/outline.rs"),
    include_bytes!("../../files/src/search.rs"),
    include_bytes!("../../host/src/errand.rs"),
];

const PACKAGE: &[u8] = env!("CARGO_PKG_VERSION").as_bytes();
const DIGITS: &[u8; 16] = b"0123456789abcdef";
/// The longest version of another program that an error shows.
const LONGEST: usize = 64;

const TEXT: [u8; PACKAGE.len() + 1 + DIGITS.len()] = {
    let mut text = [b'-'; PACKAGE.len() + 1 + DIGITS.len()];
    let (package, digest) = text.split_at_mut(PACKAGE.len());
    package.copy_from_slice(PACKAGE);
    let (mut number, mut at) = (digest_of(&FORM), DIGITS.len());
    while at > 0 {
        digest[at] = DIGITS[(number & 15) as usize];
        number >>= 4;
        at -= 1;
    }
    text
};

/// FNV-1a of all files: it tells builds apart, and protects against nothing.
const fn digest_of(files: &[&[u8]]) -> u64 {
    let (mut hash, mut file) = (0xcbf2_9ce4_8422_2325_u64, 0);
    while file < files.len() {
        let (bytes, mut at) = (files[file], 0);
        while at < bytes.len() {
            hash = (hash ^ bytes[at] as u64).wrapping_mul(0x100_0000_01b3);
            at += 1;
        }
        file += 1;
    }
    hash
}

/// The program at the other end is of another version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtherVersion {
    /// The version that it sent; empty if those bytes have not the form of a version.
    theirs: String,
}

impl fmt::Display for OtherVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = std::env::args_os().next().unwrap_or_default();
        let own = std::path::Path::new(&path).file_name().unwrap_or_default().display();
        let theirs = if self.theirs.is_empty() { "unknown" } else { &self.theirs };
        write!(
            f,
            "programs of different versions: {own} is of version {VERSION}, and the program that it speaks to is of version \
             {theirs}: install all programs of Catamaran of one version together, and create the pod again"
        )
    }
}

impl std::error::Error for OtherVersion {}

impl From<OtherVersion> for io::Error {
    fn from(e: OtherVersion) -> Self {
        Self::new(io::ErrorKind::InvalidData, e)
    }
}

/// Returns the [`OtherVersion`] that an error is made of.
pub fn other(e: &io::Error) -> Option<&OtherVersion> {
    e.get_ref().and_then(|e| e.downcast_ref())
}

/// Returns the version from the program's data. The optimiser would put pieces of it into the code, and a test writes another version
/// into a program's file.
fn own() -> &'static [u8] {
    std::hint::black_box(VERSION.as_bytes())
}

/// Returns the value as a message of this version.
///
/// # Errors
/// When the value has no JSON form.
pub fn write(value: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut bytes = own().to_vec();
    bytes.push(b'\n');
    serde_json::to_writer(&mut bytes, value)?;
    Ok(bytes)
}

/// Reads a value that [`write`] wrote.
///
/// # Errors
/// [`OtherVersion`] if a program of another version wrote the message; otherwise the JSON's error.
pub fn read<T: DeserializeOwned>(message: &[u8]) -> io::Result<T> {
    let theirs = first_line(message);
    compare(theirs)?;
    Ok(serde_json::from_slice(message.get(theirs.len() + 1..).unwrap_or_default())?)
}

/// Returns the sender's version from its message.
pub fn first_line(message: &[u8]) -> &[u8] {
    message.split(|byte| *byte == b'\n').next().unwrap_or_default()
}

/// Compares another program's version with this one's.
///
/// # Errors
/// [`OtherVersion`] if they differ.
pub fn compare(theirs: &[u8]) -> Result<(), OtherVersion> {
    if theirs == own() {
        return Ok(());
    }
    let plausible =
        theirs.len() <= LONGEST && theirs.iter().all(|byte| byte.is_ascii_alphanumeric() || b".-+".contains(byte));
    Err(OtherVersion { theirs: String::from_utf8_lossy(if plausible { theirs } else { b"" }).into_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_the_packages_and_a_digest() {
        let (package, digest) = VERSION.rsplit_once('-').unwrap();
        assert_eq!(package, env!("CARGO_PKG_VERSION"));
        assert!(digest.len() == 16 && digest.bytes().all(|b| b.is_ascii_hexdigit()), "{digest}");
        assert_ne!(digest_of(&[b"a", b"b"]), digest_of(&[b"b", b"a"]));
    }

    #[test]
    fn every_file_with_a_messages_type_counts() {
        let own = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/src/version.rs")).unwrap();
        let mut waiting: Vec<_> = ["worker", "cache", "cgroup", "files", "host"]
            .map(|part| std::path::PathBuf::from(format!("{}/../{part}/src", env!("CARGO_MANIFEST_DIR"))))
            .into();
        let mut found = 0;
        while let Some(path) = waiting.pop() {
            if path.is_dir() {
                waiting.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let is_of_messages = |line: &str| line.trim().starts_with("#[derive(") && line.contains("Serialize");
            if text.lines().any(is_of_messages) {
                let path = path.display().to_string();
                let name = path.rsplit_once("/../worker/src/").or(path.rsplit_once("/../")).unwrap().1;
                assert!(
                    own.contains(&format!("include_bytes!(\"{name}\")")) || own.contains(&format!("/{name}\")")),
                    "{name}"
                );
                found += 1;
            }
        }
        assert!(found > 10, "{found}");
    }

    #[test]
    fn a_message_of_this_version_is_read() {
        let message = write(&("a\nb", 7)).unwrap();
        assert_eq!(read::<(String, u8)>(&message).unwrap(), ("a\nb".to_owned(), 7));
        let broken = [VERSION.as_bytes(), b"\n{"].concat();
        assert!(other(&read::<u8>(&broken).unwrap_err()).is_none());
    }

    #[test]
    fn a_message_of_another_version_is_refused_by_both_versions() {
        let hostile = [b'x'; LONGEST + 1];
        let cases: [(&[u8], &str); 5] = [
            (b"0.0.9-0123456789abcdef\n7", "is of version 0.0.9-0123456789abcdef:"),
            (b"0.0.9", "is of version 0.0.9:"),
            (b"{\"Ready\":{}}", "is of version unknown:"),
            (b"\x1b[2J\n7", "is of version unknown:"),
            (&hostile, "is of version unknown:"),
        ];
        for (message, theirs) in cases {
            let e = read::<u8>(message).unwrap_err();
            assert!(other(&e).is_some(), "{e}");
            let text = e.to_string();
            for words in
                [&format!("is of version {VERSION},"), theirs, "install all programs of Catamaran of one version"]
            {
                assert!(text.contains(words), "{words:?} is missing in: {text}");
            }
        }
    }
}
