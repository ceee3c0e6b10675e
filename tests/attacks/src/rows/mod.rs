//! The attacks, by their aims.

mod control;
mod credentials;
mod descriptors;
mod devices;
mod escapes;
mod exhaustion;
mod files;
mod hosts;
mod joins;
mod kernel;
mod memory;
mod namespaces;
mod network;
mod old;
mod orphans;
mod others;
mod processes;
mod servers;

use std::collections::BTreeMap;

use catamaran_worker::Guest;

use crate::outcome::Outcome;

pub use crate::code::{ANSWER, MARK};
pub use exhaustion::{MOST_MEMORY, MOST_PROCESSES};
pub use hosts::{NSS, c_library};
pub use joins::DONE;
pub(crate) use servers::try_low_port;

/// The output of a program of the image that was executed: the attacker's own `--version`.
pub const EXECUTED: &str = "executed";

/// The argument of a worker that only waits, so that other workers are executed beside it.
pub const WAIT: &str = "wait";

/// The number of requests per instance of [`Shape::SocketServer`]. It tells the attacker its shape: a worker gets no other value before it
/// states its needs.
pub const REUSE_WITH_SOCKETS: u32 = 2;
/// The same for [`Shape::RequestingServer`].
pub const REUSE_WITH_REQUESTS: u32 = 3;

/// The container that an attack needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shape {
    /// Root in a pod of its own, its root file system writable, the host's whole tree a volume at `/host`, read-only.
    Plain,
    /// The same as user 1000.
    User,
    /// A read-only root file system.
    ReadOnly,
    /// The host's processes (`hostPID`).
    HostPid,
    /// The host's network (`hostNetwork`).
    HostNet,
    /// The host's System V objects and message queues (`hostIPC`).
    HostIpc,
    /// Few processes and little memory.
    Limits,
    /// A server, which listens in a pod of its own, and gets a connection.
    Server,
    /// A server whose component imports sockets, in a pod of its own.
    SocketServer,
    /// A server whose component makes HTTP requests, in a pod of its own.
    RequestingServer,
    /// A server in the host's network, whose spec has every capability.
    HostServer,
}

/// When an attack runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// While the shim waits for the worker's report. There is no outcome inside; the test looks at the shim.
    BeforeStart,
    /// In the guest's place.
    AfterStart,
    /// In the guest's place, when its shim is killed.
    Orphaned,
    /// In the guest's place, while execs start beside it.
    Joined,
}

/// One attack.
pub struct Row {
    /// Its name in the container's arguments and in the table.
    pub name: &'static str,
    /// Where it runs.
    pub shape: Shape,
    /// When it runs.
    pub when: When,
    /// What it does.
    pub attack: fn(&Context) -> Outcome,
    /// Whether it needs a container to itself, because it and other attacks would disturb each other.
    pub alone: bool,
    /// What it does before Start, while the control socket is open.
    pub prepare: Option<fn()>,
    /// The obstacles besides the filter of system calls.
    pub also: &'static str,
}

impl Row {
    fn new(name: &'static str, also: &'static str, attack: fn(&Context) -> Outcome) -> Self {
        Self { name, shape: Shape::Plain, when: When::AfterStart, attack, alone: false, prepare: None, also }
    }

    fn shape(self, shape: Shape) -> Self {
        Self { shape, ..self }
    }

    fn alone(self) -> Self {
        Self { alone: true, ..self }
    }

    fn prepared(self, prepare: fn()) -> Self {
        Self { prepare: Some(prepare), alone: true, ..self }
    }

    fn orphaned(self) -> Self {
        Self { when: When::Orphaned, ..self }
    }

    fn joined(self) -> Self {
        Self { when: When::Joined, ..self }
    }

    fn before_start(self) -> Self {
        Self { when: When::BeforeStart, ..self }
    }
}

/// The facts about the host that an attack gets: from the container's environment, and from [`TOLD`] after Start.
pub struct Context(BTreeMap<String, String>);

/// A file of `NAME=value` lines: the shim's pid and addresses are known only after Create.
pub const TOLD: &str = "/told/values";

impl Context {
    pub(crate) fn new(guest: &Guest) -> Self {
        Self(guest.env.iter().cloned().collect())
    }

    pub(crate) fn read_told(&mut self) {
        let told = std::fs::read_to_string(TOLD).unwrap_or_default();
        let pairs = told.lines().filter_map(|line| line.split_once('='));
        self.0.extend(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    /// Records where a server's worker listens.
    pub(crate) fn listens(&mut self, socket: i32) {
        self.0.insert("LISTENER".to_owned(), socket.to_string());
    }

    /// Returns a number, such as a pid; if the host gave none, a number that names nothing.
    pub(crate) fn number(&self, name: &str) -> u64 {
        self.0.get(name).and_then(|value| value.parse().ok()).unwrap_or(0x3fff_fffe)
    }

    pub(crate) fn text(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }
}

/// An attack's obstacles besides the filter; the words of the table's last column.
pub(crate) mod also {
    pub(crate) const CAPABILITIES: &str = "no capability";
    pub(crate) const KERNEL: &str = "this kernel has no such call";
    pub(crate) const LANDLOCK: &str = "Landlock";
    pub(crate) const NOT_MAPPED: &str = "memory protection";
    pub(crate) const NOBODY: &str = "the kernel allows it to nobody";
    pub(crate) const NODEV: &str = "nodev";
    pub(crate) const NONE: &str = "";
    pub(crate) const NO_PROCFS: &str = "no procfs in the tree";
    pub(crate) const READ_ONLY: &str = "read-only mount";
    pub(crate) const TREE: &str = "mount namespace of its own";
    pub(crate) const PIDS: &str = "pid namespace of its own";
    pub(crate) const NETWORK: &str = "network namespace of its own";
    pub(crate) const IPC: &str = "ipc namespace of its own";
    pub(crate) const USER: &str = "an ordinary user";
    pub(crate) const CGROUP: &str = "cgroup limit";
    pub(crate) const KEYRING: &str = "keyring of its own";
    pub(crate) const CLOSED: &str = "descriptors closed";
    pub(crate) const DEATH_SIGNAL: &str = "parent-death signal";
    pub(crate) const SHIM: &str = "the shim checks reports";
}

/// All attacks, in the table's order.
pub fn all() -> Vec<Row> {
    let parts: [fn() -> Vec<Row>; 18] = [
        memory::rows,
        processes::rows,
        others::rows,
        joins::rows,
        namespaces::rows,
        files::rows,
        escapes::rows,
        devices::rows,
        descriptors::rows,
        control::rows,
        hosts::rows,
        network::rows,
        servers::rows,
        credentials::rows,
        kernel::rows,
        old::rows,
        orphans::rows,
        exhaustion::rows,
    ];
    parts.iter().flat_map(|rows| rows()).collect()
}
