//! The CRI's messages: `runtime.v1` of `k8s.io/cri-api`.

pub(crate) mod containers;
pub(crate) mod images;
pub(crate) mod pods;
pub(crate) mod records;
pub(crate) mod security;
pub(crate) mod stats;
pub(crate) mod streams;
