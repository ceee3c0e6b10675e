//! An image's index and manifest (OCI image-spec, `image-index.md` and `manifest.md`; Docker's are of the same shape), and
//! which of their parts is the module.
//!
//! The image's author wrote them, so sizes, digests, names and their number may be anything. So only a process without rights parses
//! them (`reader`).

use catamaran_cache::image::WASM_LAYERS;
use catamaran_worker::quote::shortened;
use serde::Deserialize;

/// The media types that are read: the first two are indexes, the others manifests.
pub(super) const TYPES: [&str; 4] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];
const INDEXES: usize = 2;
/// The largest document that registries must take (OCI distribution-spec, "Pushing Manifests").
pub(super) const LARGEST_DOCUMENT: u64 = 4 << 20;
/// The most documents that are read for one image, because an index may list thousands, and may list indexes.
pub(super) const MOST_DOCUMENTS: usize = 16;
/// The most things of an image that a message names, and the most characters of each.
const MOST_NAMED: usize = 6;
const LONGEST_NAME: usize = 120;
/// The most bytes of a list of them, which must fit in one message between processes.
const LONGEST_LIST: usize = 2000;

/// sha256 of a blob, 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Digest(String);

impl Digest {
    /// Reads `sha256:HEX`, and refuses anything else, because the text may become part of a path.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let hex = text.strip_prefix("sha256:");
        let whole = |hex: &&str| hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        match hex.filter(whole) {
            Some(hex) => Ok(Self(hex.to_owned())),
            None if text.starts_with("sha512:") => Err(format!(
                "the digest {} is a sha512, which is legal, but containerd's content store (up to 2.4) keeps blobs by their \
                 sha256 alone: build and push the image with sha256 digests",
                quoted(text)
            )),
            None => Err(format!("the digest {} is not \"sha256:\" and 64 hexadecimal digits", quoted(text))),
        }
    }

    pub(super) fn hex(&self) -> &str {
        &self.0
    }

    /// Whether it is the digest of the bytes with this hash.
    pub(super) fn is_of(&self, hash: &[u8]) -> bool {
        let digits = hash.iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
        let digits = digits.filter_map(|digit| char::from_digit(u32::from(digit), 16));
        digits.eq(self.0.chars())
    }
}

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "sha256:{}", self.0)
    }
}

/// The checked descriptor of a blob, as another blob has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Descriptor {
    pub(super) media_type: String,
    pub(super) digest: Digest,
    pub(super) size: u64,
}

impl Descriptor {
    pub(super) fn new(media_type: &str, digest: &str, size: i64) -> Result<Self, String> {
        let digest = Digest::parse(digest)?;
        let size = u64::try_from(size).map_err(|_| format!("{digest} has a size of {size} bytes"))?;
        Ok(Self { media_type: media_type.to_owned(), digest, size })
    }
}

/// A descriptor as it stands in a document, with the fields that are used.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    #[serde(default)]
    media_type: String,
    #[serde(default)]
    digest: String,
    #[serde(default)]
    size: i64,
    platform: Option<Platform>,
}

impl Written {
    fn checked(&self) -> Result<Descriptor, String> {
        Descriptor::new(&self.media_type, &self.digest, self.size)
    }
}

#[derive(Debug, Clone, Deserialize)]
struct Platform {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
}

/// An index or a manifest, told apart by its descriptor.
#[derive(Debug)]
pub(super) enum Document {
    Index(Index),
    Manifest(Manifest),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Index {
    media_type: Option<String>,
    #[serde(default)]
    manifests: Vec<Written>,
    /// A document that is both is refused, because another reader of it would see another image.
    #[serde(default, rename = "layers")]
    other: Option<serde::de::IgnoredAny>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Manifest {
    media_type: Option<String>,
    config: Option<Written>,
    #[serde(default)]
    layers: Vec<Written>,
    #[serde(default, rename = "manifests")]
    other: Option<serde::de::IgnoredAny>,
}

/// Whether this is an index's media type, not a manifest's. Fails for any other type.
pub(super) fn is_index(media_type: &str) -> Result<bool, String> {
    let known = TYPES.iter().position(|known| *known == media_type);
    let unknown = || format!("it is of type {}, neither an index nor a manifest", quoted(media_type));
    known.map(|number| number < INDEXES).ok_or_else(unknown)
}

impl Document {
    /// Reads a document of the media type that its descriptor has.
    pub(super) fn parse(media_type: &str, bytes: &[u8]) -> Result<Self, String> {
        let invalid = |e: serde_json::Error| shortened(&e.to_string()).into_owned();
        let (document, said, both) = if is_index(media_type)? {
            let index: Index = serde_json::from_slice(bytes).map_err(invalid)?;
            let (said, both) = (index.media_type.clone(), index.other.is_some());
            (Document::Index(index), said, both)
        } else {
            let manifest: Manifest = serde_json::from_slice(bytes).map_err(invalid)?;
            let (said, both) = (manifest.media_type.clone(), manifest.other.is_some());
            (Document::Manifest(manifest), said, both)
        };
        match said {
            _ if both => Err("it has manifests as an index has them, and layers as a manifest has them".to_owned()),
            Some(said) if said != media_type => {
                Err(format!("it says that it is of type {}, and was found as {media_type}", quoted(&said)))
            }
            _ => Ok(document),
        }
    }
}

/// A part of an index that may hold the module.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) descriptor: Descriptor,
    /// `wasi/wasm`, for messages.
    pub(super) platform: String,
}

impl Index {
    /// Returns the parts to look at, the best one first: those for Wasm, whatever system they name, then those for this machine,
    /// then those that name no platform. Variants do not matter, because a module is the same for every processor. If the part is known
    /// by its configuration (`resolved`), the other parts come last, because containerd has its own rules for what fits.
    pub(super) fn candidates(&self, resolved: bool) -> Result<Vec<Candidate>, String> {
        let last = |part: &Written| (resolved && part.checked().is_ok()).then_some(u8::MAX);
        let mut ranked: Vec<_> = self
            .manifests
            .iter()
            .filter_map(|part| Some((rank(part.platform.as_ref()).or(last(part))?, part)))
            .collect();
        ranked.sort_by_key(|(rank, _)| *rank);
        ranked
            .into_iter()
            .map(|(_, part)| Ok(Candidate { descriptor: part.checked()?, platform: platform(part.platform.as_ref()) }))
            .collect()
    }

