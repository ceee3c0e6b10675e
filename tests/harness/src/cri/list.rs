//! Lists of pods and containers from the CRI.

use std::collections::BTreeMap;

use super::runtime;
use super::status::{ContainerState, map, text};
use crate::Node;
use crate::wire::{Fields, Message, fields};

/// Which pods to list: those that match every field that is set.
#[derive(Clone, Debug, Default)]
pub struct PodFilter {
    /// Only this one.
    pub id: String,
    /// Only those that are ready, or only those that are not.
    pub ready: Option<bool>,
    /// Those with all of these labels.
    pub labels: Vec<(String, String)>,
}

/// Which containers to list: those that match every field that is set.
#[derive(Clone, Debug, Default)]
pub struct ContainerFilter {
    /// Only this one.
    pub id: String,
    /// Those of this pod.
    pub pod: String,
    /// Those in this state.
    pub state: Option<ContainerState>,
    /// Those with all of these labels.
    pub labels: Vec<(String, String)>,
}

/// A pod or a container in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// As requested.
    pub labels: BTreeMap<String, String>,
}

/// `ListPodSandbox`.
///
/// # Panics
/// When the CRI does not say.
pub fn pods(node: &Node, filter: &PodFilter) -> Vec<Listed> {
    let mut asked = Message::new().bytes(1, &filter.id);
    if let Some(ready) = filter.ready {
        asked = asked.message(2, Message::new().number(1, (!ready).into()));
    }
    let answer = list(node, "ListPodSandbox", labelled(asked, 3, &filter.labels));
    fields(&answer).all(1).map(|one| listed(&fields(one), 2, 5)).collect()
}

/// `ListContainers`: without the sandbox containers.
///
/// # Panics
/// When the CRI does not say.
pub fn containers(node: &Node, filter: &ContainerFilter) -> Vec<Listed> {
    let mut asked = Message::new().bytes(1, &filter.id).bytes(3, &filter.pod);
    if let Some(state) = filter.state {
        asked = asked.message(2, Message::new().number(1, state.number()));
    }
    let answer = list(node, "ListContainers", labelled(asked, 4, &filter.labels));
    fields(&answer).all(1).map(|one| listed(&fields(one), 3, 8)).collect()
}

/// Adds a `label_selector`.
pub(super) fn labelled(mut filter: Message, field: u32, labels: &[(String, String)]) -> Message {
    for (key, value) in labels {
        filter = filter.entry(field, key, value);
    }
    filter
}

/// Asks for a list by a filter.
pub(super) fn list(node: &Node, method: &str, filter: Message) -> Vec<u8> {
    let answer = runtime(node, method, Message::new().message(1, filter));
    answer.unwrap_or_else(|status| panic!("{method}: {status}"))
}

fn listed(one: &Fields<'_>, metadata: u32, labels: u32) -> Listed {
    Listed { id: text(one, 1), name: text(&fields(one.bytes(metadata)), 1), labels: map(one, labels) }
}
