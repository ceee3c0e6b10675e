//! Chooses a container's engine, world and settings by annotations, the handler's options and the module.

pub(crate) mod alias;
pub(crate) mod annotations;
pub(crate) mod choice;
pub(crate) mod engine_variable;
pub(crate) mod http;
pub(crate) mod options;
pub(crate) mod values;
pub(crate) mod words;

#[cfg(test)]
mod tests;
