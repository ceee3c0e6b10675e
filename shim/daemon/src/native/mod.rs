//! Drives runc for native containers, whose program is not Wasm. runc does everything for them, from the mounts to the filter of system
//! calls, and gets config.json unchanged.
//!
//! ```text
//! rootfs    mounts and unmounts the root file system of containerd's snapshotter in the bundle
//! runtime   runs runc's commands, and reads their errors
//! die_with_parent   makes each command a process that dies with the shim
//! console   the socket by which runc hands over a terminal
//! record    says what a `delete` process has to remove if the shim is dead
//! ```
//!
//! runc itself ends after each command. The container's process then becomes the shim's child, like every orphan below the shim
//! (`shim/host/src/orphans.rs`).

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
