//! The calls: what a container's image is, and its content (containerd's `api/services/{containers,images,content,leases}`,
//! version 1; the numbers are those of the fields there).

use std::io;
use std::time::{Duration, Instant};

use catamaran_host::wire::{self, Malformed, Message};
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::grpc::{CallError, Connection, Method};
use super::manifest::{Descriptor, Digest, LARGEST_DOCUMENT};
use super::record::{EXTENSION, Record};

const GET_CONTAINER: &str = "containerd.services.containers.v1.Containers/Get";
const GET_IMAGE: &str = "containerd.services.images.v1.Images/Get";
const LIST_IMAGES: &str = "containerd.services.images.v1.Images/List";
const READ: &str = "containerd.services.content.v1.Content/Read";
const CREATE_LEASE: &str = "containerd.services.leases.v1.Leases/Create";
const ADD_RESOURCE: &str = "containerd.services.leases.v1.Leases/AddResource";
const DELETE_LEASE: &str = "containerd.services.leases.v1.Leases/Delete";

/// A lease that nobody deletes, because its owner was killed, ends by itself after this. Longer than a blob is read.
const LEASE: time::Duration = time::Duration::minutes(15);
/// A blob is read within this.
const LONGEST_READ: Duration = Duration::from_secs(600);
/// Whose a lease is, for `ctr leases ls`.
const OWNER_LABEL: &str = "catamaran.wasm/container";
/// What containerd's collector reads the end of a lease from.
const EXPIRE_LABEL: &str = "containerd.io/gc.expire";

/// Why a blob could not be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum BlobError {
    #[error("it is not in containerd's content store")]
    Missing,
    /// It is not what its descriptor says.
    #[error("{0}")]
    Other(String),
    #[error(transparent)]
    Call(CallError),
    #[error("keeping it in memory: {0}")]
    Keep(#[from] io::Error),
}

impl From<CallError> for BlobError {
    fn from(e: CallError) -> Self {
        if e.is_not_found() { BlobError::Missing } else { BlobError::Call(e) }
    }
}

/// What is asked, on one connection.
pub(super) struct Containerd(Connection);

/// A lease on content, until it is given back.
pub(super) struct Lease(String);

impl Containerd {
    pub(super) fn connect(address: &str, namespace: &str) -> Result<Self, CallError> {
        Connection::open(address, namespace).map(Self)
    }

    /// The name that a container's record has for its image, empty where it has none, and what is told of the image there; why
    /// that cannot be read, in the inner error.
    pub(super) fn image_of(&mut self, container: &str) -> Result<(String, Result<Record, String>), CallError> {
        let answer = self.0.call(GET_CONTAINER, &Message::default().with(1, container))?;
        let record = wire::bytes(&answer, 1).of(GET_CONTAINER)?;
        let name = wire::text(record, 3).of(GET_CONTAINER)?;
        for entry in wire::all(record, 10).of(GET_CONTAINER)? {
            if wire::bytes(entry, 1).of(GET_CONTAINER)? == EXTENSION.as_bytes() {
                let extension = wire::bytes(entry, 2).and_then(|any| wire::bytes(any, 2)).of(GET_CONTAINER)?;
                return Ok((name.to_owned(), Record::resolved(extension)));
            }
        }
        Ok((name.to_owned(), Ok(Record::named(name))))
    }

    /// Where the content of the image of that name begins; why that is none, in the inner error.
    pub(super) fn target(&mut self, image: &str) -> Result<Result<Descriptor, String>, CallError> {
        let answer = self.0.call(GET_IMAGE, &Message::default().with(1, image))?;
        target(wire::bytes(&answer, 1).of(GET_IMAGE)?).of(GET_IMAGE)
    }

    /// The same of an image whose content begins there, whatever it is called; none where the node has no such image.
    pub(super) fn target_of(&mut self, digest: &Digest) -> Result<Option<Result<Descriptor, String>>, CallError> {
        let filter = format!("target.digest=={digest}");
        let answer = self.0.call(LIST_IMAGES, &Message::default().with(1, filter))?;
        let images = wire::all(&answer, 1).of(LIST_IMAGES)?;
        images.first().map(|image| target(image).of(LIST_IMAGES)).transpose()
    }

