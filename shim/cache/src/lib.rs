//! The artifact cache of a node: machine code by the digest of its module.
//!
//! ```text
//! places    where the cache lies, one target's part of it   engine, target   what runs code, and which code it needs
//! store     finds, verifies and writes entries              fingerprint  which artifacts fit this machine and this compiler
//! checksum, entry   the files beside an entry               tenant       tenants in the names of files
//! module, magic, digest   a module's bytes                  memo         digests of files that do not change
//! order     the orders to a compile driver, and its answers image        which image a layer is of
//! counters  starts, compiles and failures, for monitoring the node
//! ```
//!
//! The shim looks entries up and opens their files; only a compile driver, a process of its own, writes entries.

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
