//! A container that the CRI wrote a record of, and that the test runs itself.

use serde_json::Value;

use super::{CONTAINERS, address};
use crate::container::Container;
use crate::deadline::PATIENCE;
use crate::grpc::Status;
use crate::leftovers;
use crate::task::Task;
use crate::wire::{Message, fields};
use crate::{Node, Runtime};

/// A container that the CRI created: its record and its snapshot.
pub struct Created<'n> {
    pub(super) node: &'n Node,
    pub(super) id: String,
    /// The name of its image.
    pub(super) image: String,
    /// The `Any` of the record.
    pub(super) spec: Vec<u8>,
}

impl<'n> Created<'n> {
    /// The spec that the CRI wrote.
    pub fn spec(&self) -> Value {
        serde_json::from_slice(fields(&self.spec).bytes(2)).expect("the spec is no JSON")
    }

    /// Replaces the spec, for tests of single keys.
    pub fn change(&mut self, edit: impl FnOnce(&mut Value)) {
        let mut spec = self.spec();
        edit(&mut spec);
        self.spec = Message::new().bytes(1, fields(&self.spec).bytes(1)).bytes(2, spec.to_string()).done();
    }

    /// The name that the CRI has put into the record for the image.
    pub fn image(&self) -> &str {
        &self.image
    }

    /// Creates a task of our runtime from that spec, on that snapshot, through a record in the node's own namespace.
    ///
    /// # Errors
    /// The refusal of containerd or the shim. The record is removed then.
    pub fn try_task(&self) -> Result<Task<'n>, Status> {
        let Self { node, id, image, spec } = self;
        node.require(Runtime::Catamaran);
        leftovers::note_id(node.dir(), node.namespace(), id);
        let record = Message::new()
            .bytes(1, id)
            .bytes(3, image)
            .message(4, Message::new().bytes(1, Runtime::Catamaran.name()))
            .bytes(5, spec);
        let request = Message::new().message(1, record).done();
        node.address().call(&format!("{CONTAINERS}/Create"), request, PATIENCE)?;
        Task::create_on(&Container::new(node, id, Runtime::Catamaran), |_| {
            let asked = Message::new().bytes(1, "overlayfs").bytes(2, id).done();
            address(node).call("containerd.services.snapshots.v1.Snapshots/Mounts", asked, PATIENCE)
        })
    }
}
