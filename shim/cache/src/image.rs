//! Which layer of which image a module is.

use serde::{Deserialize, Serialize};

/// Media types of layers that are a module or a component as it is. The layer's bytes say which, because the media types are mixed up
/// in practice.
pub const WASM_LAYERS: [&str; 3] = [
    "application/wasm",
    "application/vnd.wasm.content.layer.v1+wasm",
    "application/vnd.bytecodealliance.wasm.component.layer.v0+wasm",
];

/// The image of a container, and where to ask for it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Image {
    /// containerd's gRPC socket.
    pub address: String,
    /// containerd's namespace of the container.
    pub namespace: String,
    /// The container's id.
    pub container: String,
    /// The layer that the container runs, if it was chosen already.
    pub chosen: Option<Chosen>,
}

/// The layer that a container runs, from its Create on: its image's name is never looked up again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chosen {
    /// `sha256:` and 64 hexadecimal digits.
    pub digest: String,
    /// In bytes.
    pub size: u64,
    /// The name of its image at that time, for messages.
    pub image: String,
}
