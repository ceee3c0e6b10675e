//! The content of a node's containerd: images, blobs, leases.

use sha2::{Digest, Sha256};

use crate::deadline::PATIENCE;
use crate::image::Image;
use crate::node::Node;
use crate::wire::{Message, fields};
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
        let write = Message::new().number(1, 2).bytes(2, &digest).number(3, bytes.len() as u64);
        let write = write.bytes(4, &digest).bytes(6, bytes).entry(7, "containerd.io/gc.root", "test");
        self.address()
            .call("containerd.services.content.v1.Content/Write", write.done(), PATIENCE)
            .unwrap_or_else(|status| panic!("cannot ingest {} bytes: {status}", bytes.len()));
        serde_json::json!({"mediaType": media_type, "digest": digest, "size": bytes.len()})
    }

    /// Makes a record of an image with this target, which nobody checks.
    ///
    /// # Panics
    /// When containerd does not take it.
    pub fn record_image(&self, name: &str, target: &serde_json::Value) {
        let text = |key: &str| target[key].as_str().expect("a descriptor's text");
        let size = target["size"].as_i64().expect("a descriptor's size").cast_unsigned();
        let descriptor = Message::new().bytes(1, text("mediaType")).bytes(2, text("digest")).number(3, size);
        let image = Message::new().bytes(1, name).message(3, descriptor);
        let created = Message::new().message(1, image).done();
        self.address()
            .call("containerd.services.images.v1.Images/Create", created, PATIENCE)
            .unwrap_or_else(|status| panic!("cannot make the image {name}: {status}"));
    }

    /// The leases on the content of the node's images, each with its labels.
    pub fn leases(&self) -> Vec<String> {
        let listed = self.address().call("containerd.services.leases.v1.Leases/List", Vec::new(), PATIENCE);
        let listed = listed.unwrap_or_else(|status| panic!("cannot list the leases: {status}"));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let label = |entry: &[u8]| format!(" {}={}", text(fields(entry).bytes(1)), text(fields(entry).bytes(2)));
        let one = |lease: &[u8]| text(fields(lease).bytes(1)) + &fields(lease).all(3).map(label).collect::<String>();
        fields(&listed).all(1).map(one).collect()
    }
}
