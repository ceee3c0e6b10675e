//! Finds the containerd that the kubelet talks to.
//!
//! ```text
//! the kubelet's process --> its endpoint --> the socket --> the process that listens there, or says that it would
//! ```
//!
//! Never by PATH, because Docker brings a containerd of its own, k3s another, and a node may have all of them.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::error::{Error, Result};
use crate::host::Host;
use crate::process::{Process, option, same_socket};
use crate::root_file::RootFile;

/// The defaults of kubelet and containerd.
pub(crate) const SOCKET: &str = "/run/containerd/containerd.sock";
pub(crate) const CONFIG: &str = "/etc/containerd/config.toml";
/// k3s' and rke2's own containerd listens here.
const K3S_SOCKET: &str = "/run/k3s/containerd/containerd.sock";

/// A containerd that runs on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Containerd {
    pub(crate) pid: u32,
    /// Its executable, as the host names it.
    pub(crate) program: PathBuf,
    /// Its root file. If there is none, containerd runs on its defaults.
    pub(crate) config: PathBuf,
    pub(crate) socket: PathBuf,
    /// The systemd unit that runs it.
    pub(crate) unit: Option<String>,
}

/// The kubelet, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kubelet {
    pub(crate) pid: u32,
    pub(crate) name: String,
    /// The file of its CRI socket.
    pub(crate) socket: PathBuf,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct KubeletConfiguration {
    container_runtime_endpoint: Option<String>,
}

const ENDPOINT: [&str; 2] = ["--container-runtime-endpoint", "-container-runtime-endpoint"];

/// Finds the kubelet among the host's processes, whatever program it is part of.
pub(crate) fn kubelet(host: &Host, processes: &[Process]) -> Result<Option<Kubelet>> {
    // A kubelet process of its own comes first: an rke2 server runs beside the kubelet that it starts.
    let own = processes.iter().find(|process| matches!(process.name(), "kubelet" | "kubelite" | "hyperkube"));
    let part = || processes.iter().find(|p| p.name() == "k3s" && matches!(p.word(1), Some("server" | "agent")));
    let Some(process) = own.or_else(part) else { return Ok(None) };
    let default = if process.name() == "k3s" { K3S_SOCKET } else { SOCKET };
    let endpoint = match endpoint(host, process)? {
        Some(endpoint) if !endpoint.is_empty() => endpoint,
        _ => default.to_owned(),
    };
    let socket = endpoint.strip_prefix("unix://").unwrap_or(&endpoint);
    if !socket.starts_with('/') {
        return Err(Error::refused(
            format!("the kubelet (pid {}) talks to {endpoint:?}, which is no Unix socket", process.pid),
            "name the socket of the containerd that runs this node's pods with --containerd-socket /run/.../containerd.sock",
        ));
    }
    if socket.contains("crio") || socket.contains("cri-dockerd") {
        return Err(Error::refused(
            format!("the kubelet talks to {socket}, which is not containerd's"),
            "use a node whose kubelet runs containerd: Catamaran is a containerd shim, and CRI-O and Docker know none",
        ));
    }
    Ok(Some(Kubelet { pid: process.pid, name: process.name().to_owned(), socket: PathBuf::from(socket) }))
}

fn endpoint(host: &Host, process: &Process) -> Result<Option<String>> {
    if let Some(endpoint) = process.option(&ENDPOINT) {
        return Ok(Some(endpoint.to_owned()));
    }
    // microk8s' kubelite reads the kubelet's arguments from a file.
    if let Some(file) = process.option(&["--kubelet-args-file"]) {
        let text = host.text(Path::new(file)).unwrap_or_default();
        let words: Vec<&str> = text.split_whitespace().collect();
        let Some(found) = option(words.iter().copied(), &ENDPOINT) else { return Ok(None) };
        let common = "/var/snap/microk8s/common";
        return Ok(Some(found.replace("${SNAP_COMMON}", common).replace("$SNAP_COMMON", common)));
    }
    let Some(file) = process.option(&["--config", "-config"]) else { return Ok(None) };
    let Some(text) = host.text(Path::new(file)) else { return Ok(None) };
    let read: KubeletConfiguration = serde_saphyr::from_str(&text).map_err(|e| {
        Error::refused(
            format!("the kubelet's configuration {file} cannot be read: {e}"),
            "name containerd's socket with --containerd-socket",
        )
    })?;
    Ok(read.container_runtime_endpoint)
}

/// Finds the containerd behind `socket`.
pub(crate) fn find(host: &Host, processes: &[Process], socket: &Path) -> Result<Containerd> {
    let all: Vec<&Process> = processes.iter().filter(|process| process.name() == "containerd").collect();
    // The kernel says which process listens there, if this process may read it.
    let listens = |process: &&&Process| {
        process.listener(host, socket).is_some_and(|inode| process.sockets(host).contains(&inode))
    };
    let by_kernel = all.iter().find(listens);
    let mut others = Vec::new();
    let mut found = by_kernel.copied();
    if found.is_none() {
        for process in &all {
            let address = address(host, process)?;
            if same_socket(host, &address, socket) {
                found = Some(process);
                break;
            }
            others.push(format!("pid {} serves {}", process.pid, address.display()));
        }
    }
    let Some(process) = found else {
        let found = match others.as_slice() {
            [] => format!("no containerd runs on this node (expected one at {})", socket.display()),
            others => format!("no containerd serves {}: {}", socket.display(), others.join(", ")),
        };
        return Err(Error::refused(
            found,
            "start containerd (systemctl status containerd says why it does not run), or name another socket with --containerd-socket",
        ));
    };
    let Some(program) = process.program() else {
        return Err(Error::refused(
            format!("where the program of containerd (pid {}) lies cannot be read", process.pid),
            "give the installer CAP_SYS_PTRACE, or start containerd by an absolute path",
        ));
    };
    Ok(Containerd {
        pid: process.pid,
        program,
        config: config(process),
        socket: socket.to_owned(),
        unit: process.unit(host),
    })
}

/// The root file that a containerd was started with.
pub(crate) fn config(process: &Process) -> PathBuf {
    PathBuf::from(process.option(&["--config", "-config", "-c"]).unwrap_or(CONFIG))
}

/// The socket that a containerd serves: by its arguments, its root file, or the default.
fn address(host: &Host, process: &Process) -> Result<PathBuf> {
    if let Some(address) = process.option(&["--address", "-address", "-a"]) {
        return Ok(PathBuf::from(address));
    }
    // A root file that cannot be read is another containerd's, unless this one turns out to be ours.
    let read = RootFile::read(host, &config(process)).ok();
    Ok(read.and_then(|root| root.address()).unwrap_or_else(|| PathBuf::from(SOCKET)))
}
