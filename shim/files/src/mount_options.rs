//! Mount options of mount(8) and the OCI runtime spec («Linux mount options»), sorted by what they do.

use catamaran_worker::mountattr::Change;
use nix::libc;

/// The meaning of a mount option. Its reach is `Here` for the topmost mount alone, and `Below` for all mounts below it too.
enum Meaning {
    Set(Reach, u64),
    Clear(Reach, u64),
    /// Selects one of the ways to keep access times, which exclude each other.
    Atime(Reach, u64),
    /// Takes back such a selection.
    NotAtime(Reach, u64),
    /// Whether mounts that the host makes later arrive.
    Receiving(bool),
    Bind {
        recursive: bool,
    },
    /// Nothing to do: the default, or satisfied by something stricter (docs/spec.md).
    Nothing,
    /// Refuses the option, with the text of what to write instead.
    Refused(&'static str),
}

#[derive(Clone, Copy)]
enum Reach {
    Here,
    Below,
}

use Meaning::{Atime, Clear, NotAtime, Nothing, Receiving, Refused, Set};
use Reach::{Below, Here};

const RO: u64 = libc::MOUNT_ATTR_RDONLY;
const NOSUID: u64 = libc::MOUNT_ATTR_NOSUID;
const NODEV: u64 = libc::MOUNT_ATTR_NODEV;
const NOEXEC: u64 = libc::MOUNT_ATTR_NOEXEC;
const NODIRATIME: u64 = libc::MOUNT_ATTR_NODIRATIME;
const NOSYMFOLLOW: u64 = libc::MOUNT_ATTR_NOSYMFOLLOW;
const RELATIME: u64 = libc::MOUNT_ATTR_RELATIME;
const NOATIME: u64 = libc::MOUNT_ATTR_NOATIME;
const STRICTATIME: u64 = libc::MOUNT_ATTR_STRICTATIME;

const NO_IDMAP: &str = "no id mapping: this version has none";
const NO_COPY: &str = "a tmpfs that begins empty: an init container can copy the image's files into an emptyDir";
const NO_REMOUNT: &str = "no \"remount\": a mount is given its options when it is made";

/// The known options. All others are the file system's own. An option that would take back [`ALWAYS`] does nothing.
#[rustfmt::skip]
const OPTIONS: &[(&str, Meaning)] = &[
    ("async", Nothing), ("defaults", Nothing), ("loud", Nothing), ("silent", Nothing),
    ("bind", Meaning::Bind { recursive: false }), ("rbind", Meaning::Bind { recursive: true }),
    ("ro", Set(Here, RO)), ("rw", Clear(Here, RO)),
    ("rro", Set(Below, RO)), ("rrw", Clear(Below, RO)),
    ("nosuid", Set(Here, NOSUID)), ("suid", Nothing), ("rnosuid", Set(Below, NOSUID)), ("rsuid", Nothing),
    ("nodev", Set(Here, NODEV)), ("dev", Nothing), ("rnodev", Set(Below, NODEV)), ("rdev", Nothing),
    ("noexec", Set(Here, NOEXEC)), ("exec", Clear(Here, NOEXEC)),
    ("rnoexec", Set(Below, NOEXEC)), ("rexec", Clear(Below, NOEXEC)),
    ("nodiratime", Set(Here, NODIRATIME)), ("diratime", Clear(Here, NODIRATIME)),
    ("rnodiratime", Set(Below, NODIRATIME)), ("rdiratime", Clear(Below, NODIRATIME)),
    ("nosymfollow", Set(Here, NOSYMFOLLOW)), ("symfollow", Clear(Here, NOSYMFOLLOW)),
    ("rnosymfollow", Set(Below, NOSYMFOLLOW)), ("rsymfollow", Clear(Below, NOSYMFOLLOW)),
    ("relatime", Atime(Here, RELATIME)), ("norelatime", NotAtime(Here, RELATIME)),
    ("rrelatime", Atime(Below, RELATIME)), ("rnorelatime", NotAtime(Below, RELATIME)),
    ("strictatime", Atime(Here, STRICTATIME)), ("nostrictatime", NotAtime(Here, STRICTATIME)),
    ("rstrictatime", Atime(Below, STRICTATIME)), ("rnostrictatime", NotAtime(Below, STRICTATIME)),
    // Without noatime, the kernel keeps access times as with relatime.
    ("noatime", Atime(Here, NOATIME)), ("atime", Atime(Here, RELATIME)),
    ("rnoatime", Atime(Below, NOATIME)), ("ratime", Atime(Below, RELATIME)),
    ("private", Receiving(false)), ("rprivate", Receiving(false)),
    // A worker cannot bind anything anyway.
    ("unbindable", Receiving(false)), ("runbindable", Receiving(false)),
    ("slave", Receiving(true)), ("rslave", Receiving(true)),
    // A worker cannot mount anything that the host could see: of these options it can only use the part that slave gives.
    ("shared", Receiving(true)), ("rshared", Receiving(true)),
    ("idmap", Refused(NO_IDMAP)), ("ridmap", Refused(NO_IDMAP)),
    ("tmpcopyup", Refused(NO_COPY)),
    ("remount", Refused(NO_REMOUNT)),
];

/// Attributes of every mount, whatever the spec says: no device file that a guest makes works, and no set-user-id bit counts.
pub const ALWAYS: u64 = NODEV | NOSUID;

/// Returns the names of the accepted options, for the OCI features document.
pub fn understood() -> Vec<String> {
    let accepted = OPTIONS.iter().filter(|(_, meaning)| !matches!(meaning, Refused(_)));
    accepted.map(|(name, _)| (*name).to_owned()).collect()
}

/// `MOUNT_ATTR_*` to set and to clear. The last option on each attribute counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attributes {
    set: u64,
    clear: u64,
    atime: Option<u64>,
}

