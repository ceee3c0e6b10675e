//! Images that the test itself makes: an OCI layout, as one tar.

use std::fmt;
use std::sync::Arc;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::leftovers::hex;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// An image to import: its name, its layers, and its configuration.
#[derive(Clone, Debug)]
pub struct Image {
    name: String,
    layers: Vec<Layer>,
    os: String,
    architecture: String,
    config_type: String,
    config: serde_json::Map<String, Value>,
    others: Vec<Image>,
    edits: Vec<Edit>,
}

/// A change to an image's manifest.
#[derive(Clone)]
struct Edit(Arc<dyn Fn(&mut Value) + Send + Sync>);

impl fmt::Debug for Edit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Edit")
    }
}

#[derive(Clone, Debug)]
enum Layer {
    /// Files to pack.
    Tree(Vec<Entry>),
    /// A blob of another kind, unchanged.
    Blob(String, Vec<u8>),
}

#[derive(Clone, Debug)]
struct Entry {
    path: String,
    kind: tar::EntryType,
    content: Vec<u8>,
    mode: u32,
    owner: (u64, u64),
    /// The major and minor number of a device node.
    device: (u32, u32),
}

impl Image {
    /// An empty image of this machine's platform, `localhost/test/NAME:latest`, with one empty layer.
    pub fn new(name: &str) -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        Self {
            name: format!("localhost/test/{name}:latest"),
            layers: vec![Layer::Tree(Vec::new())],
            os: "linux".into(),
            architecture: architecture.into(),
            config_type: CONFIG.into(),
            config: serde_json::Map::new(),
            others: Vec::new(),
            edits: Vec::new(),
        }
    }

    /// The same image under another full name, such as `registry.example/app:1.0`.
    #[must_use]
    pub fn named(self, name: &str) -> Self {
        Self { name: name.to_owned(), ..self }
    }

    /// The full name.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn entry(mut self, path: &str, kind: tar::EntryType, content: &[u8], mode: u32, owner: (u64, u64)) -> Self {
        if !matches!(self.layers.last(), Some(Layer::Tree(_))) {
            self.layers.push(Layer::Tree(Vec::new()));
        }
        if let Some(Layer::Tree(entries)) = self.layers.last_mut() {
            let path = path.trim_start_matches('/').to_owned();
            entries.push(Entry { path, kind, content: content.to_vec(), mode, owner, device: (0, 0) });
        }
        self
    }

    /// A file of root's, mode 0755.
    #[must_use]
    pub fn file(self, path: &str, content: impl AsRef<[u8]>) -> Self {
        self.file_as(path, content, 0o755, 0, 0)
    }

    /// A file with a mode and an owner.
    #[must_use]
    pub fn file_as(self, path: &str, content: impl AsRef<[u8]>, mode: u32, uid: u64, gid: u64) -> Self {
        self.entry(path, tar::EntryType::Regular, content.as_ref(), mode, (uid, gid))
    }

    /// A directory with a mode and an owner.
    #[must_use]
    pub fn dir(self, path: &str, mode: u32, uid: u64, gid: u64) -> Self {
        self.entry(path, tar::EntryType::Directory, b"", mode, (uid, gid))
    }

    /// A symbolic link.
    #[must_use]
    pub fn link(self, path: &str, target: &str) -> Self {
        self.entry(path, tar::EntryType::Symlink, target.as_bytes(), 0o777, (0, 0))
    }

    /// A character device node that everybody may open.
    #[must_use]
    pub fn device(self, path: &str, major: u32, minor: u32) -> Self {
        let mut image = self.entry(path, tar::EntryType::Char, b"", 0o666, (0, 0));
        if let Some(Layer::Tree(entries)) = image.layers.last_mut() {
            entries.last_mut().expect("it was just added").device = (major, minor);
        }
        image
    }

    /// Puts the following files into a further layer, above the one before.
    #[must_use]
    pub fn layer(mut self) -> Self {
        self.layers.push(Layer::Tree(Vec::new()));
        self
    }

    /// A layer that is no tar, such as a Wasm module with its media type. Replaces an empty layer.
    #[must_use]
    pub fn blob(mut self, media_type: &str, content: impl AsRef<[u8]>) -> Self {
        self.layers.retain(|layer| !matches!(layer, Layer::Tree(entries) if entries.is_empty()));
        self.layers.push(Layer::Blob(media_type.to_owned(), content.as_ref().to_vec()));
        self
    }

    /// The platform, instead of this machine's, such as `wasi`, `wasm`.
    #[must_use]
    pub fn platform(mut self, os: &str, architecture: &str) -> Self {
        self.os = os.to_owned();
        self.architecture = architecture.to_owned();
        self
    }

    /// The media type of the configuration, instead of OCI's.
    #[must_use]
    pub fn config_type(mut self, media_type: &str) -> Self {
        self.config_type = media_type.to_owned();
        self
    }

    /// Makes the image an index with `other` as its further part: its layers, configuration and platform.
    #[must_use]
    pub fn also(mut self, other: Self) -> Self {
        self.others.push(other);
        self
    }

    /// Changes the manifest before it is written.
    #[must_use]
    pub fn manifest(mut self, edit: impl Fn(&mut Value) + Send + Sync + 'static) -> Self {
        self.edits.push(Edit(Arc::new(edit)));
        self
    }

    fn set(mut self, key: &str, value: Value) -> Self {
        self.config.insert(key.to_owned(), value);
        self
    }

    /// The entrypoint.
    #[must_use]
    pub fn entrypoint<S: AsRef<str>>(self, words: impl IntoIterator<Item = S>) -> Self {
        self.set("Entrypoint", strings(words))
    }

    /// The arguments after the entrypoint.
    #[must_use]
    pub fn cmd<S: AsRef<str>>(self, words: impl IntoIterator<Item = S>) -> Self {
        self.set("Cmd", strings(words))
    }

    /// The environment, `NAME=value` each.
    #[must_use]
    pub fn env<S: AsRef<str>>(self, entries: impl IntoIterator<Item = S>) -> Self {
        self.set("Env", strings(entries))
    }

    /// The working directory.
    #[must_use]
    pub fn workdir(self, path: &str) -> Self {
        self.set("WorkingDir", path.into())
    }

    /// The user, `uid` or `uid:gid`.
    #[must_use]
    pub fn user(self, user: &str) -> Self {
        self.set("User", user.into())
    }

    /// Folders that are volumes, even if nothing is mounted there.
    #[must_use]
    pub fn volumes<S: AsRef<str>>(self, paths: impl IntoIterator<Item = S>) -> Self {
        let volumes = paths.into_iter().map(|path| (path.as_ref().to_owned(), json!({})));
        self.set("Volumes", Value::Object(volumes.collect()))
    }

    /// The stop signal, instead of SIGTERM.
    #[must_use]
    pub fn stop_signal(self, signal: &str) -> Self {
        self.set("StopSignal", signal.into())
    }

    /// The OCI layout as one tar, the same bytes for the same image.
    pub fn to_tar(&self) -> Vec<u8> {
        let mut archive = Archive::default();
        archive.file("oci-layout", json!({"imageLayoutVersion": "1.0.0"}).to_string().as_bytes());
        let mut target = self.write(&mut archive);
        if !self.others.is_empty() {
            let mut parts = vec![target];
            parts.extend(self.others.iter().map(|other| other.write(&mut archive)));
            let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": parts});
            target = archive.blob(INDEX, index.to_string().as_bytes());
        }
        target["annotations"] = json!({"io.containerd.image.name": self.name});
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [target]});
        archive.file("index.json", index.to_string().as_bytes());
        archive.0.into_inner().expect("writing to memory")
    }

    /// Adds layers, configuration and manifest, and returns the manifest's descriptor.
    fn write(&self, archive: &mut Archive) -> Value {
        let mut layers = Vec::new();
        let mut digests = Vec::new();
        for layer in &self.layers {
            let descriptor = match layer {
                Layer::Tree(entries) => archive.blob(LAYER, &packed(entries)),
                Layer::Blob(media_type, content) => archive.blob(media_type, content),
            };
            // Only layers that are unpacked have a diff ID: containerd compares the number of diff IDs with the number of layers that it
            // can unpack.
            if matches!(layer, Layer::Tree(_)) {
                digests.push(descriptor["digest"].clone());
            }
            layers.push(descriptor);
        }
        let config = json!({
            "architecture": self.architecture,
            "os": self.os,
            "config": self.config,
            "rootfs": {"type": "layers", "diff_ids": digests},
        });
        let config = archive.blob(&self.config_type, config.to_string().as_bytes());
        let mut manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers});
        for Edit(edit) in &self.edits {
            edit(&mut manifest);
        }
        let mut manifest = archive.blob(MANIFEST, manifest.to_string().as_bytes());
        manifest["platform"] = json!({"os": self.os, "architecture": self.architecture});
        manifest
    }
}

