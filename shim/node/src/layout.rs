//! The table of distributions: how a node is recognised, and where the handler is written on it.
//!
//! | distribution | recognised by | what is written |
//! |---|---|---|
//! | k3s, rke2 | a root file `DATA/agent/etc/containerd/config.toml` | `config-v3.toml.d/catamaran.toml` beside it where that folder is imported, else a block in the template `config-v3.toml.tmpl` |
//! | k0s | containerd's program below `/var/lib/k0s`, or `/etc/k0s/containerd.toml` | `/etc/k0s/containerd.d/catamaran.toml` |
//! | microk8s | containerd's program below `/snap/microk8s` | a block in `args/containerd-template.toml` |
//! | kind, minikube, GKE, EKS, AKS, kubeadm, plain | the files named at `Distribution::of` | a file in a folder that the root file imports, else `catamaran.toml` beside the root file and an import of it |
//! | Talos, Bottlerocket | `ID` in os-release | refused: their root file systems are read-only images |
//!
//! The programs go to `/opt/catamaran`. On GKE's Container-Optimized OS they go to `/home/kubernetes/bin/catamaran`, because its `/opt` is
//! read-only and its `/var` is mounted noexec.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::containerd::{self, Containerd, SOCKET};
use crate::error::{Error, Result};
use crate::host::Host;
use crate::process::{Process, same_socket};
use crate::root_file::{FILE, RootFile};

const PREFIX: &str = "/opt/catamaran";
const GKE_PREFIX: &str = "/home/kubernetes/bin/catamaran";

/// The distribution of the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "their own names")]
pub(crate) enum Distribution {
    K3s,
    Rke2,
    K0s,
    Microk8s,
    Kind,
    Minikube,
    Gke,
    Eks,
    Aks,
    Kubeadm,
    Plain,
}

/// Where the handler is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub(crate) enum Place {
    /// A drop-in that containerd or the distribution reads by itself.
    DropIn { file: PathBuf },
    /// A drop-in, and an import of it in the root file.
    Import { file: PathBuf },
    /// A block at the end of the template that the distribution makes the root file from. A new template begins with `base`; None if the
    /// template must exist already.
    Block { template: PathBuf, base: Option<String> },
}

/// All that an installer needs to know of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) distribution: Distribution,
    pub(crate) containerd: Containerd,
    /// The version of the root file: the drop-in has its form.
    pub(crate) version: u64,
    pub(crate) place: Place,
    /// The folder of the programs' versions.
    pub(crate) prefix: PathBuf,
}

/// Places that the user names, so that they are not looked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    pub(crate) socket: Option<PathBuf>,
    pub(crate) prefix: Option<PathBuf>,
}

impl Layout {
    /// Examines the host; changes nothing.
    pub(crate) fn find(host: &Host, processes: &[Process], wanted: &Wanted) -> Result<Self> {
        refuse_images(host)?;
        let socket = socket(host, processes, wanted)?;
        let containerd = containerd::find(host, processes, &socket)?;
        let distribution = Distribution::of(host, processes, &containerd);
        let root = RootFile::read(host, &containerd.config)?;
        let version = root.version()?;
        let place = place(host, distribution, &containerd, &root)?;
        let prefix = wanted.prefix.clone().unwrap_or_else(|| distribution.prefix());
        Ok(Self { distribution, containerd, version, place, prefix })
    }
}

fn socket(host: &Host, processes: &[Process], wanted: &Wanted) -> Result<PathBuf> {
    if let Some(socket) = &wanted.socket {
        return Ok(socket.clone());
    }
    if let Some(kubelet) = containerd::kubelet(host, processes)? {
        return Ok(kubelet.socket);
    }
    // A node that has not joined a cluster yet. Docker's containerd is not Kubernetes' and serves no CRI.
    let mut sockets = Vec::new();
    for process in processes.iter().filter(|process| process.name() == "containerd") {
        let root = RootFile::read(host, &containerd::config(process)).ok();
        let told = process.option(&["--address", "-address", "-a"]).map(PathBuf::from);
        let socket = told.or_else(|| root?.address()).unwrap_or_else(|| PathBuf::from(SOCKET));
        if !socket.starts_with("/run/docker") && !socket.starts_with("/var/run/docker") {
            sockets.push(socket);
        }
    }
    match sockets.as_slice() {
        [] => Ok(PathBuf::from(SOCKET)),
        [one] => Ok(one.clone()),
        several => {
            if let Some(usual) = several.iter().find(|socket| same_socket(host, socket, Path::new(SOCKET))) {
                return Ok(usual.clone());
            }
            let list: Vec<String> = several.iter().map(|socket| socket.display().to_string()).collect();
            Err(Error::refused(
                format!("no kubelet runs here, and several containerds do: {}", list.join(", ")),
                "name the one that is to run this node's pods with --containerd-socket",
            ))
        }
    }
}

