//! Which engine runs a container: by annotations, by the handler's options, by what the module needs.

pub(crate) mod alias;
pub(crate) mod choice;
pub(crate) mod options;
