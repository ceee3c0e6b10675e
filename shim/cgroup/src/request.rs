//! The request to the child that speaks to systemd, and its answer.

use serde::{Deserialize, Serialize};

/// The child's task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Makes a transient unit.
    Start {
        /// The scope's name.
        unit: String,
        /// The unit's properties.
        properties: Vec<Property>,
    },
    /// Changes an existing unit, for as long as it runs.
    Change {
        /// The scope's name.
        unit: String,
        /// The properties to change.
        properties: Vec<Property>,
    },
    /// Ends a unit, if there is one.
    Stop {
        /// The scope's name.
        unit: String,
    },
}

/// The child's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// The task is done.
    Done,
    /// There is a unit of that name, and it has not failed.
    Exists,
    /// The reason why the task is not done.
    Failed(String),
}

/// A unit's property by its name on the bus.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Property(pub String, pub Value);

/// A property's value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Value {
    /// `s`
    Text(String),
    /// `b`
    Flag(bool),
    /// `t`
    Number(u64),
    /// `ay`
    Bytes(Vec<u8>),
    /// `au`
    Pids(Vec<u32>),
}
