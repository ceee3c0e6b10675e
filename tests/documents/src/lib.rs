//! The commands in README.md, `docs/`, `examples/*/README.md` and `charts/*/README.md`, as their readers type them.
//!
//! ```text
//! pages      the fenced blocks of those pages -> their commands, with the output that a page shows
//! ways       the table: which test runs a command, or why nothing here can
//! Assigned   what the table assigns to one test, for that test to take and run
//! Shell      where a test types a command: a folder, with stand-ins for programs that are elsewhere or absent
//! ```
//!
//! `tests/complete.rs` fails for a command without a way, and for a way without its command. A test takes the commands from the pages, so
//! that a command that changes in a page is run as it is now.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

mod assigned;
mod pages;
mod shell;
mod ways;

use std::path::{Path, PathBuf};

pub use assigned::{Assigned, Typed};
pub use pages::{Block, Command, Page, page, pages};
pub use shell::Shell;
pub use ways::{WAYS, Way};

/// The clone's folder.
pub fn clone() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    folder.canonicalize().unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
}
