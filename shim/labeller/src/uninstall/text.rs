//! The texts about an uninstallation: the progress, and why it did not finish.

use super::{Node, Nodes, Progress, Settings};
use crate::error::Error;

const GONE: &str = "its installer is gone, and has no successor yet";

/// The mode in the ConfigMap after an uninstallation that did not finish on all nodes.
pub(super) enum Mode {
    /// The mode is install again.
    Back,
    /// The mode could not be set back, for this reason.
    NotBack(Error),
    /// The mode is still the one of the uninstallation.
    Stays,
}

pub(super) fn to_uninstall(nodes: usize) -> String {
    let nodes = if nodes == 1 { "1 node is".to_owned() } else { format!("{nodes} nodes are") };
    format!("{nodes} to uninstall. A kubelet takes up to two minutes to pass the mode on to its installer")
}

/// Returns the progress in words, without the node's own message, which the final text has.
pub(super) fn short(progress: &Progress) -> &str {
    match progress {
        Progress::Waiting(why) => why,
        Progress::Uninstalled => "uninstalled",
        Progress::Refused(_) => "refused",
        Progress::Failed(_) => "failed",
        Progress::Gone => GONE,
    }
}

/// Returns the final text: the nodes that have not uninstalled, their messages, and the remedy.
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
        Mode::Back => "\nThe mode is \"install\" again: the nodes above stay installed, and those that had uninstalled install again.\n  \
             What to do: end the pods that use the handler, then uninstall again; or uninstall with the mode uninstall-force, \
             which leaves such pods running without exec and deletion"
            .to_owned(),
        Mode::NotBack(e) => format!(
            "\nThe mode could not be set back to \"install\": {e}\n  \
             What to do: write \"install\" into the ConfigMap by hand; otherwise these nodes uninstall as soon as their pods have ended"
        ),
        Mode::Stays => format!(
            "\nThe mode stays {:?}, and these nodes go on trying.\n  What to do: look at the pods above, then uninstall again, with a \
             longer time-out if need be. If a node is gone for good, run `kubectl delete node`. To keep Catamaran, write \
             the mode \"install\" into the ConfigMap",
            settings.mode.word()
        ),
    }
}
