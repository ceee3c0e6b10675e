//! Finds the shim that a container belongs to: a pod's containers share the shim of its sandbox container.
//!
//! containerd itself knows the shim for pods of the CRI, and does not ask (shims of version 3). It asks for containers that only
//! annotations put into a pod, as `ctr run --annotation` does.

use std::collections::HashMap;
use std::os::unix::net::UnixStream;
use std::path::Path;

use containerd_shim::StartOpts;
use serde::Deserialize;

/// The annotation in which CRI names a container's pod.
const SANDBOX: &str = "io.kubernetes.cri.sandbox-id";

/// Returns the address of the pod's server, if the container in this bundle belongs to a pod whose server runs. Otherwise the container
/// gets a server of its own, which is no error.
pub(crate) fn server_of_pod(options: &StartOpts, bundle: &Path) -> Option<String> {
    #[derive(Deserialize)]
    struct Written {
        #[serde(default)]
        annotations: HashMap<String, String>,
    }
    // Create, which reads all of the spec, reports its errors.
    let written: Written = serde_json::from_slice(&std::fs::read(bundle.join("config.json")).ok()?).ok()?;
    let pod = written.annotations.get(SANDBOX).filter(|pod| **pod != options.id)?;
    let address = options.socket_address(pod);
    UnixStream::connect(address.trim_start_matches("unix://")).ok()?;
    Some(address)
}
