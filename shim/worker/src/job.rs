//! The job: everything that the shim tells one worker, complete and checked before the worker exists.
//!
//! The shim serialises it as JSON into a memfd (a container's environment may be larger than one socket message) and sends it
//! with the descriptors that it numbers. The message begins with the build's version ([`crate::version`]).

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::Guest;
use crate::mountattr::Change;
pub use crate::rules::Rules;
pub use crate::server::Server;

/// A descriptor sent with the job, by its place in the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fd(pub usize);

/// The orders of one worker.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Job {
    /// The guest's arguments, environment and working directory.
    pub guest: Guest,
    /// The container's standard input; `/dev/null` if it has none. Standard output and error are inherited.
    pub stdin: Fd,
    /// Whether the three streams are a terminal, which becomes the process's controlling one.
    pub terminal: bool,
    /// The machine code, open for reading.
    pub artifact: Fd,
    /// The container's cgroup. Both of its parts are empty for a scope of systemd's, into which the intermediate is moved before it
    /// gets the job.
    pub cgroup: Cgroup,
    /// The worker's namespaces and file tree.
    pub world: World,
    /// `process.user`.
    pub user: User,
    /// `process.rlimits`.
    pub rlimits: Vec<Rlimit>,
    /// `process.oomScoreAdj`, -1000 to 1000.
    pub oom_score_adj: Option<i32>,
    /// `linux.seccomp`: a call gets the stricter of the answers of this profile and of the worker's own filter.
    pub seccomp: Option<Profile>,
    /// `process.apparmorProfile`, which is loaded on this host.
    pub apparmor: Option<String>,
    /// How to serve HTTP, for a component that the worker's own HTTP server calls.
    pub server: Option<Server>,
    /// The folder of that server's certificate, if it speaks TLS: a detached mount, outside of the container's tree.
    pub certificate: Option<Fd>,
    /// The node administrator's rules for components.
    pub rules: Rules,
}

/// The ways into the container's cgroup: the intermediate is in it before it makes anything of the container's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cgroup {
    /// The folders that the intermediate moves itself into, one for each tree of v1.
    pub enter: Vec<PathBuf>,
    /// The folder of v2, alone or beside v1's trees, that the intermediate's copy or the worker is cloned into.
    pub clone_into: Option<Fd>,
}

/// The namespaces and the file tree that a worker lives in.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum World {
    /// New ones, for a container's first process.
    New(Box<NewWorld>),
    /// Those of the process with this pidfd: the worker is a further process of its container.
    Of(Fd),
}

/// The namespaces and the file tree to make for a container.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NewWorld {
    /// `linux.namespaces` of the spec, in any order.
    pub namespaces: Vec<Namespace>,
    /// `hostname` of the spec; needs a uts namespace of its own.
    pub hostname: Option<String>,
    /// `domainname` of the spec; needs a uts namespace of its own.
    pub domainname: Option<String>,
    /// `linux.sysctl`, by name and value.
    pub sysctl: Vec<(String, String)>,
    /// The container's root file system.
    pub root: Root,
    /// `mounts` of the spec, in its order, and after them those of the default devices.
    pub mounts: Vec<Mount>,
    /// `linux.maskedPaths`: made empty where they exist.
    pub masked: Vec<String>,
    /// `linux.readonlyPaths`: made read-only where they exist.
    pub readonly: Vec<String>,
    /// Whether the shim has hooks to run while the namespaces exist and the container's tree is not entered yet.
    pub hooks: bool,
}

/// `linux.seccomp` of the spec, compiled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// Ends in a `BPF_RET | BPF_K` on every path; jumps only forward.
    pub program: Vec<Instruction>,
    /// `SECCOMP_FILTER_FLAG_LOG`: the kernel logs calls that are not allowed.
    pub log: bool,
}

/// A classic BPF instruction, `struct sock_filter` of linux/filter.h. One number in the job's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "u64", into = "u64")]
#[allow(missing_docs, reason = "the kernel's own names")]
pub struct Instruction {
    pub code: u16,
    pub jt: u8,
    pub jf: u8,
    pub k: u32,
}

impl From<u64> for Instruction {
    fn from(n: u64) -> Self {
        Self { code: (n >> 48) as u16, jt: (n >> 40) as u8, jf: (n >> 32) as u8, k: n as u32 }
    }
}

impl From<Instruction> for u64 {
    fn from(i: Instruction) -> Self {
        u64::from(i.code) << 48 | u64::from(i.jt) << 40 | u64::from(i.jf) << 32 | u64::from(i.k)
    }
}

/// One namespace that the worker lives in instead of the shim's.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Namespace {
    /// Which one.
    pub kind: NamespaceKind,
    /// The existing namespace to join; None for a new one.
    pub join: Option<Fd>,
}

/// The namespaces that a worker can be given (namespaces(7)). A mount namespace is always new, user and time
/// namespaces are refused by the shim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum NamespaceKind {
    /// `network` of the spec.
    Net,
    /// `ipc` of the spec.
    Ipc,
    /// `uts` of the spec.
    Uts,
    /// `pid` of the spec.
    Pid,
    /// `cgroup` of the spec.
    Cgroup,
}

/// The container's root file system.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Root {
    /// A detached mount, made by the shim.
    pub tree: Fd,
    /// Where to attach it in the worker's own mount namespace before it becomes `/`: an existing folder of the host.
    pub at: String,
    /// `root.readonly` of the spec.
    pub readonly: bool,
}

/// One mount of the container's tree.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Mount {
    /// Absolute path in the container, without `.` and `..`; created if it is missing.
    pub destination: String,
    /// What is mounted there.
    pub source: Source,
}

/// The content of a mount.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Source {
    /// A detached tree made by the shim with its attributes set: a bind mount.
    Tree {
        /// The detached mount.
        fd: Fd,
        /// Whether its root is a folder; a file is mounted on a file.
        folder: bool,
        /// Set if the container is to see what the host mounts below it later. `fd` then serves only to check that the source is
        /// still the same.
        later: Option<Later>,
    },
    /// A file system made in the container's own namespaces.
    Filesystem {
        /// `tmpfs`, `devpts`, `sysfs` or `cgroup2`.
        kind: String,
        /// The file system's own options: `key=value`, or a flag.
        options: Vec<String>,
        /// `MOUNT_ATTR_*` of mount_setattr(2).
        attributes: u64,
    },
    /// An empty folder that nobody can write to: a Wasm container's `/proc` and `/dev/mqueue`.
    Empty,
    /// A symbolic link instead of a mount, unless the name is taken. It leads into the empty `/proc`; the engines resolve it
    /// ([`crate::links`]).
    Link {
        /// The link's text.
        target: String,
    },
}

/// A bind mount with slave propagation. The worker makes it, from its copy of the host's mounts, because a detached tree
/// receives nothing and would miss what the host mounts while the container is created.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Later {
    /// Absolute path on the host.
    pub source: String,
    /// Whether all mounts below are bound too.
    pub recursive: bool,
    /// The change to the topmost mount.
    pub here: Change,
    /// The change to all of the tree, after `here`.
    pub below: Change,
}

/// `process.user` of the spec.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Numeric user.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// File mode creation mask; 0o022 if the spec has none.
    pub umask: u32,
}

/// One of `process.rlimits`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rlimit {
    /// `RLIMIT_NOFILE` and so on (getrlimit(2)).
    pub kind: String,
    /// Soft limit; `u64::MAX` for none.
    pub soft: u64,
    /// Hard limit; `u64::MAX` for none.
    pub hard: u64,
}
