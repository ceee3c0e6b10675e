//! The container's file tree: root file system, mounts, and the program in it.

pub(crate) mod lower_layer;
pub(crate) mod mounts;
pub(crate) mod program;
pub(crate) mod rootfs;
