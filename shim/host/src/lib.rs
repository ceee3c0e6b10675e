//! Processes, descriptors and errors of the shim and its helper.
//!
//! ```text
//! error     a failure, with the operation or the file that failed
//! programs  opens the executables of this build once
//! errand    runs a blocking operation in a short-lived child
//! child     waits for children, signals and reaps them, by their pidfds
//! orphans   reaps children that this process did not start      hold   delays that while a child's pid is unknown
//! lease     tells if a file is open elsewhere      limits   names the limit that a refused fork hit
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
