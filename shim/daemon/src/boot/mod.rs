//! From containerd's call to a server that answers, and what else containerd asks the program itself.

pub(crate) mod clients;
pub(crate) mod info;
pub(crate) mod logging;
pub(crate) mod pod_server;
pub(crate) mod serve;
pub(crate) mod start;

use std::fs::File;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use crate::cleanup::state::Folder;
use crate::error::Error;

/// How the server is to be run.
pub(crate) struct Server {
    pub(crate) listener: UnixListener,
    /// Where the listener is bound: removed at the end.
    pub(crate) socket: PathBuf,
    /// containerd's namespace.
    pub(crate) namespace: String,
    /// The container or sandbox that the server was started for.
    pub(crate) id: String,
    /// Its bundle.
    pub(crate) bundle: PathBuf,
    /// Where it writes down what is to be cleaned up after it.
    pub(crate) state: Folder,
    /// Of an earlier shim of this id: what could not be cleaned up.
    pub(crate) leftover: Option<Error>,
    /// Has one byte when containerd has the address, and ends without one if it never will.
    pub(crate) known: File,
    /// containerd's gRPC socket.
    pub(crate) address: String,
    /// Where events go: containerd's ttrpc socket.
    pub(crate) events: String,
    pub(crate) debug: bool,
}
