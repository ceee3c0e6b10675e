//! What the child that speaks to systemd is told, and what it answers.

use serde::{Deserialize, Serialize};

/// What the child is to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Request {
    Start { unit: String, properties: Vec<Property> },
    Change { unit: String, properties: Vec<Property> },
    Stop { unit: String },
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Answer {
    Done,
    /// There is a unit of that name, and it has not failed.
    Exists,
    Failed(String),
}

/// A unit's property by its name on the bus.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Property(pub(super) String, pub(super) Value);

/// A property's value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Value {
    Text(String),
    Flag(bool),
    Number(u64),
    Bytes(Vec<u8>),
    Pids(Vec<u32>),
}
