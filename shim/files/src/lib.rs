//! The messages between the shim and its helper about a container's files.
//!
//! ```text
//! outline        the keys of config.json that are read before it is known which runtime runs the container
//! search         the orders of a search in the container's tree, and its answers
//! handover       descriptors on their way to a worker
//! mount_options  the options of a mount, read once for both sides
//! ```

pub mod error;
pub mod handover;
pub mod mount_options;
pub mod outline;
pub mod search;
