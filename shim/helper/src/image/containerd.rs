//! The calls to containerd about a container's image and its content.

use std::io;
use std::time::{Duration, Instant};

use containerd_shim_protos::types::mount::Mount;
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::grpc::{CallError, Connection, wrong};
use super::manifest::{Descriptor, Digest, LARGEST_DOCUMENT};
use super::messages::{
    AddResourceRequest, Container, CreateLeaseRequest, CreateLeaseResponse, GetContainerResponse, GetImageResponse,
    Image, Info, InfoResponse, ListImagesRequest, ListImagesResponse, Named, Nothing, ReadContentRequest,
    ReadContentResponse, RemoveSnapshotRequest, Resource, Target, ViewSnapshotRequest, ViewSnapshotResponse,
};

const GET_CONTAINER: &str = "containerd.services.containers.v1.Containers/Get";
const GET_IMAGE: &str = "containerd.services.images.v1.Images/Get";
const LIST_IMAGES: &str = "containerd.services.images.v1.Images/List";
const READ: &str = "containerd.services.content.v1.Content/Read";
const INFO: &str = "containerd.services.content.v1.Content/Info";
const VIEW: &str = "containerd.services.snapshots.v1.Snapshots/View";
const REMOVE_SNAPSHOT: &str = "containerd.services.snapshots.v1.Snapshots/Remove";
const CREATE_LEASE: &str = "containerd.services.leases.v1.Leases/Create";
const ADD_RESOURCE: &str = "containerd.services.leases.v1.Leases/AddResource";
const DELETE_LEASE: &str = "containerd.services.leases.v1.Leases/Delete";

/// A lease expires after this time if its driver was killed before deleting it. Longer than the read of a blob.
const LEASE: time::Duration = time::Duration::minutes(15);
/// The longest time of reading a blob.
const LONGEST_READ: Duration = Duration::from_secs(600);
/// The label that names a lease's container in `ctr leases ls`.
const CONTAINER_LABEL: &str = "catamaran.wasm/container";
/// The label that tells containerd's garbage collector when a lease expires.
const EXPIRE_LABEL: &str = "containerd.io/gc.expire";

/// The label that protects a snapshot from containerd's garbage collector.
const ROOT_LABEL: &str = "containerd.io/gc.root";

/// Why a blob could not be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum BlobError {
    #[error("it is not in containerd's content store")]
    Missing,
    /// The blob does not match its descriptor, or takes too long.
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

/// A connection to containerd.
pub(super) struct Containerd(Connection);

/// The name of a lease on content.
pub(super) struct Lease(String);

impl Containerd {
    pub(super) fn connect(address: &str, namespace: &str) -> Result<Self, CallError> {
        Connection::open(address, namespace).map(Self)
    }

    /// Returns the record of a container.
    pub(super) fn container(&mut self, id: &str) -> Result<Container, CallError> {
        let answer: GetContainerResponse = self.0.call(GET_CONTAINER, &named(id))?;
        Ok(answer.container.unwrap_or_default())
    }

    /// Returns the target of the image `image`: the index or manifest where its content begins.
    pub(super) fn target(&mut self, image: &str) -> Result<Target, CallError> {
        let answer: GetImageResponse = self.0.call(GET_IMAGE, &named(image))?;
        Ok(target(answer.image.unwrap_or_default()))
    }

    /// Returns the target of an image whose target has this digest, under any name; None if the node has none.
    pub(super) fn target_of(&mut self, digest: &Digest) -> Result<Option<Target>, CallError> {
        let asked = ListImagesRequest { filters: vec![format!("target.digest=={digest}")] };
        let answer: ListImagesResponse = self.0.call(LIST_IMAGES, &asked)?;
        Ok(answer.images.into_iter().next().map(target))
    }

    /// Reads an index, a manifest or a configuration.
    pub(super) fn document(&mut self, document: &Descriptor) -> Result<Vec<u8>, BlobError> {
        if document.size > LARGEST_DOCUMENT {
            let what = format!("it has {} bytes, and at most {LARGEST_DOCUMENT} are read", document.size);
            return Err(BlobError::Other(what));
        }
        let mut bytes = Vec::new();
        self.read(document, |piece| {
            bytes.extend_from_slice(piece);
            Ok(())
        })?;
        Ok(bytes)
    }

