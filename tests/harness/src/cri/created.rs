//! A container that the CRI wrote a record of, and that the test runs itself.

use serde_json::Value;

use super::{CONTAINERS, address};
use crate::api::containers::{self, Container as Record, CreateContainerRequest};
use crate::api::known::Any;
use crate::container::Container;
use crate::deadline::PATIENCE;
use crate::grpc::Status;
use crate::leftovers;
use crate::task::Task;
use crate::{Node, Runtime};

/// A container that the CRI created: its record and its snapshot.
pub struct Created<'n> {
    pub(super) node: &'n Node,
    pub(super) id: String,
    /// The name of its image.
    pub(super) image: String,
    /// As in the record.
    pub(super) spec: Any,
}

impl<'n> Created<'n> {
    /// The spec that the CRI wrote.
    pub fn spec(&self) -> Value {
        serde_json::from_slice(&self.spec.value).expect("the spec is no JSON")
    }

    /// Replaces the spec, for tests of single keys.
    pub fn change(&mut self, edit: impl FnOnce(&mut Value)) {
        let mut spec = self.spec();
        edit(&mut spec);
        self.spec.value = spec.to_string().into_bytes();
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
        let runtime = containers::Runtime { name: Runtime::Catamaran.name().to_owned(), options: None };
        let record = Record {
            id: id.clone(),
            image: image.clone(),
            runtime: Some(runtime),
            spec: Some(spec.clone()),
            ..Record::default()
        };
        let request = CreateContainerRequest { container: Some(record) };
        node.address().call::<()>(&format!("{CONTAINERS}/Create"), &request, PATIENCE)?;
        Task::create_on(&Container::new(node, id, Runtime::Catamaran), &address(node))
    }
}
