//! Parses an image's index and manifest (OCI image-spec, `image-index.md` and `manifest.md`; Docker's have the same form), and finds the
//! module among their parts.
//!
//! The image's author wrote them, so sizes, digests, names and numbers may be anything. Only a process without rights parses them
//! (`reader`).

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
/// The most parts of an image that a message names, and the most characters of each name.
const MOST_NAMED: usize = 6;
const LONGEST_NAME: usize = 120;
/// The most bytes of a list of such names, which must fit in one message between processes.
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

    /// Whether this is the digest with the bytes `hash`.
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

/// The checked descriptor of a blob, from the document that refers to the blob.
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

/// An unchecked descriptor in a document, with the fields that are used.
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

/// An index or a manifest, as its descriptor's media type says.
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
    /// A document that is both is refused, because other readers might see another image in it.
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

/// Returns true for an index's media type and false for a manifest's. Fails for any other type.
pub(super) fn is_index(media_type: &str) -> Result<bool, String> {
    let known = TYPES.iter().position(|known| *known == media_type);
    let unknown = || format!("its media type is {}, neither an index nor a manifest", quoted(media_type));
    known.map(|number| number < INDEXES).ok_or_else(unknown)
}

impl Document {
    /// Parses a document. `media_type` is the descriptor's.
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
            _ if both => Err("it has both manifests, as an index, and layers, as a manifest".to_owned()),
            Some(said) if said != media_type => {
                Err(format!("its mediaType is {}, and its descriptor says {media_type}", quoted(&said)))
            }
            _ => Ok(document),
        }
    }
}

/// A part of an index that may hold the module.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) descriptor: Descriptor,
    /// The platform in messages, such as `wasi/wasm`.
    pub(super) platform: String,
}

impl Index {
    /// Returns the parts that may hold the module, best first: those for Wasm on any system, then those for this machine, then those
    /// without a platform. Variants do not matter, because a module is the same for every processor. If containerd resolved a part
    /// (`resolved`), parts for other platforms follow last, because containerd has its own rules for what fits.
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

    /// Returns the platforms of all parts, for messages.
    pub(super) fn platforms(&self) -> String {
        listed(self.manifests.iter().map(|part| platform(part.platform.as_ref())))
    }
}

/// Ranks a platform, the best with 0. Returns None if it does not fit.
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

/// The Wasm layer of a manifest, or why there is none to run.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Layers {
    Wasm(Descriptor),
    /// No Wasm layer. The text names the layers' types, for messages.
    Other(String),
    /// Several Wasm layers: a container runs one module, and nothing says which. The text names them.
    Several(String),
    /// The Wasm layer's descriptor is invalid, for this reason.
    Malformed(String),
}

impl Manifest {
    /// Returns the digest of the manifest's configuration.
    pub(super) fn config(&self) -> Option<Digest> {
        Digest::parse(&self.config.as_ref()?.digest).ok()
    }

    /// Returns the one Wasm layer, as other Wasm shims do. Ignores the configuration, which may have any type (the CNCF's is
    /// `application/vnd.wasm.config.v0+json`) and platform.
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

/// Lists each name once, and at most [`MOST_NAMED`].
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

/// Cuts a text to [`LONGEST_LIST`] bytes, so that it fits with others into one message between processes.
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
