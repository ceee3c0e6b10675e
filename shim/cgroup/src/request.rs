//! What the child that speaks to systemd is told, and what it answers.

use serde::{Deserialize, Serialize};

/// What the child is to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Makes a transient unit.
    Start {
        /// The scope's name.
        unit: String,
        /// What it is made with.
        properties: Vec<Property>,
    },
    /// Changes a unit that is there, for as long as it runs.
    Change {
        /// The scope's name.
        unit: String,
        /// What is changed.
        properties: Vec<Property>,
    },
    /// Ends a unit, if there is one.
    Stop {
        /// The scope's name.
        unit: String,
    },
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// It was done.
    Done,
    /// There is a unit of that name, and it has not failed.
    Exists,
    /// Why it was not.
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
