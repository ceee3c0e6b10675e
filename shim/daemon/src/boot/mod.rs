//! Starts a pod's server when containerd asks for one, and answers containerd's questions to the program itself.

pub(crate) mod clients;
pub(crate) mod info;
pub(crate) mod logging;
pub(crate) mod pod_server;
pub(crate) mod serve;
pub(crate) mod start;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use crate::cleanup::state::Folder;
use crate::error::Error;

/// The parameters of the server.
pub(crate) struct Server {
    pub(crate) listener: UnixListener,
    /// Where the listener is bound: removed at the end.
    pub(crate) socket: PathBuf,
    /// containerd's namespace.
    pub(crate) namespace: String,
    /// The container or sandbox that the server was started for.
    pub(crate) id: String,
    /// That container's bundle.
    pub(crate) bundle: PathBuf,
    /// The folder for the server's records, for a later cleanup.
    pub(crate) state: Folder,
    /// The error of the cleanup after an earlier shim of this id, for the log.
    pub(crate) leftover: Option<Error>,
    /// A pipe that brings one byte once containerd has the address, or ends without a byte if containerd never gets it.
    pub(crate) known: File,
    /// containerd's gRPC socket.
    pub(crate) address: String,
    /// Where events go: containerd's ttrpc socket.
    pub(crate) events: String,
    pub(crate) debug: bool,
}
