//! Finds the shim that a container belongs to: a pod's containers share the shim of its sandbox container.
//!
//! For pods of the CRI containerd knows the shim itself and does not run `start` (shims of version 3). It runs `start` for a container
//! that only annotations put into a pod, as `ctr run --annotation` does.

use std::collections::HashMap;
use std::os::unix::net::UnixStream;
use std::path::Path;

use containerd_shim::StartOpts;
use serde::Deserialize;

/// The annotation in which CRI names a container's pod.
const SANDBOX: &str = "io.kubernetes.cri.sandbox-id";

/// Returns the address of the pod's server if the container in this bundle belongs to a pod whose server runs. Returns None in every
/// other case, also for an unreadable config.json: the container then gets a server of its own.
pub(crate) fn server_of_pod(options: &StartOpts, bundle: &Path) -> Option<String> {
    #[derive(Deserialize)]
    struct Written {
        #[serde(default)]
        annotations: HashMap<String, String>,
    }
    // Create reads the whole spec, and reports its errors.
    let written: Written = serde_json::from_slice(&std::fs::read(bundle.join("config.json")).ok()?).ok()?;
    let pod = written.annotations.get(SANDBOX).filter(|pod| **pod != options.id)?;
    let address = options.socket_address(pod);
    UnixStream::connect(address.trim_start_matches("unix://")).ok()?;
    Some(address)
}
