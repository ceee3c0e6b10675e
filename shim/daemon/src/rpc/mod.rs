//! What containerd and the shim say to each other while the pod lives.

pub(crate) mod events;
pub(crate) mod task;
