//! Finds and reads a module that is a layer of an image, through containerd's gRPC API, for the compile driver and the action `image`.
//!
//! ```text
//! container's id -> Containers.Get -> its record -> Images.Get, List -> index -> manifest -> its one Wasm layer
//!                                     (`record`)                        '-- by platform, or  '-- read, if it is to be compiled
//!                                                                           by configuration
//! ```
//!
//! A process without rights parses index and manifest (`reader`), and the driver checks its answers (`summary`).
//!
//! Each container's layer is looked up once, at Create, because names move. The container's state keeps its digest ([`Chosen`]), and later
//! execs ask for that digest.
//!
//! A layer whose machine code is in the cache is not read. Only the read of a layer takes a lease, because a lease is three writes to
//! containerd's disk. Index and manifest are read right after the look-up that named them; if one is gone by then, the look-up starts
//! again.

mod config;
mod containerd;
mod grpc;
mod manifest;
mod messages;
pub(crate) mod named;
pub(crate) mod reader;
mod record;
mod socket;
mod summary;
pub(crate) mod untrusted;

use std::fs::File;
use std::io::Write;

use catamaran_cache::image::{Chosen, Image};

use crate::error::{Doing, Error, Result};
use containerd::{BlobError, Containerd};
use grpc::CallError;
use manifest::{Candidate, Descriptor, Digest, Layers, MOST_DOCUMENTS};
use reader::Reader;
use record::{Record, Root};
use summary::Summary;

/// The most look-ups of an image whose documents are gone when they are read.
const MOST_LOOKS: usize = 3;

/// The result of a look-up.
pub(crate) enum Found {
    Layer(Box<Layer>),
    /// There is no layer to run. The reason, as the end of a sentence about the container.
    Nothing(String),
}

/// A Wasm layer of an image.
pub(crate) struct Layer {
    /// The image that has the layer.
    image: Image,
    /// The connection of the look-up; None if the layer was chosen before.
    containerd: Option<Containerd>,
    name: String,
    blob: Descriptor,
}

/// Finds the image's Wasm layer, by a look-up unless it was chosen before. Blocks.
pub(crate) fn find(of: &Image) -> Result<Found> {
    if let Some(Chosen { digest, size, image }) = &of.chosen {
        let digest = Digest::parse(digest).map_err(|reason| unfit(image, reason))?;
        let blob = Descriptor { media_type: String::new(), digest, size: *size };
        return Ok(layer(of, None, image, blob));
    }
    // Started before the connection to containerd, so that the reader cannot inherit it.
    let mut reader = Reader::start()?;
    let mut containerd = Containerd::connect(&of.address, &of.namespace).map_err(asking)?;
    let container = containerd.container(&of.container).map_err(asking)?;
    let record = Record::parse(&container).map_err(|reason| unfit(&container.image, reason))?;
    if record.name.is_empty() {
        let why = "the container has no image of containerd's whose layers could hold one";
        return Ok(Found::Nothing(why.to_owned()));
    }
    Ok(match choose(&mut containerd, &mut reader, &record)? {
        Choice::Layer { blob, .. } => layer(of, Some(containerd), &record.name, blob),
        Choice::Nothing { why, .. } => Found::Nothing(why),
    })
}

fn layer(of: &Image, containerd: Option<Containerd>, name: &str, blob: Descriptor) -> Found {
    Found::Layer(Box::new(Layer { image: of.clone(), containerd, name: manifest::cut(name), blob }))
}

fn asking(e: CallError) -> Error {
    let source = std::io::Error::other(e);
    Error::system("asking containerd for the container's image", source)
}

fn unfit(image: &str, reason: impl Into<String>) -> Error {
    Error::Module { module: format!("the image {}", manifest::cut(image)), reason: reason.into() }
}

/// The end of an error about a missing blob, with what the user can do.
const PULL_AGAIN: &str = "is not in containerd's content store (removed since, or never fetched by a snapshotter that works without): \
     pull the image again";

enum Choice {
    Layer {
        blob: Descriptor,
        /// The digest of the manifest's configuration.
        config: Option<Digest>,
    },
    Nothing {
        /// The reason, as the end of a sentence about the container.
        why: String,
        /// The digest of the first configuration that a manifest without Wasm layers named.
        config: Option<Digest>,
    },
}

/// Chooses a layer by the image's record. The name's target may change at any moment, and the old content may vanish.
fn choose(containerd: &mut Containerd, reader: &mut Reader, record: &Record) -> Result<Choice> {
    let image = &record.name;
    let mut last = None;
    for _ in 0..MOST_LOOKS {
        let target = match &record.root {
            Root::Name(name) => containerd.target(name).map(Some),
            Root::Digest(digest) => containerd.target_of(digest),
        };
        let target = match target {
            Ok(Some(target)) => Descriptor::new(&target.media_type, &target.digest, target.size)
                .map_err(|reason| unfit(image, reason))?,
            Err(e) if !e.is_not_found() => return Err(asking(e)),
            Ok(None) | Err(_) => return Err(unfit(image, "is no longer in containerd's image store: pull it again")),
        };
        if last.as_ref() == Some(&target) {
            break;
        }
        if let Some(choice) = descend(containerd, reader, record, target.clone())? {
            return Ok(choice);
        }
        last = Some(target);
    }
    let target = last.map(|target| format!("its manifest {} ", target.digest)).unwrap_or_default();
    Err(unfit(image, format!("{target}{PULL_AGAIN}")))
}

