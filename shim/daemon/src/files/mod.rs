//! Files of the host that a container gets although its spec does not name them.

pub(crate) mod devices;
