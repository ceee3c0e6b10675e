//! The content of a node's containerd: images, blobs, leases.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::api::content::{
    CreateImageRequest, Descriptor, Image as Record, Lease, ListRequest, ListResponse, WriteAction, WriteContentRequest,
};
use crate::deadline::PATIENCE;
use crate::image::Image;
use crate::node::Node;
use crate::{ctr, leftovers};

impl Node {
    /// Imports and unpacks an image, unless this node has it already. Containers call this by themselves.
    pub fn import(&self, image: &Image) {
        if self.imported.lock().unwrap().contains(image.name()) {
            return;
        }
        self.import_with(image, &[]);
    }

    /// Imports an image, with flags for `ctr images import` such as `--no-unpack` or `--all-platforms`.
    pub fn import_with(&self, image: &Image, flags: &[&str]) {
        let mut args = vec!["images", "import"];
        args.extend(flags);
        args.push("-");
        let output = ctr::foreground(self, args, Some(image.to_tar()), PATIENCE);
        assert!(output.code == 0, "cannot import {}: {output:#?}", image.name());
        self.imported.lock().unwrap().insert(image.name().to_owned());
    }

    /// Keeps any bytes in the content store for good, and returns their descriptor.
    ///
    /// # Panics
    /// When containerd does not take them.
    pub fn ingest(&self, media_type: &str, bytes: &[u8]) -> serde_json::Value {
        let digest = format!("sha256:{}", leftovers::hex(&Sha256::digest(bytes)));
        // Committed in one message, and with a label that keeps containerd's collector away.
        let write = WriteContentRequest {
            action: WriteAction::Commit.into(),
            r#ref: digest.clone(),
            total: i64::try_from(bytes.len()).expect("a length"),
            expected: digest.clone(),
            data: bytes.to_vec(),
            labels: BTreeMap::from([("containerd.io/gc.root".to_owned(), "test".to_owned())]),
        };
        self.address()
            .call::<()>("containerd.services.content.v1.Content/Write", &write, PATIENCE)
            .unwrap_or_else(|status| panic!("cannot ingest {} bytes: {status}", bytes.len()));
        serde_json::json!({"mediaType": media_type, "digest": digest, "size": bytes.len()})
    }

    /// Makes a record of an image with this target. Nothing checks that the target exists.
    ///
    /// # Panics
    /// When containerd does not take it.
    pub fn record_image(&self, name: &str, target: &serde_json::Value) {
        let text = |key: &str| target[key].as_str().expect("a descriptor's text").to_owned();
        let target = Descriptor {
            media_type: text("mediaType"),
            digest: text("digest"),
            size: target["size"].as_i64().expect("a descriptor's size"),
            ..Descriptor::default()
        };
        let request = CreateImageRequest { image: Some(Record { name: name.to_owned(), target: Some(target) }) };
        self.address()
            .call::<()>("containerd.services.images.v1.Images/Create", &request, PATIENCE)
            .unwrap_or_else(|status| panic!("cannot make the image {name}: {status}"));
    }

    /// The leases on the content of the node's images, each with its labels.
    pub fn leases(&self) -> Vec<String> {
        let method = "containerd.services.leases.v1.Leases/List";
        let listed: ListResponse = self
            .address()
            .call(method, &ListRequest::default(), PATIENCE)
            .unwrap_or_else(|status| panic!("cannot list the leases: {status}"));
        let labels =
            |lease: &Lease| lease.labels.iter().map(|(key, value)| format!(" {key}={value}")).collect::<String>();
        listed.leases.iter().map(|lease| format!("{}{}", lease.id, labels(lease))).collect()
    }
}
