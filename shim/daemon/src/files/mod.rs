//! What a container has of the host beside what its spec names.

pub(crate) mod devices;
