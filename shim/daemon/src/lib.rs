//! containerd-shim-catamaran-v1: the shim that containerd starts for a pod whose runtime class names this handler.
//!
//! ```text
//! containerd --start-->  boot::start     binds the socket, forks, replies
//!                           |
//! containerd --ttrpc-->  boot::serve  ->  rpc  ->  pod  ->  container
//!                                                              |- spec       config.json, checked whole
//!                                                              |- engine     which engine, by annotations and options
//!                                                              |- search     a helper that reads the pod's volumes and images
//!                                                              |- files      the devices of the container's tree
//!                                                              |- artifact   the module's machine code, from the cache or a driver
//!                                                              |- native     a container that runc runs
//!                                                              |- stdio      streams, terminals and loggers
//!                                                              '- cleanup    the records for `delete`
//! containerd --delete-->  cleanup        cleans up after a dead server, from its records
//! ```
//!
//! The shim has one thread and no engine, and nothing here may block: a helper (`shim/helper`) does work that may block. Shim and helper
//! share libraries: `shim/host`, `shim/cgroup`, `shim/cache`, `shim/files`. A worker is another executable, and
//! [`catamaran_worker::job`] and [`catamaran_worker::control`] have all messages to it.
//!
//! The library exports one function, which the program calls, and [`untrusted`] for `tests/fuzz`.

mod artifact;
mod boot;
mod cleanup;
mod container;
mod engine;
mod error;
mod files;
mod native;
mod pod;
mod rpc;
mod search;
mod spec;
mod stdio;
pub mod untrusted;

use std::ffi::OsString;
use std::process::ExitCode;

use containerd_shim::Flags;

use crate::error::{Error, Result};

/// An action that containerd starts this program for.
enum Role {
    /// `start`: starts a pod's server, or prints the address of the running one.
    Start(Flags),
    /// `delete`: cleans up after a server that is dead.
    Delete(Flags),
    /// `-v`: prints the version and the installed engines.
    Version,
    /// `-info`: prints what the runtime can do (containerd docs/runtime-v2.md).
    Info,
}

impl Role {
    fn parse(arguments: &[OsString]) -> Result<Self> {
        let flags = containerd_shim::parse(arguments)
            .map_err(|e| Error::refused("command line", e.to_string(), "the flags of a containerd shim"))?;
        match flags.action.as_str() {
            _ if flags.version => Ok(Role::Version),
            _ if flags.info => Ok(Role::Info),
            "start" => Ok(Role::Start(flags)),
            "delete" => Ok(Role::Delete(flags)),
            other => Err(Error::refused(
                "command line",
                format!("action {other:?}"),
                "containerd starts this program with start, delete, -info or -v",
            )),
        }
    }

    fn run(self) -> Result<()> {
        match self {
            Role::Start(flags) => boot::start::start(&flags),
            Role::Delete(flags) => cleanup::delete(&flags),
            Role::Version => boot::info::print_version(),
            Role::Info => boot::info::print_info(),
        }
    }
}

/// Runs the program.
pub fn main() -> ExitCode {
    // Descriptors that containerd left open would otherwise reach the server and all its children.
    if let Err(e) = catamaran_worker::close_inherited() {
        eprintln!("containerd-shim-catamaran-v1: closing inherited descriptors: {e}");
        return ExitCode::FAILURE;
    }
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    match Role::parse(&arguments).and_then(Role::run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            // containerd shows a shim's output as the reason of a failed start.
            eprintln!("containerd-shim-catamaran-v1: {e}");
            ExitCode::FAILURE
        }
    }
}
