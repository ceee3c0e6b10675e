//! Gives up the rights of a process that reads hostile bytes and was started by one with root's rights: a compile process, or the
//! reader of an image's manifests.

use std::os::fd::{OwnedFd, RawFd};

pub use crate::confine::Allowance;
use crate::confine::{close_to_others, without_rights};

/// Leaves this process its three standard descriptors and the resources that `most` allows: no file, no network, no capability,
/// a user that nobody else has, and a worker's filter of system calls. The process dies with `parent`.
///
/// # Errors
/// The step that failed. The process may have given up some of its rights by then, and must end.
pub fn give_up_rights(parent: Option<i32>, most: Allowance) -> Result<(), String> {
    give_up_rights_but(parent, most, &[]).map(drop)
}

/// The same, but for the inherited descriptors with these numbers, which it returns in their order.
///
/// # Errors
/// As [`give_up_rights`], and if one of the numbers is no inherited descriptor's.
pub fn give_up_rights_but(parent: Option<i32>, most: Allowance, numbers: &[RawFd]) -> Result<Vec<OwnedFd>, String> {
    let kept = close_to_others(numbers).map_err(|e| e.to_string())?;
    without_rights(parent, most).map_err(|e| e.to_string())?;
    Ok(kept)
}
