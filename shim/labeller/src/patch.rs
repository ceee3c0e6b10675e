//! Makes the patches of a change.
//!
//! Labels use a JSON merge patch, which names two keys, leaves all others alone, and removes a key by null. Server-side apply could not
//! remove a key that somebody has set by hand: leaving a key out does not remove it while another manager owns it too.
//!
//! Taints use a JSON patch. For a merge patch and for server-side apply, taints are one atomic list: both would write back other taints as
//! we saw them some time ago. In the JSON patch, a test of the taint's place precedes each removal. If the list has changed, the API server
//! rejects the whole patch (422), and the next pass finds the new places. A test of the resource version would be as safe, but would fail
//! at each of the many changes of a starting node.

use json_patch::jsonptr::PointerBuf;
use json_patch::{PatchOperation, RemoveOperation, TestOperation};
use serde_json::{Value, json};

use crate::decide::Change;

/// Makes the patch of the labels. Returns None if no label changes.
pub(crate) fn of_labels(change: &Change) -> Option<Value> {
    (!change.labels.is_empty()).then(|| json!({"metadata": {"labels": change.labels}}))
}

/// Makes the patch that removes the taints with this key. Returns None if there are none.
pub(crate) fn of_taints(change: &Change, key: &str) -> Option<json_patch::Patch> {
    let mut operations = Vec::new();
    // In reverse order, so that the places of the remaining taints stay valid.
    for place in change.taints.iter().rev().map(usize::to_string) {
        let taint = PointerBuf::from_tokens(["spec", "taints", &place]);
        let path = PointerBuf::from_tokens(["spec", "taints", &place, "key"]);
        operations.push(PatchOperation::Test(TestOperation { path, value: Value::from(key) }));
        operations.push(PatchOperation::Remove(RemoveOperation { path: taint }));
    }
    (!operations.is_empty()).then_some(json_patch::Patch(operations))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn change(labels: &[(&str, Option<&str>)], taints: &[usize]) -> Change {
        let labels: BTreeMap<String, Option<String>> =
            labels.iter().map(|(key, value)| ((*key).into(), value.map(str::to_owned))).collect();
        Change { node: "a".into(), labels, taints: taints.to_vec(), why: String::new() }
    }

    #[test]
    fn labels_of_others_stay() {
        let mut node = json!({"metadata": {"labels": {"kubernetes.io/hostname": "a", "c/version": "1"}}});
        let patch = of_labels(&change(&[("c/ready", Some("true")), ("c/version", None)], &[])).unwrap();
        json_patch::merge(&mut node, &patch);
        assert_eq!(node, json!({"metadata": {"labels": {"kubernetes.io/hostname": "a", "c/ready": "true"}}}));
        assert_eq!(of_labels(&change(&[], &[1])), None);
    }

    #[test]
    fn taints_of_others_stay_whole_and_in_order() {
        let other = |key: &str| json!({"key": key, "effect": "NoSchedule", "fieldOfALaterVersion": {"a": 1}});
        let ours = json!({"key": "c/taint", "effect": "NoExecute"});
        let mut node = json!({"spec": {"taints": [ours, other("x"), ours, other("b")]}});
        json_patch::patch(&mut node, &of_taints(&change(&[], &[0, 2]), "c/taint").unwrap()).unwrap();
        assert_eq!(node, json!({"spec": {"taints": [other("x"), other("b")]}}));
        assert_eq!(of_taints(&change(&[("c/ready", None)], &[]), "c/taint"), None);
    }

    #[test]
    fn a_patch_of_taints_fails_if_the_list_has_changed() {
        let patch = of_taints(&change(&[], &[0]), "c/taint").unwrap();
        for taints in [json!([{"key": "x"}, {"key": "c/taint"}]), json!([]), json!(null)] {
            let mut node = json!({"spec": {"taints": taints}});
            let before = node.clone();
            assert!(json_patch::patch(&mut node, &patch).is_err(), "{before}");
            assert_eq!(node, before);
        }
    }
}
