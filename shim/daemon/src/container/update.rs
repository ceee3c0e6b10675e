//! Changes the limits of a running container. The kernel alone enforces a new limit, because Wasm memory never shrinks. The worker's own
//! limits (rlimits) stay.

use containerd_shim_protos::protobuf::well_known_types::any::Any;
use oci_spec::runtime::LinuxResources;

use super::{Body, Container, Phase};
use crate::error::{Error, Result};
use crate::spec::bundle;

/// The type of an OCI spec's `linux.resources` in containerd's typeurl, without the owner's prefix.
const RESOURCES: &str = "opencontainers/runtime-spec/1/LinuxResources";

impl Container {
    /// Sets the limits that a request names. Never returns NotFound: CRI would take the container for ended, and the update for done.
    pub(crate) async fn update(&self, wanted: Option<Any>) -> Result<()> {
        if self.phase() == Phase::Stopped {
            return Err(self.refuse("updated"));
        }
        let resources = resources(wanted)?;
        let updated = match &self.body {
            Body::Native(native) => Box::pin(Self::update_native(native, self.id(), &resources)).await,
            Body::Holder | Body::Wasm => self.cgroup.update(resources).await.map_err(Error::from),
        };
        match updated {
            // If the container is ending, its cgroup may be gone already.
            Err(_) if self.ends() => Err(self.ending("updated")),
            updated => updated,
        }
    }
}

fn resources(wanted: Option<Any>) -> Result<LinuxResources> {
    let refused = |found: String, expected| Error::refused("Update: resources", found, expected);
    let expected = "the OCI runtime specification's linux.resources, as JSON";
    let Some(wanted) = wanted else { return Err(refused("missing".to_owned(), expected)) };
    if wanted.type_url.trim_start_matches('/') != RESOURCES && !wanted.type_url.ends_with(&format!("/{RESOURCES}")) {
        return Err(refused(
            format!("type {:?}", wanted.type_url),
            "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources",
        ));
    }
    bundle::resources(&wanted.value).map_err(|e| refused(e.to_string(), expected))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any(kind: &str, value: &str) -> Option<Any> {
        Some(Any { type_url: kind.to_owned(), value: value.as_bytes().to_vec(), ..Default::default() })
    }

    #[test]
    fn an_update_takes_linux_resources_and_nothing_else() {
        let json = r#"{"memory": {"limit": 7}, "pids": {"limit": 0}, "devices": [{"allow": false, "access": "rwm"}]}"#;
        for kind in ["types.containerd.io/opencontainers/runtime-spec/1/LinuxResources", RESOURCES] {
            let read = resources(any(kind, json)).unwrap();
            assert_eq!(read.memory().as_ref().unwrap().limit(), Some(7));
            // As in a bundle.
            assert_eq!(read.pids().as_ref().unwrap().limit(), 1);
        }
        for (wanted, words) in [
            (None, "Update: resources: missing"),
            (any("types.containerd.io/opencontainers/runtime-spec/1/WindowsResources", "{}"), "WindowsResources"),
            (any("myLinuxResources", "{}"), "myLinuxResources"),
            (any(RESOURCES, "null"), "linux.resources, as JSON"),
            (any(RESOURCES, r#"{"memory": {"limit": "7"}}"#), "linux.resources, as JSON"),
            (any(RESOURCES, ""), "linux.resources, as JSON"),
        ] {
            let text = resources(wanted).unwrap_err().to_string();
            assert!(text.contains(words), "{text}");
        }
    }
}
