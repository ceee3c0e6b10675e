//! Chooses the engine that runs a container, the world and the settings, by annotations, the handler's options and the module.

pub(crate) mod alias;
pub(crate) mod annotations;
pub(crate) mod choice;
pub(crate) mod http;
pub(crate) mod options;
pub(crate) mod told;
pub(crate) mod values;
pub(crate) mod words;

#[cfg(test)]
mod tests;