/// Searches the documents that an image's target leads to, best first, for a manifest with Wasm layers. If containerd resolved a manifest,
/// only that one counts. Returns None if the target's document is gone.
fn descend(
    containerd: &mut Containerd,
    reader: &mut Reader,
    record: &Record,
    target: Descriptor,
) -> Result<Option<Choice>> {
    let (image, root) = (&record.name, target.digest.clone());
    let mut todo = vec![Candidate { descriptor: target, platform: String::new() }];
    let mut seen = Vec::new();
    let mut resolved = false;
    let mut first = None;
    for read in 0..=MOST_DOCUMENTS {
        let Some(Candidate { descriptor, platform }) = todo.pop() else { break };
        let place = if platform.is_empty() { String::new() } else { format!("{platform}: ") };
        if read == MOST_DOCUMENTS {
            seen.push(format!("more than {MOST_DOCUMENTS} manifests, of which the others were not read"));
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
            // A node has only the platforms that were pulled.
            Err(BlobError::Missing) => {
                seen.push(format!("{place}a manifest that was not pulled"));
                continue;
            }
            Err(BlobError::Call(e)) => return Err(asking(e)),
            Err(e) => return Err(malformed(e.to_string())),
        };
        match reader.read(&descriptor.media_type, record.id.is_some(), &bytes).map_err(malformed)? {
            Summary::Index { candidates, platforms } => {
                if candidates.is_empty() {
                    seen.push(format!("{place}no manifest for Wasm or this machine among {platforms}"));
                }
                todo.extend(candidates.into_iter().rev());
            }
            Summary::Manifest { config, .. } if record.id.is_some() && config != record.id => {
                seen.push(format!("{place}a manifest with another configuration"));
            }
            Summary::Manifest { config, layers } => match layers {
                Layers::Malformed(reason) => return Err(malformed(reason)),
                Layers::Wasm(blob) => return Ok(Some(Choice::Layer { blob, config })),
                Layers::Several(what) => {
                    let what = format!("the image {} has {what}: a container runs one", manifest::cut(image));
                    return Ok(Some(Choice::Nothing { why: what, config: None }));
                }
                Layers::Other(what) => {
                    resolved = true;
                    first = first.or(config);
                    seen.push(format!("{place}{what}"));
                }
            },
        }
    }
    let seen = manifest::listed(seen.into_iter());
    match &record.id {
        Some(id) if !resolved => Err(unfit(
            image,
            format!(
                "containerd resolved it to the image ID {id} when it recorded the container, but it means {root} now, which has no \
                 manifest with that configuration ({seen}): the name has moved since, create the container again"
            ),
        )),
        _ => {
            let why = format!("the image {} has no Wasm layer ({seen})", manifest::cut(image));
            Ok(Some(Choice::Nothing { why, config: first }))
        }
    }
}

impl Layer {
    /// Returns the layer's name, for messages.
    pub(crate) fn name(&self) -> String {
        format!("layer {} of {}", self.blob.digest, self.name)
    }

    /// Returns the choice of this layer, for all later starts in the container.
    pub(crate) fn chosen(&self) -> Chosen {
        Chosen { digest: self.blob.digest.to_string(), size: self.blob.size, image: self.name.clone() }
    }

    /// Returns the layer's sha256 in hexadecimal.
    pub(crate) fn digest(&self) -> &str {
        self.blob.digest.hex()
    }

    /// Returns the layer's size in bytes, as the manifest says.
    pub(crate) fn size(&self) -> u64 {
        self.blob.size
    }

    /// Reads the layer into `sink`, and verifies it. Blocks. Returns a warning for the log if the lease cannot be deleted.
    pub(crate) fn read(&mut self, sink: &mut File) -> Result<Option<String>> {
        let Image { address, namespace, container, .. } = &self.image;
        let mut containerd = match self.containerd.take() {
            Some(containerd) => containerd,
            None => Containerd::connect(address, namespace).map_err(asking)?,
        };
        let lease = containerd.lease(container, &self.blob).map_err(asking)?;
        let read = containerd.read(&self.blob, |piece| sink.write_all(piece));
        let given_back = containerd.give_back(lease);
        match read {
            Ok(()) => {
                Ok(given_back.err().map(|e| format!("the lease on {} stays until it expires: {e}", self.blob.digest)))
            }
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
