//! What a process gives up that meets hostile bytes in the place of one with root's rights: a compile process, and the one
//! that reads an image's manifests.

pub use crate::confine::Allowance;
use crate::confine::{close_to_others, without_rights};

/// Leaves this process its three standard descriptors and what `most` allows: no file, no network, no capability, a user that
/// nobody else is, and a worker's filter of system calls. It dies with `parent`.
///
/// # Errors
/// The step that failed. The process may have given up some of its rights, and is to end.
pub fn give_up_rights(parent: Option<i32>, most: Allowance) -> Result<(), String> {
    close_to_others().and_then(|()| without_rights(parent, most)).map_err(|e| e.to_string())
}
