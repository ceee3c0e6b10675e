//! The module that is a layer of the container's image: found and read by containerd's gRPC API, by the compile driver alone.
//!
//! ```text
//! container's id -> Containers.Get -> image's name -> Images.Get -> index -> manifest -> its one Wasm layer
//!                                                                   '-- by platform     '-- read, if it is to be compiled
//! ```
//!
//! Names move: every start asks again. What was found is known by its digest, so that a layer whose machine code is there is
//! never read. A lease is made for that read alone: it is three writes to containerd's disk, and an index and a manifest are
//! read at once after the look-up that named them. Where one is gone by then the look-up is done again.

mod containerd;
mod grpc;
mod hpack;
mod http2;
mod manifest;

use std::fs::File;
use std::io::Write;

use serde::{Deserialize, Serialize};

use crate::error::{Doing, Error, Result};
use containerd::{BlobError, Containerd};
use grpc::CallError;
pub(crate) use manifest::WASM_LAYERS;
use manifest::{Candidate, Descriptor, Document, Layers};

/// So many documents are read for one image: an index may list thousands, and may list indexes.
const MOST_DOCUMENTS: usize = 16;
/// As often a look-up is done whose documents are gone when they are read.
const MOST_LOOKS: usize = 3;

/// The image of a container, and where to ask for it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Image {
    /// containerd's gRPC socket.
    pub(crate) address: String,
    pub(crate) namespace: String,
    /// The container's id.
    pub(crate) container: String,
}

/// What a look-up came to.
pub(crate) enum Found {
    Layer(Box<Layer>),
    /// There is no layer to run: why, as the end of a sentence about the container.
    Nothing(String),
}

/// A Wasm layer that was found.
pub(crate) struct Layer {
    containerd: Containerd,
    container: String,
    image: String,
    blob: Descriptor,
}

impl Image {
    /// Looks for the image's Wasm layer. Blocks.
    pub(crate) fn find(&self) -> Result<Found> {
        let mut containerd = Containerd::connect(&self.address, &self.namespace).map_err(asking)?;
        let image = containerd.image_of(&self.container).map_err(asking)?;
        if image.is_empty() {
            let why = "the container has no image of containerd's whose layers could hold one";
            return Ok(Found::Nothing(why.to_owned()));
        }
        Ok(match choose(&mut containerd, &image)? {
            Chosen::Layer(blob) => {
                Found::Layer(Box::new(Layer { containerd, container: self.container.clone(), image, blob }))
            }
            Chosen::Nothing(why) => Found::Nothing(why),
        })
    }
}

fn asking(e: CallError) -> Error {
    let source = std::io::Error::other(e);
    Error::System { doing: "asking containerd for the container's image".to_owned(), source }
}

fn unfit(image: &str, reason: impl Into<String>) -> Error {
    Error::Module { module: format!("the image {}", manifest::cut(image)), reason: reason.into() }
}

/// What a user can do about a blob that is not there.
const PULL_AGAIN: &str = "is not in containerd's content store (removed since, or never fetched by a snapshotter that works without): \
     pull the image again";

enum Chosen {
    Layer(Descriptor),
    Nothing(String),
}

/// Goes from the image's name to a layer. The image may get another content at any moment, and its old one go.
fn choose(containerd: &mut Containerd, image: &str) -> Result<Chosen> {
    let mut last = None;
    for _ in 0..MOST_LOOKS {
        let target = match containerd.target(image) {
            Ok(target) => target.map_err(|reason| unfit(image, reason))?,
            Err(e) if e.is_not_found() => {
                return Err(unfit(image, "is no longer in containerd's image store: pull it again"));
            }
            Err(e) => return Err(asking(e)),
        };
        if last.as_ref() == Some(&target) {
            break;
        }
        if let Some(chosen) = descend(containerd, image, target.clone())? {
            return Ok(chosen);
        }
        last = Some(target);
    }
    let target = last.map(|target| format!("its manifest {} ", target.digest)).unwrap_or_default();
    Err(unfit(image, format!("{target}{PULL_AGAIN}")))
}

