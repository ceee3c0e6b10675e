//! The messages that the tests exchange with containerd, with the fields that are used here.
//!
//! Structures, fields and values bear the names of the `.proto` file that their module names. `tests/harness/tests/api` compares them with
//! the files of Kubernetes and containerd.

pub(crate) mod containers;
pub(crate) mod content;
pub(crate) mod cri;
pub(crate) mod events;
pub(crate) mod known;
pub(crate) mod processes;
pub(crate) mod sandboxes;
pub(crate) mod snapshots;
pub(crate) mod tasks;
