//! The worker: the process inside a container that runs one engine, and nothing else.
//!
//! ```text
//! shim --- exec ---> intermediate --- clone3(CLONE_PARENT) ---> worker
//!   |  Job + descriptors  ^ |  Forked + pidfd                     |
//!   |---------------------' '----> shim                           |
//!   |<------------------- Ready, or Failed with the reason -------|
//!   |-------------------- Start ------------------------------>   | guest code runs
//! ```
//!
//! The shim prepares what needs the host's rights (mount trees, cgroup, the artifact) and hands over descriptors; the
//! intermediate joins namespaces and clones the worker into the new ones; the worker maps the artifact, builds its file
//! tree, gives up every right it has and then waits for Start ([`confine`] is that sequence). An engine's executable is
//! a `main` that calls [`run`] with its [`Engine`].
//!
//! The same library holds what the shim needs to speak to a worker ([`job`], [`control`]) and what a compile process
//! needs to give up its rights ([`compiler`]). No engine is linked here.

pub mod compiler;
pub mod confine;
pub mod control;
pub mod engine;
pub mod job;
pub mod mountattr;
pub mod signals;
mod stage;

pub use engine::{Engine, EngineError, Guest};
pub use stage::run;

/// Exit code of a guest that trapped and of an engine that aborted: 128 + SIGABRT.
pub const EXIT_TRAPPED: u8 = 134;
