//! The Wasmer engine of a worker: an artifact in, a container's exit code out.
//!
//! ```text
//! artifact (a file) --- load ---> module, its code copied from the file        confined; the last code that comes in
//! Guest (args, env, cwd) --- link ---> imports checked, WASI's world made      fully confined
//!                             `--- program ---> a thread that runs `_start`, this one for timers and sockets
//!                                                  `--- trap: message and backtrace on fd 2, 134
//! a call of WASI --- around ---> wasmer-wasix ---> files, stdio: the kernel's, its answer carried past wasmer-wasix (errors)
//!                      |--- names, times, raised: calls that it would answer and not make
//!                      `--- waits, polls: for how long
//! ```
//!
//! Invariants, each with its reason where it binds:
//! - No compiler is linked, no HTTP client, no registry: the only way to machine code is
//!   [`Runner::load`](catamaran_worker::Runner::load). A guest that executes another module is told ENOEXEC.
//! - No thread is started before `link`: the filter of system calls binds the thread that installs it and those it makes.
//! - A guest's process, forked or not, is threads of this process, and their number is bounded ([`tasks`]).
//! - Files, streams and sockets are the kernel's, without buffers of ours; the kernel decides what may be reached or written.
//!
//! Runs WASI preview 1 and WASIX modules that export `_start`. No components.

mod around;
mod artifact;
mod call;
mod datagrams;
mod demangled;
mod descriptors;
mod errors;
mod file;
mod files;
mod folders;
mod guarded;
mod input;
mod kernel;
mod listing;
mod names;
mod net;
mod opened;
mod opening;
mod outcome;
mod polls;
mod raised;
mod remembered;
mod room;
mod runner;
mod seeks;
mod signals;
mod sockets;
mod start;
mod stat;
mod stdio;
mod syncing;
mod tasks;
mod threads;
mod timeouts;
mod times;
mod transfers;
mod waits;
mod wasi;
mod world;

pub use runner::Wasmer;