    /// Returns the platforms that there are instead, for messages.
    pub(super) fn platforms(&self) -> String {
        listed(self.manifests.iter().map(|part| platform(part.platform.as_ref())))
    }
}

/// Returns how well a platform fits, the smaller the better, or None if it does not fit.
fn rank(platform: Option<&Platform>) -> Option<u8> {
    let host = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    match platform {
        Some(p) if p.architecture == "wasm" || p.architecture == "wasm32" => Some(0),
        Some(p) if p.os == "linux" && p.architecture == host => Some(1),
        None => Some(2),
        Some(_) => None,
    }
}

fn platform(platform: Option<&Platform>) -> String {
    platform.map_or_else(|| "no platform".to_owned(), |p| format!("{}/{}", cut(&p.os), cut(&p.architecture)))
}

/// A manifest's module, or why it has none.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Layers {
    Wasm(Descriptor),
    /// No Wasm layer: the types of the layers that there are, for messages.
    Other(String),
    /// More than one Wasm layer: a container runs one module, and nothing says which.
    Several(String),
    /// The Wasm layer's own descriptor is wrong, for this reason.
    Malformed(String),
}

impl Manifest {
    /// Returns the digest of its configuration.
    pub(super) fn config(&self) -> Option<Digest> {
        Digest::parse(&self.config.as_ref()?.digest).ok()
    }

    /// Returns the one Wasm layer, as other shims for containerd do. Does not read the configuration, which may be of any type
    /// (`application/vnd.wasm.config.v0+json` is the CNCF's) and platform.
    pub(super) fn layers(&self) -> Result<Layers, String> {
        let wasm: Vec<_> =
            self.layers.iter().filter(|layer| WASM_LAYERS.contains(&layer.media_type.as_str())).collect();
        match wasm.as_slice() {
            [layer] => layer.checked().map(Layers::Wasm),
            [] if self.layers.is_empty() => Ok(Layers::Other("no layers".to_owned())),
            [] => Ok(Layers::Other(format!(
                "layers of type {}",
                listed(self.layers.iter().map(|l| quoted(&l.media_type)))
            ))),
            several => {
                let named = listed(several.iter().map(|l| format!("{} ({})", cut(&l.digest), l.media_type)));
                Ok(Layers::Several(format!("{} Wasm layers: {named}", several.len())))
            }
        }
    }
}

/// Lists each name once, and not too many.
pub(super) fn listed(names: impl Iterator<Item = String>) -> String {
    let mut all: Vec<String> = Vec::new();
    for name in names {
        if all.len() > MOST_NAMED {
            break;
        }
        if !all.contains(&name) {
            all.push(name);
        }
    }
    if all.len() > MOST_NAMED {
        all.truncate(MOST_NAMED);
        all.push("...".to_owned());
    }
    bounded(all.join(", "))
}

/// Cuts a text of several names so that it fits into one message between processes with others.
pub(super) fn bounded(mut text: String) -> String {
    if text.len() > LONGEST_LIST {
        let end = (0..=LONGEST_LIST).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
        text.truncate(end);
        text.push_str("...");
    }
    text
}

fn quoted(text: &str) -> String {
    format!("{:?}", cut(text))
}

pub(super) fn cut(text: &str) -> String {
    match text.char_indices().nth(LONGEST_NAME) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests;
