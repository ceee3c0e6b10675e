//! HOME of a guest whose spec sets none: the home directory of its user in the container's own `/etc/passwd`, which is parsed as
//! other runtimes parse it, or else `/`.
//!
//! The image or a guest wrote that file. The worker opens it with root's rights, as other runtimes do, and reads it after it has
//! given them up.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::num::IntErrorKind;

use nix::libc;
use rustix::fs::{FileType, Mode, OFlags};

use crate::runner::Guest;
use crate::variables::HOME;

const DEFAULT: &str = "/";
const PASSWD: &str = "/etc/passwd";
/// The most bytes of the file that are read: some 50,000 users.
const MOST_BYTES: u64 = 4 << 20;
/// The longest line; a longer one ends the search.
const LONGEST_LINE: u64 = 64 << 10;

/// Opens the container's list of users if the guest needs one, in a process whose root is the container's. Returns None if the
/// file is missing or cannot be opened.
pub(crate) fn users(guest: &Guest) -> Option<File> {
    if has_home(guest) {
        return None;
    }
    // Wait for no FIFO's writer, and take no terminal.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = rustix::fs::open(PASSWD, flags, Mode::empty()).ok()?;
    let kind = FileType::from_raw_mode(rustix::fs::fstat(&file).ok()?.st_mode);
    (kind == FileType::RegularFile).then(|| file.into())
}

/// Returns the guest with a HOME, that of `uid` unless it has one.
pub(crate) fn given(guest: &Guest, uid: libc::uid_t, users: Option<File>) -> Guest {
    let mut guest = guest.clone();
    if !has_home(&guest) {
        let home = users.and_then(|users| home_of(uid, users)).unwrap_or_else(|| DEFAULT.to_owned());
        guest.env.retain(|(name, _)| name != HOME);
        guest.env.push((HOME.to_owned(), home));
    }
    guest
}

/// Whether the guest has a HOME that is not empty.
fn has_home(guest: &Guest) -> bool {
    guest.env.iter().any(|(name, value)| name == HOME && !value.is_empty())
}

/// Returns the home directory in the user's first line (passwd(5)): the sixth field, or an empty one if the line has fewer.
fn home_of(uid: libc::uid_t, users: impl Read) -> Option<String> {
    let mut lines = BufReader::new(users.take(MOST_BYTES));
    let mut line = Vec::new();
    loop {
        line.clear();
        let length = (&mut lines).take(LONGEST_LINE).read_until(b'\n', &mut line).ok()? as u64;
        if length == 0 || (length == LONGEST_LINE && !line.ends_with(b"\n")) {
            return None;
        }
        let mut fields = line.trim_ascii().split(|byte| *byte == b':');
        if !line.trim_ascii().is_empty() && is(uid, fields.nth(2).unwrap_or_default()) {
            // A value of a guest's environment is text, and ends at a NUL.
            let home = String::from_utf8(fields.nth(2).unwrap_or_default().to_vec()).ok();
            return home.filter(|home| !home.contains('\0'));
        }
    }
}

/// Whether a field is the user's number. A field that is no number counts as 0, as with every other runtime.
fn is(uid: libc::uid_t, field: &[u8]) -> bool {
    let number = match std::str::from_utf8(field).unwrap_or_default().parse::<i64>() {
        Ok(number) => number,
        Err(e) if matches!(e.kind(), IntErrorKind::PosOverflow | IntErrorKind::NegOverflow) => return false,
        Err(_) => 0,
    };
    number == i64::from(uid)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The expected values are runc 1.3's.
    #[test]
    fn the_home_directory_is_that_of_the_users_first_line() {
        let users = "root:x:0:0::/root:/bin/sh\nu:x:1000:1000::/home/u:/bin/sh\n";
        for (text, uid, home) in [
            (users, 0, Some("/root")),
            (users, 1000, Some("/home/u")),
            (users, 7, None),
            ("", 0, None),
            ("\n \n", 0, None),
            ("# users\nroot:x:0:0::/root:/bin/sh\n", 0, Some("")),
            ("u:x:1000:1000\n", 1000, Some("")),
            ("u:x:1000:1000:::\n", 1000, Some("")),
            ("u:x:1000:1000::rel/path:/bin/sh:more\nv:x:1000:1::/second:\n", 1000, Some("rel/path")),
            ("  u:x: 1000:1000::/sp :\n", 1000, None),
            ("u:x:+1000:1000::/plus:\n", 1000, Some("/plus")),
            ("u:x:01000:1000::/zero:\n", 1000, Some("/zero")),
            ("u:x:1000:1000::/ok\r\n", 1000, Some("/ok")),
            ("u:x:99999999999999999999:0::/far:\nroot:x:0:0::/root:\n", 0, Some("/root")),
            ("u:x:1000:1000::/a\0b:\n", 1000, None),
        ] {
            assert_eq!(home_of(uid, text.as_bytes()).as_deref(), home, "{text:?}");
        }
        assert_eq!(home_of(5, &b"u:x:5:5::/h\xff:\n"[..]), None);
        let long = format!("{}:x:5:5::/a:\nu:x:1000:1000::/after:\n", "x".repeat(70_000));
        assert_eq!(home_of(1000, long.as_bytes()), None);
        let many = format!("{}u:x:1000:1000::/after:\n", "u:x:7:7::/before:\n".repeat(1 << 20));
        assert_eq!(home_of(1000, many.as_bytes()), None, "it was read to its end");
    }

    #[test]
    fn a_home_of_the_spec_stays_and_an_empty_one_does_not() {
        let guest = |env: &[(&str, &str)]| Guest {
            args: Vec::new(),
            env: env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            cwd: "/".to_owned(),
        };
        let own = guest(&[("A", "1"), ("HOME", "/mine"), ("B", "2")]);
        assert_eq!(given(&own, 0, None), own);
        assert_eq!(given(&guest(&[("HOME", ""), ("B", "2")]), 0, None), guest(&[("B", "2"), ("HOME", "/")]));
    }
}
