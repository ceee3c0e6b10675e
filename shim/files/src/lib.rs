//! What the shim and its helper tell each other about a container's files.
//!
//! ```text
//! outline        what of config.json is looked at before it is known whose container it is
//! search         the orders of a search in the container's tree, and its answers
//! handover       descriptors on their way to a worker
//! mount_options  the options of a mount, read once for both sides
//! ```

pub mod error;
pub mod handover;
pub mod mount_options;
pub mod outline;
pub mod search;
