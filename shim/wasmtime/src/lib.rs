//! The Wasmtime engine of a worker: an artifact in, a container's exit code out.
//!
//! ```text
//! artifact (a file) --- load ---> module or component, its code mapped from the file        confined
//! Guest (args, env, cwd) --- link ---> imports, preopened `/`, stdio           nothing executable from here on
//!                             `--- program ---> `_start` or `run` ---> exit code           after Start
//!                                                  `--- trap: message and backtrace on fd 2, 134
//! ```
//!
//! Invariants; the reason for each stands beside the code that it binds:
//! - No compiler is linked, and the only way to machine code is [`Runner::load`](catamaran_worker::Runner::load).
//! - One thread, which guest and host calls share: a call that blocks holds up only this guest.
//! - Nothing here needs the container's `/proc`. On its own account the worker opens `/`, the two files that name resolution reads,
//!   and `/dev/null`, whose descriptor a stream's duplicate takes over.
//! - [`catamaran_wasmtime_artifact::config`] is the one place for settings, shared with the compile process: an artifact fits or is refused.
//!
//! Runs programs: WASI preview 1 modules, which export `_start`, and components of WASI 0.2, which export `wasi:cli/run`.
//! Only components have sockets; no guest has threads.

pub mod artifact;
mod component;
mod files;
pub mod interfaces;
mod lookup;
mod module;
pub mod outcome;
mod runner;
pub mod stdio;
mod wasi;
pub mod world;

pub use runner::{HOSTCALL_BYTES, Wasmtime};
