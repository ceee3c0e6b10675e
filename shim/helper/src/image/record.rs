//! Finds a container's image, by containerd's record of the container.
//!
//! The record's field `image` is a name, and under Kubernetes not even the pod's. containerd's CRI plugin (2.0 to 2.4,
//! `internal/cri/server/container_create.go` and `helpers.go`) resolves the kubelet's request to an image ID, and writes the first name of
//! this ID on the node (`References[0]`, tags before digests). Even for a pod pinned by `name@sha256:...` that name is a tag, which may
//! move and may be another tenant's.
//!
//! The authority is the record's extension `io.cri-containerd.container.metadata`. Only the CRI plugin writes it, once, and answers
//! ContainerStatus from it:
//!
//! - `ImageRef` is the image ID: the digest of the resolved manifest's configuration. No label or annotation has it. The manifest that the
//!   driver reads must have that configuration.
//! - `Config.image` is the image that the pod asks for, `user_specified_image` its author's own words (kubelets since 1.28). The ID alone
//!   proves no Wasm layer: a configuration lists only the layers that containerd unpacks, so images with different modules may share one
//!   ID, and anybody may push an image with another one's configuration. So the driver reaches the manifest from the pod's own words: from
//!   the digest if they have one, else from the tag as it is now.
//!
//! `ImageDigest` (2.4) is the target of `References[0]`, and proves no more than that name.

use catamaran_worker::quote::shortened;
use serde::Deserialize;

use super::manifest::{Digest, cut};
use super::messages::Container;

/// The extension that containerd's CRI plugin adds to a record.
const EXTENSION: &str = "io.cri-containerd.container.metadata";
/// The version of the extension's form (`metadataVersion` in containerd's `internal/cri/store/container/metadata.go`).
const VERSION: &str = "v1";
const REGISTRY: &str = "docker.io";

/// A container's image.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// The image's name in messages.
    pub(super) name: String,
    pub(super) root: Root,
    /// The digest of the configuration that the manifest must have; None if the CRI plugin resolved no image.
    pub(super) id: Option<Digest>,
}

/// The starting point of the way to the manifest.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Root {
    /// The present target of this name.
    Name(String),
    /// The index or manifest with this digest.
    Digest(Digest),
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Versioned {
    version: String,
    metadata: Metadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Metadata {
    image_ref: String,
    config: Config,
}

#[derive(Deserialize)]
struct Config {
    image: Spec,
}

#[derive(Deserialize)]
struct Spec {
    #[serde(default)]
    image: String,
    #[serde(default)]
    user_specified_image: String,
}

impl Record {
    /// Reads a container's image from its record. The error says what is wrong with the record or with the image that the pod asks for.
    pub(super) fn parse(container: &Container) -> Result<Self, String> {
        match container.extensions.get(EXTENSION) {
            Some(extension) => Self::resolved(&extension.value),
            // The CRI plugin did not make this container, so its maker named the image.
            None => {
                let name = container.image.clone();
                Ok(Self { root: Root::Name(name.clone()), name, id: None })
            }
        }
    }

    /// Reads the CRI plugin's extension.
    pub(super) fn resolved(extension: &[u8]) -> Result<Self, String> {
        let Versioned { version, metadata } = serde_json::from_slice(extension)
            .map_err(|e| format!("the record's extension {EXTENSION}: {}", shortened(&e.to_string())))?;
        if version != VERSION {
            let version = cut(&version);
            return Err(format!(
                "the record's extension {EXTENSION} has version {version:?}: only {VERSION:?} is known"
            ));
        }
        let Spec { image, user_specified_image } = metadata.config.image;
        let asked = if user_specified_image.is_empty() { image } else { user_specified_image };
        let id = Digest::parse(&metadata.image_ref).map_err(|e| format!("ImageRef of {EXTENSION}: {e}"))?;
        Ok(Self { root: root(&asked)?, name: asked, id: Some(id) })
    }
}

/// Returns where a pod's reference to an image leads. Reads the reference as the CRI plugin does.
fn root(asked: &str) -> Result<Root, String> {
    if let Some((_, digest)) = asked.split_once('@') {
        return Digest::parse(digest).map(Root::Digest);
    }
    let hex = asked.strip_prefix("sha256:").unwrap_or(asked);
    if asked.is_empty() || (hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit())) {
        let asked = cut(asked);
        return Err(format!(
            "it is asked for by its ID, {asked:?}, which does not determine its Wasm layer: write its name with a tag or a \
             digest (name@sha256:...)"
        ));
    }
    Ok(Root::Name(normalized(asked)))
}

