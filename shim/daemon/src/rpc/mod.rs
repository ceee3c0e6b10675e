//! Answers containerd's calls while the pod lives.

mod status;
pub(crate) mod task;