fn strings<S: AsRef<str>>(words: impl IntoIterator<Item = S>) -> Value {
    words.into_iter().map(|word| word.as_ref().to_owned()).collect::<Vec<_>>().into()
}

fn packed(entries: &[Entry]) -> Vec<u8> {
    let mut archive = Archive::default();
    for entry in entries {
        archive.entry(entry);
    }
    archive.0.into_inner().expect("writing to memory")
}

struct Archive(tar::Builder<Vec<u8>>);

impl Default for Archive {
    fn default() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }
}

impl Archive {
    fn entry(&mut self, entry: &Entry) {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(entry.kind);
        header.set_mode(entry.mode);
        header.set_uid(entry.owner.0);
        header.set_gid(entry.owner.1);
        header.set_mtime(0);
        if entry.kind == tar::EntryType::Symlink {
            header.set_size(0);
            let target = String::from_utf8_lossy(&entry.content);
            self.0.append_link(&mut header, &entry.path, &*target).expect("writing to memory");
        } else {
            header.set_size(entry.content.len() as u64);
            if entry.kind == tar::EntryType::Char {
                header.set_device_major(entry.device.0).expect("a GNU header");
                header.set_device_minor(entry.device.1).expect("a GNU header");
            }
            self.0.append_data(&mut header, &entry.path, &entry.content[..]).expect("writing to memory");
        }
    }

    fn file(&mut self, path: &str, content: &[u8]) {
        let kind = tar::EntryType::Regular;
        self.entry(&Entry {
            path: path.to_owned(),
            kind,
            content: content.to_vec(),
            mode: 0o644,
            owner: (0, 0),
            device: (0, 0),
        });
    }

    /// Adds a blob and returns its descriptor.
    fn blob(&mut self, media_type: &str, content: &[u8]) -> Value {
        let digest = hex(&Sha256::digest(content));
        self.file(&format!("blobs/sha256/{digest}"), content);
        json!({"mediaType": media_type, "digest": format!("sha256:{digest}"), "size": content.len()})
    }
}
