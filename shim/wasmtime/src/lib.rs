//! The Wasmtime engine of a worker: an artifact in, a container's exit code out.
//!
//! ```text
//! artifact (a file) --- load ---> module, its code mapped from the file        as root, before confinement
//! Guest (args, env, cwd) --- link ---> imports, preopened `/`, stdio           confined; nothing executable from here on
//!                             `--- program ---> `_start` ---> exit code        after Start
//!                                                  `--- trap: message and backtrace on fd 2, 134
//! ```
//!
//! Invariants, each with its reason where it binds:
//! - No compiler is linked, and the only way to machine code is [`Engine::load`](catamaran_worker::Engine::load).
//! - One thread. Guest and host calls share it; what would block another task blocks only this guest.
//! - Nothing here needs `/proc` or opens a path other than `/`, the container's own root.
//! - [`config`] is the one place for settings, shared with the compile process: an artifact fits or is refused.
//!
//! Runs WASI preview 1 modules ("commands", which export `_start`). No sockets, no threads, no components.

mod artifact;
mod config;
mod engine;
mod imports;
mod outcome;
mod stdio;
mod wasi;

pub use config::{SETTINGS, WASMTIME, config};
pub use engine::Wasmtime;
pub use imports::{PREVIEW1, not_provided, of_the_other_engine, shared_memory};
