//! Decides which nodes to change. The decision is a function of the observed objects, the time, and when each node was last ready.
//!
//! | mode | the installer's pod | the kubelet's handlers | labels |
//! |---|---|---|---|
//! | install | ready | lists ours, or none at all | set, and the taint lifted |
//! | install | not ready, or none | lists ours, or none at all | left as they are for [`GRACE`], then removed |
//! | install | any | lists others only | removed |
//! | uninstall | any | any | removed |
//! | cannot be read | any | any | as with an installer that is not ready |
//!
//! A kubelet before Kubernetes 1.31 lists no handlers unless a feature gate is on, so an empty list does not count against a node.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::view::{Installer, Node};
use crate::wish::{Keys, Mode};

/// The grace period: how long a node keeps its labels without a ready installer. Longer than replacing an installer's pod takes.
pub(crate) const GRACE: Duration = Duration::from_secs(120);
/// The ready label's value. A node that is not ready has no such label.
pub(crate) const READY: &str = "true";

/// When each node was last ready, by its UID, so that a node recreated under an old name starts anew. None for a node that is not ready and
/// has no grace period left.
pub(crate) type Memory = BTreeMap<String, Option<Instant>>;

/// The change of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) node: String,
    /// The labels that differ; None removes the label.
    pub(crate) labels: BTreeMap<String, Option<String>>,
    /// The indices of the taints to lift, in the node's order.
    pub(crate) taints: Vec<usize>,
    /// The reason for the change, for the log.
    pub(crate) why: String,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) changes: Vec<Change>,
    pub(crate) memory: Memory,
    /// When to decide again even without a change: when the first grace period ends.
    pub(crate) again_in: Option<Duration>,
}

/// The decision about a node.
enum Verdict<'i> {
    Ready(&'i Installer),
    Unready(String),
    /// Keeps its labels until the grace period ends.
    Kept {
        until: Instant,
    },
}

/// Decides about all nodes.
pub(crate) fn decide(
    keys: &Keys,
    mode: Mode,
    nodes: &[Node],
    installers: &[Installer],
    now: Instant,
    memory: &Memory,
) -> Decision {
    let installers = by_node(installers);
    let mut decision = Decision { changes: Vec::new(), memory: Memory::new(), again_in: None };
    for node in nodes {
        // A node that is seen for the first time (as all nodes are after a restart) counts as ready until now if it has the label.
        let says_so = node.label(&keys.ready) == Some(READY);
        let last = memory.get(&node.uid).copied().unwrap_or_else(|| says_so.then_some(now));
        let verdict = judge(keys, mode, node, installers.get(node.name.as_str()).copied(), now, last);
        let last = match verdict {
            Verdict::Ready(_) => Some(now),
            Verdict::Unready(_) => None,
            Verdict::Kept { until } => {
                let left = until.saturating_duration_since(now);
                decision.again_in = Some(decision.again_in.map_or(left, |sooner: Duration| sooner.min(left)));
                last
            }
        };
        decision.memory.insert(node.uid.clone(), last);
        decision.changes.extend(change(keys, node, &verdict));
    }
    decision
}

/// Returns each node's installer. During an update a node may have two: a ready one wins, then the newer one.
fn by_node(installers: &[Installer]) -> BTreeMap<&str, &Installer> {
    let mut of_nodes: BTreeMap<&str, &Installer> = BTreeMap::new();
    for installer in installers {
        let rank = |installer: &Installer| (installer.is_ready, installer.created, installer.pod.clone());
        let counts = of_nodes.entry(&installer.node).or_insert(installer);
        if rank(installer) > rank(counts) {
            *counts = installer;
        }
    }
    of_nodes
}

fn judge<'i>(
    keys: &Keys,
    mode: Mode,
    node: &Node,
    installer: Option<&'i Installer>,
    now: Instant,
    last: Option<Instant>,
) -> Verdict<'i> {
    if mode == Mode::Uninstall {
        return Verdict::Unready("the mode is uninstall".to_owned());
    }
    if !node.handlers.is_empty() && !node.handlers.contains(&keys.handler) {
        return Verdict::Unready(format!("its kubelet does not list the handler {:?}", keys.handler));
    }
    let why = match (mode, installer) {
        (Mode::Install, Some(installer)) if installer.is_ready => return Verdict::Ready(installer),
        (Mode::Install, Some(installer)) => format!("its installer {} is not ready", installer.pod),
        (Mode::Install, None) => "it has no installer".to_owned(),
        _ => "the mode cannot be read from the ConfigMap".to_owned(),
    };
    match last.map(|last| last + GRACE) {
        Some(until) if now < until => Verdict::Kept { until },
        _ => Verdict::Unready(why),
    }
}

/// Returns the change that makes a node match its verdict, if any.
fn change(keys: &Keys, node: &Node, verdict: &Verdict<'_>) -> Option<Change> {
    let (ready, version, why) = match verdict {
        Verdict::Kept { .. } => return None,
        Verdict::Unready(why) => (None, None, format!("not ready: {why}")),
        Verdict::Ready(installer) => {
            let version = installer.version.as_deref();
            (Some(READY), version, format!("ready, version {}", version.unwrap_or("unknown")))
        }
    };
    let wanted = [(&keys.ready, ready), (&keys.version, version)];
    let labels: BTreeMap<String, Option<String>> = wanted
        .into_iter()
        .filter(|(key, value)| node.label(key) != *value)
        .map(|(key, value)| (key.clone(), value.map(str::to_owned)))
        .collect();
    let lifted = |(_, key): &(usize, &String)| ready.is_some() && Some(*key) == keys.taint.as_ref();
    let taints: Vec<usize> = node.taints.iter().enumerate().filter(lifted).map(|(place, _)| place).collect();
    let differs = !labels.is_empty() || !taints.is_empty();
    differs.then(|| Change { node: node.name.clone(), labels, taints, why })
}

#[cfg(test)]
mod tests;