    /// An index or a manifest.
    pub(super) fn document(&mut self, document: &Descriptor) -> Result<Vec<u8>, BlobError> {
        if document.size > LARGEST_DOCUMENT {
            let what = format!("it is {} bytes, and at most {LARGEST_DOCUMENT} are read", document.size);
            return Err(BlobError::Other(what));
        }
        let mut bytes = Vec::new();
        self.read(document, |piece| {
            bytes.extend_from_slice(piece);
            Ok(())
        })?;
        Ok(bytes)
    }

    /// Reads a blob piece by piece. What was kept is the blob if it ends well, and not before: its size and its digest are
    /// its descriptor's.
    pub(super) fn read(
        &mut self,
        blob: &Descriptor,
        mut keep: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<(), BlobError> {
        let asked = Message::default().with(1, blob.digest.to_string());
        let until = Instant::now() + LONGEST_READ;
        let mut digest = Sha256::new();
        let mut total = 0;
        self.0.stream(READ, &asked, |answer| {
            let piece = wire::bytes(answer, 2).of(READ)?;
            if wire::number(answer, 1).of(READ)? != total {
                return Err(BlobError::Other("its pieces came in disorder".to_owned()));
            }
            total += piece.len() as u64;
            if total > blob.size {
                return Err(BlobError::Other(format!("it is larger than the {} bytes that it is to have", blob.size)));
            }
            if Instant::now() > until {
                return Err(BlobError::Other(format!("it takes longer to read than {LONGEST_READ:?}")));
            }
            digest.update(piece);
            Ok(keep(piece)?)
        })?;
        if total != blob.size {
            return Err(BlobError::Other(format!("it is {total} bytes, and not {} as it is to have", blob.size)));
        }
        if !blob.digest.is_of(&digest.finalize()) {
            let what = "its bytes are not those of its digest: containerd's content store is damaged";
            return Err(BlobError::Other(what.to_owned()));
        }
        Ok(())
    }

    /// Keeps a blob from containerd's collector.
    pub(super) fn lease(&mut self, container: &str, blob: &Descriptor) -> Result<Lease, CallError> {
        let expires = (OffsetDateTime::now_utc() + LEASE).format(&Rfc3339).map_err(|_| Malformed).of(CREATE_LEASE)?;
        let label = |key: &str, value: &str| Message::default().with(1, key).with(2, value);
        let request = Message::default().with(3, label(EXPIRE_LABEL, &expires)).with(3, label(OWNER_LABEL, container));
        let answer = self.0.call(CREATE_LEASE, &request)?;
        let id = wire::bytes(&answer, 1).and_then(|lease| wire::text(lease, 1)).of(CREATE_LEASE)?;
        let lease = Lease(id.to_owned());
        let resource = Message::default().with(1, blob.digest.to_string()).with(2, "content");
        let added = self.0.call(ADD_RESOURCE, &Message::default().with(1, id).with(2, resource));
        match added {
            Ok(_) => Ok(lease),
            Err(e) => {
                // The first failure is told; the lease ends by itself if it must.
                let _ = self.give_back(lease);
                Err(e)
            }
        }
    }

    pub(super) fn give_back(&mut self, lease: Lease) -> Result<(), CallError> {
        self.0.call(DELETE_LEASE, &Message::default().with(1, &lease.0)).map(drop)
    }
}

/// The target in the record of an image.
fn target(image: &[u8]) -> Result<Result<Descriptor, String>, Malformed> {
    let target = wire::bytes(image, 3)?;
    let (media_type, digest, size) = (wire::text(target, 1)?, wire::text(target, 2)?, wire::number(target, 3)?);
    Ok(Descriptor::new(media_type, digest, size.cast_signed()))
}