/// Completes an image's name as containerd does (`ParseDockerRef` in the module `distribution/reference`).
pub(super) fn normalized(name: &str) -> String {
    let is_domain =
        |first: &str| first.contains(['.', ':']) || first == "localhost" || first.chars().any(char::is_uppercase);
    let (domain, path) = match name.split_once('/') {
        Some(("index.docker.io", path)) => (REGISTRY, path),
        Some((first, path)) if is_domain(first) => (first, path),
        _ => (REGISTRY, name),
    };
    let library = if domain == REGISTRY && !path.contains('/') { "library/" } else { "" };
    let tag = if path.rsplit('/').next().is_some_and(|last| last.contains(':')) { "" } else { ":latest" };
    format!("{domain}/{library}{path}{tag}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn record(version: &str, id: &str, image: &str, asked: &str) -> Result<Record, String> {
        let image = json!({"image": image, "user_specified_image": asked});
        let config = json!({"metadata": {"name": "c"}, "image": image, "envs": [{"key": "A"}]});
        let metadata = json!({"ID": "x", "ImageRef": id, "Config": config, "StopSignal": ""});
        Record::resolved(json!({"Version": version, "Metadata": metadata}).to_string().as_bytes())
    }

    #[test]
    fn the_pods_own_reference_leads_to_the_manifest() {
        let (id, pinned) = (format!("sha256:{}", "a".repeat(64)), format!("sha256:{}", "b".repeat(64)));
        let root = |image: &str, asked: &str| record("v1", &id, image, asked).map(|record| record.root);
        let digest = Digest::parse(&pinned).unwrap();
        for asked in [format!("localhost/a@{pinned}"), format!("a:1@{pinned}"), format!("r.example:5000/a/b@{pinned}")]
        {
            assert_eq!(root(&id, &asked).as_ref(), Ok(&Root::Digest(digest.clone())), "{asked}");
        }
        assert_eq!(root(&id, "localhost/a:1"), Ok(Root::Name("localhost/a:1".to_owned())));
        assert_eq!(root("localhost/b", ""), Ok(Root::Name("localhost/b:latest".to_owned())));
        for asked in [id.as_str(), &id["sha256:".len()..], ""] {
            assert!(root(&id, asked).unwrap_err().contains("asked for by its ID"), "{asked}");
        }
        assert!(root(&id, "a@sha512:00").unwrap_err().contains("sha256"));
        let whole = record("v1", &id, &id, "a").unwrap();
        assert_eq!((whole.name.as_str(), whole.id), ("a", Some(Digest::parse(&id).unwrap())));
    }

    #[test]
    fn an_unknown_record_format_is_refused() {
        let id = format!("sha256:{}", "a".repeat(64));
        for (version, id, word) in [("v2", id.as_str(), "version \"v2\""), ("v1", "localhost/a:1", "ImageRef")] {
            assert!(record(version, id, "a", "").unwrap_err().contains(word));
        }
        for broken in
            [&b""[..], b"{}", b"{\"Version\":\"v1\"}", b"{\"Version\":\"v1\",\"Metadata\":{\"ImageRef\":\"\"}}"]
        {
            assert!(Record::resolved(broken).unwrap_err().contains(EXTENSION));
        }
    }

    #[test]
    fn image_names_are_completed_as_containerd_does() {
        for (name, whole) in [
            ("busybox", "docker.io/library/busybox:latest"),
            ("busybox:1", "docker.io/library/busybox:1"),
            ("a/b", "docker.io/a/b:latest"),
            ("docker.io/a", "docker.io/library/a:latest"),
            ("index.docker.io/a:1", "docker.io/library/a:1"),
            ("localhost/a", "localhost/a:latest"),
            ("localhost:5000/a", "localhost:5000/a:latest"),
            ("r.example/a/b:2", "r.example/a/b:2"),
            ("Host/a", "Host/a:latest"),
        ] {
            assert_eq!(normalized(name), whole);
        }
    }
}
