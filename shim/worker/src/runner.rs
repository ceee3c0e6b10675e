//! The interface of an engine's executable: a way to map an artifact and a way to run it.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::process::ExitCode;

use serde::{Deserialize, Serialize};

use crate::rules::Rules;
use crate::server::Server;

/// The guest's own view: WASI's arguments, environment and working directory.
///
/// The file tree needs no entry: after confinement the process's own `/` is the container's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guest {
    /// `process.args`, the module's own name first.
    pub args: Vec<String>,
    /// `process.env`, split at the first `=`.
    pub env: Vec<(String, String)>,
    /// `process.cwd`, absolute in the container.
    pub cwd: String,
}

/// How a module is to run, beside [`Guest`].
#[derive(Debug)]
pub struct Terms {
    /// How to serve HTTP, for a component that the worker's own HTTP server calls.
    pub server: Option<Server>,
    /// The folder of that server's certificate, if it speaks TLS.
    pub certificate: Option<OwnedFd>,
    /// The node administrator's rules for components.
    pub rules: Rules,
}

/// The needs of a loaded module beyond files, memory and time: the worker's filter of system calls lets that much more pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Needs {
    /// Threads, of the engine's own or the guest's.
    pub threads: bool,
    /// TCP and UDP sockets of the pod's network namespace; no other family.
    pub sockets: bool,
    /// Accepting connections on sockets that the worker listens on already.
    pub accepts: bool,
    /// Connecting to others, over TCP and UDP, without binding or listening.
    pub connects: bool,
}

/// Why a worker cannot run the module that it was given.
#[derive(Debug, thiserror::Error)]
pub enum RunnerError {
    /// The artifact was made by another engine version, for other settings or another CPU, or is damaged:
    /// the shim compiles the module again.
    #[error("the artifact does not fit this engine: {0}")]
    Artifact(String),
    /// The module itself cannot run here; the text says why and what to do, for the user.
    #[error("{0}")]
    Module(String),
    /// The server cannot listen on its address; the text says why and what to do, for the user.
    #[error("{0}")]
    Address(String),
}

/// An engine with a module loaded. [`crate::run`] calls the steps in order.
pub trait Runner: Sized {
    /// The engine's own version, which `--version` prints.
    const VERSION: &'static str;

    /// Whether the worker's filter of system calls is applied. Every engine leaves it true; only the runner in
    /// `tests/attacks`, which shows what else holds when the filter has a hole, does not. It is a constant of the
    /// executable's own type, out of reach of a job, an environment or an argument: a shipped worker has no code for
    /// the other answer.
    const FILTERED: bool = true;

    /// The linked program, of which no guest code has run yet.
    type Program: FnOnce() -> ExitCode;

    /// Whether this artifact can be mapped by a name only. Called while the process still has the host's rights, so an
    /// implementation reads no more than a header of fixed size. The answer decides nothing else.
    fn maps_by_name(_artifact: &File) -> bool {
        false
    }

    /// Maps machine code from `artifact`, which only our own compile process can have written.
    ///
    /// Runs confined, but while the process may still map executable memory: it must not look at anything but the
    /// artifact. If [`Runner::maps_by_name`] is true, the working directory is a folder in which each open descriptor's
    /// number is a name of its file.
    fn load(artifact: File, terms: Terms) -> Result<Self, RunnerError>;

    /// Opens the sockets on which the worker listens, in the container's network namespace and with the rights of its user. The
    /// last step before the filter of system calls, which lets no further socket be made.
    fn listen(&mut self) -> Result<(), RunnerError> {
        Ok(())
    }

    /// Returns what the filter of system calls has to let pass for this module. Called once, after [`Runner::listen`].
    fn needs(&self) -> Needs {
        Needs::default()
    }

    /// Links the imports and opens the guest's directories. Runs fully confined, with `/` the container's root.
    /// Must not run guest code, a start function included: this is still Create.
    fn link(self, guest: &Guest) -> Result<Self::Program, RunnerError>;
}
