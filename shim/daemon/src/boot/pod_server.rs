//! Which shim a container belongs to: a pod's containers share the one that its sandbox container was started in.
//!
//! containerd knows that by itself for pods of the CRI, and does not ask (shims of version 3). It asks for containers that
//! are put into a pod by their annotations alone, as `ctr run --annotation` does.

use std::collections::HashMap;
use std::os::unix::net::UnixStream;
use std::path::Path;

use containerd_shim::StartOpts;
use serde::Deserialize;

/// By this CRI says which pod a container is in.
const SANDBOX: &str = "io.kubernetes.cri.sandbox-id";

/// The address of the pod's server, if the container in this bundle is one of a pod whose server runs. One that does not
/// is no error: the container gets a server of its own.
pub(crate) fn server_of_pod(options: &StartOpts, bundle: &Path) -> Option<String> {
    #[derive(Deserialize)]
    struct Written {
        #[serde(default)]
        annotations: HashMap<String, String>,
    }
    // What is wrong with a spec is told by Create, which reads all of it.
    let written: Written = serde_json::from_slice(&std::fs::read(bundle.join("config.json")).ok()?).ok()?;
    let pod = written.annotations.get(SANDBOX).filter(|pod| **pod != options.id)?;
    let address = options.socket_address(pod);
    UnixStream::connect(address.trim_start_matches("unix://")).ok()?;
    Some(address)
}