    /// Reads a blob and passes each piece to `keep`. Compares size and digest with the descriptor's at the end: until then the pieces are
    /// unverified.
    pub(super) fn read(
        &mut self,
        blob: &Descriptor,
        mut keep: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<(), BlobError> {
        let asked = ReadContentRequest { digest: blob.digest.to_string() };
        let until = Instant::now() + LONGEST_READ;
        let mut digest = Sha256::new();
        let mut total: u64 = 0;
        self.0.stream(READ, &asked, |ReadContentResponse { offset, data: piece }| {
            if offset.cast_unsigned() != total {
                return Err(BlobError::Other("containerd sent its pieces out of order".to_owned()));
            }
            total += piece.len() as u64;
            if total > blob.size {
                return Err(BlobError::Other(format!(
                    "it is larger than the {} bytes that its descriptor says",
                    blob.size
                )));
            }
            if Instant::now() > until {
                return Err(BlobError::Other(format!("it takes longer to read than {LONGEST_READ:?}")));
            }
            digest.update(&piece);
            Ok(keep(&piece)?)
        })?;
        if total != blob.size {
            return Err(BlobError::Other(format!(
                "it has {total} bytes, not the {} that its descriptor says",
                blob.size
            )));
        }
        if !blob.digest.is_of(&digest.finalize()) {
            let what = "its bytes are not those of its digest: containerd's content store is damaged";
            return Err(BlobError::Other(what.to_owned()));
        }
        Ok(())
    }

    /// Returns containerd's record of a blob.
    pub(super) fn info(&mut self, digest: &Digest) -> Result<Info, CallError> {
        let answer: InfoResponse = self.0.call(INFO, &named(&digest.to_string()))?;
        Ok(answer.info.unwrap_or_default())
    }

    /// Makes a view of a snapshot. Returns the mounts of the view.
    pub(super) fn view(&mut self, snapshotter: &str, key: &str, parent: &str) -> Result<Vec<Mount>, CallError> {
        let labels = [(ROOT_LABEL.to_owned(), "catamaran".to_owned())].into();
        let [snapshotter, key, parent] = [snapshotter, key, parent].map(str::to_owned);
        let asked = ViewSnapshotRequest { snapshotter, key, parent, labels };
        let answer: ViewSnapshotResponse = self.0.call(VIEW, &asked)?;
        let mounts = answer.mounts.into_iter().map(|mount| Mount {
            type_: mount.kind,
            source: mount.source,
            options: mount.options,
            ..Mount::default()
        });
        Ok(mounts.collect())
    }

    pub(super) fn remove_snapshot(&mut self, snapshotter: &str, key: &str) -> Result<(), CallError> {
        let asked = RemoveSnapshotRequest { snapshotter: snapshotter.to_owned(), key: key.to_owned() };
        self.0.call(REMOVE_SNAPSHOT, &asked).map(|Nothing {}| ())
    }

    /// Takes a lease that protects a blob from containerd's garbage collector.
    pub(super) fn lease(&mut self, container: &str, blob: &Descriptor) -> Result<Lease, CallError> {
        let expires = OffsetDateTime::now_utc() + LEASE;
        let expires = expires.format(&Rfc3339).map_err(|e| wrong(CREATE_LEASE, e.to_string()))?;
        let labels = [(EXPIRE_LABEL, expires.as_str()), (CONTAINER_LABEL, container)];
        let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let answer: CreateLeaseResponse = self.0.call(CREATE_LEASE, &CreateLeaseRequest { labels })?;
        let lease = Lease(answer.lease.unwrap_or_default().name);
        let resource = Resource { id: blob.digest.to_string(), kind: "content".to_owned() };
        let added = AddResourceRequest { id: lease.0.clone(), resource: Some(resource) };
        let added: Result<Nothing, _> = self.0.call(ADD_RESOURCE, &added);
        match added {
            Ok(_) => Ok(lease),
            Err(e) => {
                // Only the first failure is reported. If the deletion fails too, the lease expires.
                let _ = self.give_back(lease);
                Err(e)
            }
        }
    }

    pub(super) fn give_back(&mut self, lease: Lease) -> Result<(), CallError> {
        self.0.call(DELETE_LEASE, &Named { name: lease.0 }).map(|Nothing {}| ())
    }
}

fn named(name: &str) -> Named {
    Named { name: name.to_owned() }
}

fn target(image: Image) -> Target {
    image.target.unwrap_or_default()
}
