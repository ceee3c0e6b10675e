//! Which engine runs a container, in which world and how: by annotations, by the handler's options, by what the module needs.

pub(crate) mod alias;
pub(crate) mod annotations;
pub(crate) mod choice;
pub(crate) mod http;
pub(crate) mod options;
pub(crate) mod told;
pub(crate) mod values;
