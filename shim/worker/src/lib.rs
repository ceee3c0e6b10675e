//! The worker: the process inside a container that runs one engine, and nothing else.
//!
//! ```text
//! shim --- exec ---> intermediate --- clone3(CLONE_PARENT) ---> worker
//!   |  Job + descriptors  ^ |  Cloned + pidfd                     |
//!   |---------------------' '----> shim                           |
//!   |<------------------- Ready, or Failed with the reason -------|
//!   |-------------------- Start ------------------------------>   | guest code runs
//! ```
//!
//! The shim prepares what needs the host's rights (mount trees, cgroup, the artifact) and hands over descriptors; the
//! intermediate joins and makes namespaces, builds and enters the file tree in them, and clones the worker; the worker gives up
//! every right it has and then waits for Start (`confine` is that sequence). A further process of the container
//! ([`job::World`]) joins the first one's namespaces and file tree, and gives up the same rights. An engine's executable is a
//! `main` that calls [`run`] with its [`Runner`].
//!
//! The same library holds the messages between shim and worker ([`job`], [`control`]), the way for a compile process to give up
//! its rights ([`compiler`]), both engines' questions to the kernel for a guest ([`links`], [`listing`]), the socket of a server
//! ([`listener`]), and the limit of all quotations ([`quote`]). No engine is linked here.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::{Component, Path};

mod artifact;
pub mod compiler;
mod confine;
pub mod control;
pub mod describe;
pub mod devices;
mod failure;
pub mod filter;
pub mod form;
mod hold;
mod home;
mod intermediate;
pub mod job;
pub mod links;
pub mod listener;
pub mod listing;
pub mod memory;
pub mod mountattr;
pub mod panics;
pub mod quote;
mod rules;
pub mod runner;
mod server;
pub mod signals;
mod stage;
pub mod unprivileged;
pub mod variables;
pub mod version;

pub use confine::{close_inherited, empty_root, take_name};
pub use hold::hold;
pub use runner::{Guest, Needs, Runner, RunnerError, Terms};
pub use stage::run;

/// Repeats an openat2(2) that fails with EAGAIN: under `RESOLVE_IN_ROOT` and `RESOLVE_BENEATH` it does so if anything on the
/// machine was renamed meanwhile, and anybody can rename in a loop.
pub fn retried<T>(mut open: impl FnMut() -> rustix::io::Result<T>) -> rustix::io::Result<T> {
    for _ in 0..MOST_TRIES {
        match open() {
            Err(rustix::io::Errno::AGAIN) => {}
            done => return done,
        }
    }
    open()
}

/// Returns a path's names, `..` included, for a walk that takes one after the other.
pub fn names(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|c| match c {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some(OsString::from("..")),
            _ => None,
        })
        .collect()
}

const MOST_TRIES: usize = 128;

/// Exit code of a guest that trapped and of an engine that aborted: 128 + SIGABRT.
pub const EXIT_TRAPPED: u8 = 134;