/// Looks through what an image's target leads to, the best first, until there is a manifest with Wasm layers. None where
/// the target itself is gone.
fn descend(containerd: &mut Containerd, image: &str, target: Descriptor) -> Result<Option<Chosen>> {
    let mut todo = vec![Candidate { descriptor: target, platform: String::new() }];
    let mut seen = Vec::new();
    for read in 0..=MOST_DOCUMENTS {
        let Some(Candidate { descriptor, platform }) = todo.pop() else { break };
        let place = if platform.is_empty() { String::new() } else { format!("{platform}: ") };
        if read == MOST_DOCUMENTS {
            seen.push(format!("more than {MOST_DOCUMENTS} manifests, of which the others were not looked at"));
            break;
        }
        let malformed = |reason: String| unfit(image, format!("{place}{}: {reason}", descriptor.digest));
        if let Err(what) = manifest::is_index(&descriptor.media_type) {
            seen.push(format!("{place}{what}"));
            continue;
        }
        let bytes = match containerd.document(&descriptor) {
            Ok(bytes) => bytes,
            Err(BlobError::Missing) if platform.is_empty() => return Ok(None),
            // A node has the platforms that were pulled, seldom all.
            Err(BlobError::Missing) => {
                seen.push(format!("{place}a manifest that was not pulled"));
                continue;
            }
            Err(BlobError::Call(e)) => return Err(asking(e)),
            Err(e) => return Err(malformed(e.to_string())),
        };
        match Document::parse(&descriptor.media_type, &bytes).map_err(malformed)? {
            Document::Index(index) => {
                let candidates = index.candidates().map_err(malformed)?;
                if candidates.is_empty() {
                    seen.push(format!("{place}no manifest for Wasm or this machine among {}", index.platforms()));
                }
                todo.extend(candidates.into_iter().rev());
            }
            Document::Manifest(manifest) => match manifest.layers().map_err(malformed)? {
                Layers::Wasm(layer) => return Ok(Some(Chosen::Layer(layer))),
                Layers::Several(what) => {
                    let what = format!("the image {} has {what}: a container runs one", manifest::cut(image));
                    return Ok(Some(Chosen::Nothing(what)));
                }
                Layers::Other(what) => seen.push(format!("{place}{what}")),
            },
        }
    }
    let seen = manifest::listed(seen.into_iter());
    Ok(Some(Chosen::Nothing(format!("the image {} has no Wasm layer ({seen})", manifest::cut(image)))))
}

impl Layer {
    /// What it is called.
    pub(crate) fn name(&self) -> String {
        format!("layer {} of {}", self.blob.digest, manifest::cut(&self.image))
    }

    /// sha256 of its bytes, in hexadecimal.
    pub(crate) fn digest(&self) -> &str {
        self.blob.digest.hex()
    }

    /// Its length in bytes, as the manifest has it.
    pub(crate) fn size(&self) -> u64 {
        self.blob.size
    }

    /// Reads it into `sink`, verified. Blocks. Answers what should be in the log.
    pub(crate) fn read(&mut self, sink: &mut File) -> Result<Option<String>> {
        let lease = self.containerd.lease(&self.container, &self.blob).map_err(asking)?;
        let read = self.containerd.read(&self.blob, |piece| sink.write_all(piece));
        let given_back = self.containerd.give_back(lease);
        match read {
            Ok(()) => Ok(given_back.err().map(|e| format!("a lease stays until it expires: {e}"))),
            Err(BlobError::Missing) => Err(self.unfit(PULL_AGAIN)),
            Err(BlobError::Other(reason)) => Err(self.unfit(&reason)),
            Err(BlobError::Call(e)) => Err(asking(e)),
            Err(BlobError::Keep(e)) => Err(e).doing(|| format!("reading {}", self.name())),
        }
    }

    fn unfit(&self, reason: &str) -> Error {
        Error::Module { module: self.name(), reason: reason.to_owned() }
    }
}
