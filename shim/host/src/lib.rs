//! What the shim and its helper ask the kernel for.
//!
//! ```text
//! error     what went wrong, and while doing what
//! programs  the executables of this build, opened once
//! errand    a blocking operation in a short-lived child
//! child     children by their pidfds: waited for, signalled, reaped
//! orphans   children that nobody here started: reaped      hold   not while a child is unknown yet
//! lease     who else has a file open      limits   which limit a refused fork hit
//! readable  descriptors on the event loop      unless   a future that another one ends      wire   protobuf without a schema
//! ```

pub mod child;
pub mod errand;
pub mod error;
pub mod hold;
pub mod lease;
pub mod limits;
pub mod orphans;
pub mod programs;
pub mod readable;
pub mod unless;
pub mod wire;

pub use error::{Error, Result};
