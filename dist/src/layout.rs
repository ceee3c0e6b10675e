//! An OCI image layout in one tar, as `ctr image import`, `kind load image-archive`, `podman load`, `minikube image load` and
//! `skopeo copy oci-archive:` read it.
//!
//! `index.json` names one thing, a manifest or, for several platforms, an index of manifests. It does so under two names: containerd and
//! podman read `io.containerd.image.name`, the whole name, and skopeo reads `org.opencontainers.image.ref.name`, the tag.

use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::str::FromStr;

use oci_spec::image::{
    ANNOTATION_REF_NAME, Descriptor, ImageIndex, ImageIndexBuilder, ImageManifest, MediaType, Platform, Sha256Digest,
};
use serde::de::DeserializeOwned;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::image::failed;
use crate::json;
use crate::tree::Tree;

const WHOLE_NAME: &str = "io.containerd.image.name";
const BLOBS: &str = "blobs/sha256/";
const PACK_AGAIN: &str = "pack the archive again with `catamaran-dist image`";

/// An image, for one or several platforms.
#[derive(Debug, Clone)]
pub struct Layout {
    /// The image's name with its tag.
    name: String,
    /// Contents by their digests, in hexadecimal digits without the algorithm.
    blobs: BTreeMap<String, Vec<u8>>,
    /// One for each platform.
    manifests: Vec<Descriptor>,
}

impl Layout {
    /// An empty layout of this name, tag included.
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), blobs: BTreeMap::new(), manifests: Vec::new() }
    }

    /// The name, tag included.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The platforms, such as `linux/amd64`.
    pub fn platforms(&self) -> Vec<String> {
        self.manifests.iter().map(platform).collect()
    }

    /// Adds a blob.
    ///
    /// # Errors
    /// Only if this program has a fault.
    pub fn blob(&mut self, media_type: MediaType, bytes: Vec<u8>) -> Result<Descriptor> {
        let digest = hex(&bytes);
        let descriptor =
            Descriptor::new(media_type, bytes.len() as u64, Sha256Digest::from_str(&digest).map_err(failed)?);
        self.blobs.insert(digest, bytes);
        Ok(descriptor)
    }

    /// Adds a platform's manifest.
    ///
    /// # Errors
    /// Only if this program has a fault.
    pub fn manifest(&mut self, bytes: Vec<u8>, platform: Platform) -> Result<()> {
        let mut descriptor = self.blob(MediaType::ImageManifest, bytes)?;
        descriptor.set_platform(Some(platform));
        self.manifests.push(descriptor);
        Ok(())
    }

    /// Makes the archive. `time` is the time of its entries, in seconds since 1970.
    ///
    /// # Errors
    /// The layout has no manifest.
    pub fn to_tar(&self, time: u64) -> Result<Vec<u8>> {
        let mut whole = self.clone();
        let mut top = match &*self.manifests {
            [] => return Err(Error::new(format!("{} has no manifest", self.name), PACK_AGAIN)),
            [only] => only.clone(),
            several => {
                let mut index = index(several.to_vec())?;
                index.set_annotations(self.common_annotations()?);
                whole.blob(MediaType::ImageIndex, json::sorted(&index)?)?
            }
        };
        let tag = self.name.rsplit_once(':').map_or("latest", |(_, tag)| tag);
        let names = [(ANNOTATION_REF_NAME, tag), (WHOLE_NAME, &self.name)];
        top.set_annotations(Some(names.map(|(key, value)| (key.to_owned(), value.to_owned())).into()));
        let mut tree = Tree::default();
        tree.file("oci-layout", 0o644, json!({"imageLayoutVersion": "1.0.0"}).to_string());
        tree.file("index.json", 0o644, json::sorted(&index(vec![top])?)?);
        for (digest, bytes) in whole.blobs {
            tree.file(format!("{BLOBS}{digest}"), 0o644, bytes);
        }
        tree.tar(time)
    }

    /// The annotations that all manifests share. Registries show those of an index.
    fn common_annotations(&self) -> Result<Option<HashMap<String, String>>> {
        let mut common: Option<HashMap<String, String>> = None;
        for descriptor in &self.manifests {
            let manifest: ImageManifest = parse(&self.name, self.content(&self.name, descriptor)?)?;
            let own = manifest.annotations().clone().unwrap_or_default();
            match &mut common {
                Some(common) => common.retain(|key, value| own.get(key) == Some(value)),
                none => *none = Some(own),
            }
        }
        Ok(common)
    }

    /// Reads an archive that this program wrote, and checks every digest. `path` is for errors.
    ///
    /// # Errors
    /// The file is no such archive, or is damaged.
    pub fn read(path: &str, bytes: &[u8]) -> Result<Self> {
        let mut files = files(path, bytes)?;
        let top =
            files.remove("index.json").ok_or_else(|| Error::new(format!("{path} has no index.json"), PACK_AGAIN))?;
        let top: ImageIndex = parse(path, &top)?;
        let [top] = &**top.manifests() else {
            let found = format!("{path}: index.json lists {} manifests, expected one", top.manifests().len());
            return Err(Error::new(found, PACK_AGAIN));
        };
        let name = top.annotations().as_ref().and_then(|annotations| annotations.get(WHOLE_NAME));
        let name =
            name.ok_or_else(|| Error::new(format!("{path}: index.json has no annotation {WHOLE_NAME}"), PACK_AGAIN))?;
        let mut layout = Self::new(name);
        for (file, bytes) in files {
            let Some(digest) = file.strip_prefix(BLOBS) else { continue };
            if hex(&bytes) != digest {
                return Err(Error::new(
                    format!("{path}: {file} does not have the digest that it is called by"),
                    PACK_AGAIN,
                ));
            }
            layout.blobs.insert(digest.to_owned(), bytes);
        }
        if *top.media_type() == MediaType::ImageIndex {
            let index: ImageIndex = parse(path, layout.content(path, top)?)?;
            layout.manifests = index.manifests().clone();
            layout.blobs.remove(top.digest().digest());
        } else {
            let mut only = top.clone();
            only.set_annotations(None);
            layout.manifests = vec![only];
        }
        Ok(layout)
    }

    fn content(&self, path: &str, descriptor: &Descriptor) -> Result<&[u8]> {
        let found = self.blobs.get(descriptor.digest().digest()).map(Vec::as_slice);
        found.ok_or_else(|| Error::new(format!("{path} lacks the blob {}", descriptor.digest()), PACK_AGAIN))
    }

    /// Joins layouts into one for all their platforms.
    ///
    /// # Errors
    /// They have different names, or one platform twice with different content.
    pub fn join(layouts: Vec<Self>) -> Result<Self> {
        let mut layouts = layouts.into_iter();
        let mut whole =
            layouts.next().ok_or_else(|| Error::new("no archive is named", "name those of each platform"))?;
        for layout in layouts {
            if layout.name != whole.name {
                let found = format!("one archive is called {}, another {}", whole.name, layout.name);
                return Err(Error::new(found, "join the archives of one image and one version"));
            }
            for manifest in layout.manifests {
                whole.add(manifest)?;
            }
            whole.blobs.extend(layout.blobs);
        }
        whole.manifests.sort_by_key(platform);
        Ok(whole)
    }

    fn add(&mut self, manifest: Descriptor) -> Result<()> {
        let same = self.manifests.iter().find(|other| platform(other) == platform(&manifest));
        match same {
            Some(other) if other.digest() == manifest.digest() => {}
            Some(other) => {
                let found = format!(
                    "{} for {} is there twice: {} and {}",
                    self.name,
                    platform(&manifest),
                    other.digest(),
                    manifest.digest()
                );
                return Err(Error::new(found, "name one archive a platform, all of one build"));
            }
            None => self.manifests.push(manifest),
        }
        Ok(())
    }
}