impl Attributes {
    /// Sets these attributes.
    pub fn set(&mut self, bits: u64) {
        self.set |= bits;
        self.clear &= !bits;
    }

    /// Whether all of these attributes are set.
    pub fn has(self, bits: u64) -> bool {
        self.set & bits == bits
    }

    fn clear(&mut self, bits: u64) {
        self.clear |= bits;
        self.set &= !bits;
    }

    /// Returns the change of a mount that exists.
    pub fn change(self) -> Change {
        // The kernel accepts a way to keep access times only if the whole field is cleared (mount_setattr(2)).
        let atime = if self.atime.is_some() { libc::MOUNT_ATTR__ATIME } else { 0 };
        Change { add: self.set | self.atime.unwrap_or_default(), clear: self.clear | atime, propagation: 0 }
    }
}

/// Options sorted by what they do.
#[derive(Debug, Default)]
pub struct Options {
    /// The attributes of the topmost mount.
    pub here: Attributes,
    /// The attributes of all mounts of the tree.
    pub below: Attributes,
    /// Whether mounts that the host makes later arrive.
    pub receiving: bool,
    /// Set for a bind mount; true if it includes all mounts below.
    pub bind: Option<bool>,
    /// The file system's own options.
    pub own: Vec<String>,
}

/// An option that is refused.
#[derive(Debug, PartialEq, Eq)]
pub struct Unavailable {
    /// The option.
    pub option: String,
    /// What to write instead.
    pub expected: &'static str,
}

impl Options {
    /// Reads the options of one mount.
    ///
    /// # Errors
    /// The first option that is refused.
    pub fn parse(options: &[String]) -> Result<Self, Unavailable> {
        let mut parsed = Self::default();
        for option in options {
            // Some write `idmap=...`.
            let name = option.split_once('=').map_or(option.as_str(), |(name, _)| name);
            let known = |wanted: &str| OPTIONS.iter().find(|(name, _)| *name == wanted).map(|(_, meaning)| meaning);
            match known(option).or_else(|| known(name).filter(|meaning| matches!(meaning, Refused(_)))) {
                Some(Set(reach, bits)) => parsed.within(*reach).set(*bits),
                Some(Clear(reach, bits)) => parsed.within(*reach).clear(*bits),
                Some(Atime(reach, mode)) => parsed.within(*reach).atime = Some(*mode),
                Some(NotAtime(reach, mode)) => {
                    let atime = &mut parsed.within(*reach).atime;
                    *atime = atime.filter(|set| set != mode);
                }
                Some(Receiving(receiving)) => parsed.receiving = *receiving,
                Some(Meaning::Bind { recursive }) => parsed.bind = Some(*recursive),
                Some(Nothing) => {}
                Some(Refused(expected)) => return Err(Unavailable { option: option.clone(), expected }),
                None => parsed.own.push(option.clone()),
            }
        }
        Ok(parsed)
    }

    fn within(&mut self, reach: Reach) -> &mut Attributes {
        match reach {
            Here => &mut self.here,
            Below => &mut self.below,
        }
    }

    /// Returns the `MOUNT_ATTR_*` of a new mount, which has no mounts below it.
    pub fn of_a_new_mount(&self) -> u64 {
        let set = self.here.set & !self.below.clear | self.below.set;
        set | self.below.atime.or(self.here.atime).unwrap_or_default() | ALWAYS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(options: &[&str]) -> Options {
        Options::parse(&options.iter().map(|&o| o.to_owned()).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn mount_options_become_flags_and_data() {
        let parsed = parse(&["rbind", "ro", "rw", "noexec", "rslave", "size=1k", "rro"]);
        assert_eq!(parsed.here, Attributes { set: NOEXEC, clear: RO, atime: None });
        assert_eq!(parsed.below, Attributes { set: RO, clear: 0, atime: None });
        assert!(parsed.receiving);
        assert_eq!(parsed.bind, Some(true));
        assert_eq!(parsed.own, ["size=1k"]);
        assert!(!parse(&["rshared", "rprivate"]).receiving);
    }

    #[test]
    fn nodev_and_nosuid_cannot_be_undone() {
        let all: Vec<&str> = OPTIONS.iter().filter(|(_, m)| !matches!(m, Refused(_))).map(|(name, _)| *name).collect();
        for options in [&["dev", "suid", "rdev", "rsuid"], &all[..]] {
            let parsed = parse(options);
            assert_eq!((parsed.here.clear | parsed.below.clear) & ALWAYS, 0, "{options:?}");
            assert_eq!(parsed.of_a_new_mount() & ALWAYS, ALWAYS, "{options:?}");
        }
    }

    #[test]
    fn one_access_time_option_replaces_another() {
        let change = |options: &[&str]| parse(options).here.change();
        let clear = libc::MOUNT_ATTR__ATIME;
        for (options, add) in [
            (&["noatime"][..], NOATIME),
            (&["noatime", "strictatime"], STRICTATIME),
            (&["noatime", "atime"], RELATIME),
            (&["relatime", "nostrictatime"], RELATIME),
        ] {
            assert_eq!(change(options), Change { add, clear, propagation: 0 }, "{options:?}");
        }
        assert_eq!(change(&["strictatime", "nostrictatime"]), Change::default());
        assert_eq!(parse(&["noatime", "rrelatime"]).of_a_new_mount(), RELATIME | ALWAYS);
    }

    #[test]
    fn unsupported_mount_options_are_named() {
        for option in ["idmap", "ridmap", "idmap=uids=0-1-10", "tmpcopyup", "remount"] {
            assert_eq!(Options::parse(&[option.to_owned()]).unwrap_err().option, option);
        }
    }
}
