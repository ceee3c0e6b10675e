//! Native containers: those whose program is not Wasm. The node's runc runs them, from the mounts to the system call filter, and
//! gets config.json unchanged. This module drives runc.
//!
//! ```text
//! rootfs    mounts and unmounts the root file system of containerd's snapshotter in the bundle
//! runtime   runs runc's commands, one after the other, and reads the text of their errors
//! die_with_parent   makes each command a process that dies with the shim
//! console   the socket by which runc hands over a terminal
//! record    keeps what a `delete` process has to remove if the shim is dead
//! ```
//!
//! runc's own process ends after each command, and leaves the container's process, which becomes the shim's child like every
//! orphan below the shim (`shim/host/src/orphans.rs`).

mod console;
mod die_with_parent;
mod record;
mod rootfs;
mod runtime;
mod streams;

pub(crate) use console::Console;
pub(crate) use record::Record;
pub(crate) use rootfs::mount;
#[cfg(test)]
pub(crate) use runtime::PATH_VARIABLE;
pub(crate) use runtime::{Io, Runtime, find};
pub(crate) use streams::Streams;
