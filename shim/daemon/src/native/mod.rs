//! Native containers: those whose program is no Wasm. They are runc's, the node's own, from its mounts to its system call
//! filter: config.json is handed to it untouched. What is here is how it is driven.
//!
//! ```text
//! rootfs    what containerd's snapshotter has is mounted where the bundle says, and unmounted
//! runtime   runc's commands, one after the other, each with its error's text
//! die_with_parent   runc's commands, each a process that dies with the shim
//! console   the socket by which runc hands over a terminal
//! record    what `delete` has to know, and does where the shim is dead
//! ```
//!
//! runc's own process ends after each command. What it leaves is the container's process, which is the shim's child then,
//! as every orphan below it (`shim/host/src/orphans.rs`).

mod console;
mod die_with_parent;
mod record;
mod rootfs;
mod runtime;
mod streams;

pub(crate) use console::Console;
pub(crate) use record::Record;
pub(crate) use rootfs::mount;
pub(crate) use runtime::{Io, Runtime, find};
pub(crate) use streams::Streams;
