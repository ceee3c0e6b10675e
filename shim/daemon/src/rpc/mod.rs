//! Answers containerd's calls while the pod lives.

pub(crate) mod task;
