//! Programs in C, in each form that a container can run.

use catamaran_harness::{Container, Engine, Runtime, guests};

use crate::adapted;

/// A form of a program of `tests/guests/c`, and what runs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Build {
    /// Native, on runc.
    Native,
    /// Preview 1, on Wasmtime.
    Module,
    /// The component of that, on Wasmtime.
    Component,
    /// Preview 1, on Wasmer.
    OnWasmer,
    /// WASIX, on Wasmer.
    Wasix,
}

impl Build {
    /// All but the native one.
    pub const WASM: [Self; 4] = [Self::Module, Self::Component, Self::OnWasmer, Self::Wasix];

    /// The program from `tests/guests/c/NAME.c`.
    ///
    /// # Panics
    /// When it cannot be built.
    pub fn program(self, name: &str) -> Vec<u8> {
        match self {
            Self::Native => guests::native(name),
            Self::Module | Self::OnWasmer => guests::c(name),
            Self::Component => adapted(&guests::c(name)),
            Self::Wasix => guests::wasix(name),
        }
    }

    /// Chooses the container's runtime and engine.
    #[must_use]
    pub fn chosen(self, order: Container<'_>) -> Container<'_> {
        match self {
            Self::Native => order.runtime(Runtime::Runc),
            Self::Module | Self::Component => order.engine(Engine::Wasmtime),
            Self::OnWasmer | Self::Wasix => order.engine(Engine::Wasmer),
        }
    }
}
