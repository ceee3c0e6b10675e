//! The texts about an uninstallation: its progress, and why it is not done.

use super::{Node, Nodes, Progress, Settings};
use crate::error::Error;

const GONE: &str = "its installer is gone, and has no successor yet";

/// The mode in the ConfigMap after an uninstallation that not all nodes completed.
pub(super) enum Mode {
    /// It is install again.
    Back,
    NotBack(Error),
    /// No node refused.
    Stays,
}

pub(super) fn to_uninstall(nodes: usize) -> String {
    let nodes = if nodes == 1 { "1 node is".to_owned() } else { format!("{nodes} nodes are") };
    format!("{nodes} to uninstall. A kubelet takes up to two minutes to tell its installer")
}

/// The progress without the node's own message, which comes at the end.
pub(super) fn short(progress: &Progress) -> &str {
    match progress {
        Progress::Waiting(why) => why,
        Progress::Uninstalled => "uninstalled",
        Progress::Refused(_) => "refused",
        Progress::Failed(_) => "failed",
        Progress::Gone => GONE,
    }
}

/// The nodes that have not uninstalled, with their messages and the remedy.
pub(super) fn not_uninstalled(nodes: &Nodes, settings: &Settings, mode: &Mode) -> String {
    let (mut refused, mut failed, mut open) = (Vec::new(), Vec::new(), Vec::new());
    for node in nodes.values() {
        match &node.progress {
            Progress::Uninstalled => {}
            Progress::Gone => open.push(line(node, GONE)),
            Progress::Refused(words) => refused.push(line(node, words)),
            Progress::Failed(words) => failed.push(line(node, words)),
            Progress::Waiting(why) => open.push(line(node, why)),
        }
    }
    let late = format!("These nodes have not uninstalled after {} s:", settings.timeout.as_secs());
    let sections = [("These nodes refuse:", refused), ("It failed on these nodes:", failed), (late.as_str(), open)];
    let mut text = "not uninstalled".to_owned();
    for (title, mut lines) in sections {
        lines.sort();
        if !lines.is_empty() {
            text.push_str(&format!("\n{title}{}", lines.concat()));
        }
    }
    text.push_str(&remedy(settings, mode));
    text
}

fn line(node: &Node, words: &str) -> String {
    let words = words.trim().replace('\n', "\n    ");
    format!("\n  {} (pod {}): {words}", node.installer.node, node.installer.pod)
}

fn remedy(settings: &Settings, mode: &Mode) -> String {
    match mode {
        Mode::Back => "\nThe mode is \"install\" again: these nodes stay as they are, and those that had uninstalled install again.\n  \
             What to do: end the pods that use the handler, then uninstall again; or uninstall with the mode uninstall-force, \
             which leaves such pods running without exec and deletion"
            .to_owned(),
        Mode::NotBack(e) => format!(
            "\nThe mode could not be written back to \"install\": {e}\n  \
             What to do: write it into the ConfigMap by hand, or these nodes uninstall as soon as their pods have ended"
        ),
        Mode::Stays => format!(
            "\nThe mode stays {:?}, and these nodes go on trying.\n  What to do: look at these pods, then uninstall again, with a \
             longer time-out if need be. A node that is gone for good is deleted with `kubectl delete node`. To keep \
             Catamaran, write the mode \"install\" into the ConfigMap",
            settings.mode.word()
        ),
    }
}
