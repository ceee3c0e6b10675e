//! The container's tree: its root file system, its mounts, and the program in it.

pub(crate) mod lower_layer;
pub(crate) mod mounts;
pub(crate) mod program;
pub(crate) mod rootfs;
