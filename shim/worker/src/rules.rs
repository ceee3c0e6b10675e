//! The node administrator's rules for components.

use serde::{Deserialize, Serialize};

/// The handler's options that a worker follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rules {
    /// `wasi_p3`: whether a component may use WASI 0.3.
    pub wasi_p3: bool,
    /// `link_local_requests`: whether a component's HTTP requests may go to link-local addresses and metadata services.
    pub link_local_requests: bool,
}