fn platform(descriptor: &Descriptor) -> String {
    descriptor
        .platform()
        .as_ref()
        .map_or_else(String::new, |platform| format!("{}/{}", platform.os(), platform.architecture()))
}

fn index(manifests: Vec<Descriptor>) -> Result<ImageIndex> {
    let index =
        ImageIndexBuilder::default().schema_version(2u32).media_type(MediaType::ImageIndex).manifests(manifests);
    index.build().map_err(failed)
}

fn parse<T: DeserializeOwned>(path: &str, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| Error::new(format!("{path}: {error}"), PACK_AGAIN))
}

fn files(path: &str, bytes: &[u8]) -> Result<BTreeMap<String, Vec<u8>>> {
    let broken = |error: std::io::Error| Error::new(format!("{path} is no OCI archive: {error}"), PACK_AGAIN);
    let mut files = BTreeMap::new();
    for entry in tar::Archive::new(bytes).entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let mut content = Vec::new();
        entry.read_to_end(&mut content).map_err(broken)?;
        files.insert(entry.path().map_err(broken)?.display().to_string(), content);
    }
    Ok(files)
}

/// A digest in hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A digest as OCI writes it, with `sha256:` before it.
pub(crate) fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elf::Architecture;
    use crate::image::Image;
    use crate::origin::Origin;

    fn origin() -> Origin {
        Origin { version: "1.2.3".into(), revision: "abc".into(), time: 1_790_000_000 }
    }

    fn image(architectures: &[Architecture], content: &str) -> Layout {
        let mut tree = Tree::default();
        tree.file("bin/program", 0o755, content);
        let image = Image {
            repository: "ghcr.io/catamaran-wasm/program".into(),
            title: "A program".into(),
            description: "It runs.".into(),
            tree,
            entrypoint: vec!["/bin/program".into()],
            user: Some("65532:65532".into()),
            architectures: architectures.to_vec(),
        };
        image.layout(&origin()).unwrap()
    }

    fn packed(layout: &Layout) -> BTreeMap<String, Vec<u8>> {
        files("test", &layout.to_tar(origin().time).unwrap()).unwrap()
    }

    fn value(bytes: &[u8]) -> serde_json::Value {
        serde_json::from_slice(bytes).unwrap()
    }

    fn blob(files: &BTreeMap<String, Vec<u8>>, descriptor: &serde_json::Value) -> serde_json::Value {
        let digest = descriptor["digest"].as_str().unwrap().replace("sha256:", BLOBS);
        assert_eq!(files[&digest].len() as u64, descriptor["size"].as_u64().unwrap());
        value(&files[&digest])
    }

    #[test]
    fn an_archive_names_one_manifest_with_its_platform() {
        let files = packed(&image(&[Architecture::Arm64], "arm"));
        assert_eq!(value(&files["oci-layout"]), json!({"imageLayoutVersion": "1.0.0"}));
        let top = &value(&files["index.json"])["manifests"][0];
        assert_eq!(top["platform"], json!({"os": "linux", "architecture": "arm64"}));
        assert_eq!(top["annotations"][WHOLE_NAME], "ghcr.io/catamaran-wasm/program:1.2.3");
        assert_eq!(top["annotations"][ANNOTATION_REF_NAME], "1.2.3");
        let manifest = blob(&files, top);
        assert_eq!(manifest["annotations"]["org.opencontainers.image.revision"], "abc");
        let config = blob(&files, &manifest["config"]);
        assert_eq!((&config["architecture"], &config["created"]), (&json!("arm64"), &json!("2026-09-21T14:13:20Z")));
        let expected = json!({"Entrypoint": ["/bin/program"], "User": "65532:65532", "WorkingDir": "/", "Labels": manifest["annotations"]});
        assert_eq!(config["config"], expected);
    }

    #[test]
    fn joined_archives_become_an_index_whatever_their_order() {
        let [amd, arm] = [image(&[Architecture::Amd64], "amd"), image(&[Architecture::Arm64], "arm")];
        let again = |layout: &Layout| Layout::read("test", &layout.to_tar(7).unwrap()).unwrap();
        let one = Layout::join(vec![again(&amd), again(&arm)]).unwrap();
        let other = Layout::join(vec![again(&arm), again(&amd), again(&arm)]).unwrap();
        assert_eq!(one.to_tar(9).unwrap(), other.to_tar(9).unwrap());
        assert_eq!(one.platforms(), ["linux/amd64", "linux/arm64"]);
        // Reading the archive and joining it with one of its parts changes nothing.
        assert_eq!(Layout::join(vec![again(&one), again(&amd)]).unwrap().to_tar(9).unwrap(), one.to_tar(9).unwrap());
        let files = packed(&one);
        let top = &value(&files["index.json"])["manifests"][0];
        assert_eq!(top["mediaType"], "application/vnd.oci.image.index.v1+json");
        let index = blob(&files, top);
        assert_eq!(index["annotations"]["org.opencontainers.image.title"], "A program");
        for manifest in index["manifests"].as_array().unwrap() {
            assert_eq!(
                blob(&files, &blob(&files, manifest)["config"])["architecture"],
                manifest["platform"]["architecture"]
            );
        }
    }

    #[test]
    fn archives_that_are_no_parts_of_one_image_are_refused() {
        let amd = image(&[Architecture::Amd64], "amd");
        let text = Layout::join(vec![amd.clone(), image(&[Architecture::Amd64], "other")]).unwrap_err().to_string();
        assert!(text.contains("for linux/amd64 is there twice"), "{text}");
        let mut other = image(&[Architecture::Arm64], "arm");
        other.name = "ghcr.io/catamaran-wasm/other:1.2.3".into();
        let text = Layout::join(vec![amd, other]).unwrap_err().to_string();
        assert!(text.contains("another ghcr.io/catamaran-wasm/other:1.2.3"), "{text}");
    }

    #[test]
    fn a_damaged_archive_is_refused() {
        let mut layout = image(&[Architecture::Amd64], "amd");
        let first = layout.blobs.keys().next().cloned().unwrap();
        layout.blobs.insert(first.clone(), b"{}".to_vec());
        let text = Layout::read("a.tar", &layout.to_tar(7).unwrap()).unwrap_err().to_string();
        assert!(text.starts_with(&format!("a.tar: {BLOBS}{first} does not have the digest")), "{text}");
        let text = Layout::read("b.tar", b"no archive").unwrap_err().to_string();
        assert!(text.starts_with("b.tar "), "{text}");
    }
}