/// The value of a key in os-release(5).
pub(crate) fn os_release(host: &Host, key: &str) -> Option<String> {
    let text = host.text(Path::new("/etc/os-release")).or_else(|| host.text(Path::new("/usr/lib/os-release")))?;
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
    Some(value.trim().trim_matches(['"', '\'']).to_owned())
}

/// Refuses systems whose root file system is an image that nothing can be installed into.
fn refuse_images(host: &Host) -> Result<()> {
    match os_release(host, "ID").as_deref() {
        Some("talos") => Err(Error::refused(
            "this node runs Talos, whose root file system is a read-only image",
            "build a system extension instead: `make talos` lays out its folder; the RuntimeClass is applied as usual",
        )),
        Some("bottlerocket") => Err(Error::refused(
            "this node runs Bottlerocket, whose root file system is a read-only, verified image that has no place for a shim",
            "use another node image for Wasm pods, and keep the RuntimeClass's nodeSelector away from Bottlerocket nodes",
        )),
        _ => Ok(()),
    }
}

impl Distribution {
    fn of(host: &Host, processes: &[Process], containerd: &Containerd) -> Self {
        let has = |path: &str| host.exists(Path::new(path));
        let runs = |name: &str| processes.iter().any(|process| process.name() == name);
        if containerd.config.ends_with("agent/etc/containerd/config.toml") {
            let text = containerd.config.to_string_lossy();
            return if text.contains("/rke2/") || runs("rke2") { Self::Rke2 } else { Self::K3s };
        }
        if containerd.program.starts_with("/var/lib/k0s") || containerd.config == Path::new("/etc/k0s/containerd.toml")
        {
            return Self::K0s;
        }
        if containerd.program.starts_with("/snap/microk8s") || containerd.config.starts_with("/var/snap/microk8s") {
            return Self::Microk8s;
        }
        let id = os_release(host, "ID").unwrap_or_default();
        match () {
            () if has("/kind/version") => Self::Kind,
            () if has("/var/lib/minikube") => Self::Minikube,
            () if id == "cos" || has("/home/kubernetes/bin") => Self::Gke,
            () if id == "amzn" && (has("/etc/eks") || has("/usr/bin/nodeadm")) => Self::Eks,
            () if has("/etc/kubernetes/azure.json") => Self::Aks,
            () if has("/var/lib/kubelet/kubeadm-flags.env") => Self::Kubeadm,
            () => Self::Plain,
        }
    }

    fn prefix(self) -> PathBuf {
        PathBuf::from(if self == Self::Gke { GKE_PREFIX } else { PREFIX })
    }
}

fn place(host: &Host, distribution: Distribution, containerd: &Containerd, root: &RootFile) -> Result<Place> {
    let folder = root.path.parent().unwrap_or(Path::new("/"));
    match distribution {
        Distribution::K3s | Distribution::Rke2 => {
            // The root file is rendered anew at each start, so only its imports and its template count.
            let name = if root.version()? == 2 { "config" } else { "config-v3" };
            let imported = folder.join(format!("{name}.toml.d"));
            if root.imported_folder().is_some_and(|found| host.resolve(&found) == host.resolve(&imported)) {
                return Ok(Place::DropIn { file: imported.join(FILE) });
            }
            let template = folder.join(format!("{name}.toml.tmpl"));
            Ok(Place::Block { template, base: Some("{{ template \"base\" . }}\n".to_owned()) })
        }
        Distribution::K0s => Ok(Place::DropIn { file: Path::new("/etc/k0s/containerd.d").join(FILE) }),
        Distribution::Microk8s => {
            let template = folder.join("containerd-template.toml");
            if !host.exists(&template) {
                return Err(Error::refused(
                    format!(
                        "{} is not there, which microk8s makes {} from",
                        template.display(),
                        containerd.config.display()
                    ),
                    "look whether this microk8s keeps its template elsewhere, and report it with `snap list microk8s`",
                ));
            }
            Ok(Place::Block { template, base: None })
        }
        _ => Ok(match root.imported_folder() {
            Some(folder) => Place::DropIn { file: folder.join(FILE) },
            None => Place::Import { file: folder.join(FILE) },
        }),
    }
}

#[cfg(test)]
mod tests;
