//! The artifact cache of a node: machine code by the digest of its module.
//!
//! ```text
//! places    where it lies, and one target's part of it      engine, target   what runs code, and which code it needs
//! store     entries: found, verified, written               fingerprint  which artifacts fit this machine and this compiler
//! checksum, entry   what lies beside an entry               tenant       tenants in the names of files
//! module, magic, digest   a module's bytes                  memo         digests of files that do not change
//! order     what a compile driver is told, and answers      image        which image a layer is of
//! counters  starts, compiles and what went wrong, for whoever watches the node
//! ```
//!
//! The shim looks up in it and opens files; only a compile driver, a process of its own, writes.

pub mod advice;
pub mod checksum;
pub mod counters;
pub mod digest;
pub mod engine;
pub mod entry;
pub mod error;
pub mod fingerprint;
pub mod image;
pub mod magic;
pub mod memo;
pub mod module;
pub mod order;
pub mod places;
pub mod store;
pub mod target;
pub mod tenant;

pub use error::{Error, Result};
