//! Gives up the rights of a process that reads hostile bytes and was started by one with root's rights: a compile process, or the
//! reader of an image's manifests.

pub use crate::confine::Allowance;
use crate::confine::{close_to_others, without_rights};

/// Leaves this process its three standard descriptors and the resources that `most` allows: no file, no network, no capability,
/// a user that nobody else has, and a worker's filter of system calls. The process dies with `parent`.
///
/// # Errors
/// The step that failed. The process may have given up some of its rights by then, and must end.
pub fn give_up_rights(parent: Option<i32>, most: Allowance) -> Result<(), String> {
    close_to_others().and_then(|()| without_rights(parent, most)).map_err(|e| e.to_string())
}
