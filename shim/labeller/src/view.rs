//! The parts of nodes and pods that are used here.

use k8s_openapi::api::core::v1 as api;

use crate::wish::{Keys, Mode};

/// The label with the version of a pod's content.
const VERSION: &str = "app.kubernetes.io/version";
/// The ConfigMap's key with the mode.
pub(crate) const MODE: &str = "mode";

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) uid: String,
    /// The resource version of the last seen change.
    pub(crate) version: u64,
    /// Those of our two labels that the node has.
    pub(crate) labels: Vec<(String, String)>,
    /// The keys of the taints, in the node's order.
    pub(crate) taints: Vec<String>,
    /// The names of the handlers; empty if the kubelet does not list them.
    pub(crate) handlers: Vec<String>,
}

impl Node {
    pub(crate) fn new(node: &api::Node, keys: &Keys) -> Self {
        let labels = node.metadata.labels.iter().flatten();
        let taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
        let handlers = node.status.iter().flat_map(|status| status.runtime_handlers.iter().flatten());
        Self {
            name: node.metadata.name.clone().unwrap_or_default(),
            uid: node.metadata.uid.clone().unwrap_or_default(),
            version: version(&node.metadata),
            labels: labels
                .filter(|(key, _)| [&keys.ready, &keys.version].contains(key))
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect(),
            taints: taints.map(|taint| taint.key.clone()).collect(),
            // The default handler's name is empty.
            handlers: handlers.map(|handler| handler.name.clone().unwrap_or_default()).collect(),
        }
    }

    pub(crate) fn label(&self, key: &str) -> Option<&str> {
        self.labels.iter().find(|(found, _)| found == key).map(|(_, value)| value.as_str())
    }
}

/// Returns the resource version, which grows with each change of any object; 0 if it is not a number.
pub(crate) fn version(metadata: &kube::core::ObjectMeta) -> u64 {
    metadata.resource_version.as_deref().and_then(|version| version.parse().ok()).unwrap_or(0)
}

/// An installer's pod that is on a node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Installer {
    pub(crate) pod: String,
    pub(crate) node: String,
    /// Whether the pod is ready and is not being deleted. A pod that is being deleted is no longer probed.
    pub(crate) is_ready: bool,
    pub(crate) version: Option<String>,
    /// The time of creation, in seconds since 1970.
    pub(crate) created: i64,
}

impl Installer {
    /// Reads a pod. Returns None if it is on no node, or has ended for good.
    pub(crate) fn new(pod: &api::Pod) -> Option<Self> {
        let node = pod.spec.as_ref()?.node_name.clone().filter(|node| !node.is_empty())?;
        let status = pod.status.as_ref();
        if matches!(status.and_then(|status| status.phase.as_deref()), Some("Failed" | "Succeeded")) {
            return None;
        }
        let conditions = status.and_then(|status| status.conditions.as_ref());
        let says_ready = conditions.into_iter().flatten().any(|it| it.type_ == "Ready" && it.status == "True");
        Some(Self {
            pod: pod.metadata.name.clone().unwrap_or_default(),
            node,
            is_ready: says_ready && pod.metadata.deletion_timestamp.is_none(),
            version: pod.metadata.labels.as_ref().and_then(|labels| labels.get(VERSION).cloned()),
            created: pod.metadata.creation_timestamp.as_ref().map_or(0, |time| time.0.as_second()),
        })
    }
}

/// Returns the mode in the ConfigMap.
pub(crate) fn mode(map: Option<&api::ConfigMap>) -> Mode {
    Mode::parse(map.and_then(|map| map.data.as_ref()?.get(MODE)).map(String::as_str))
}

/// Drops the unused fields, which are most of a node: it lists its images.
pub(crate) fn trim_node(node: &mut api::Node) {
    trim(&mut node.metadata);
    if let Some(spec) = node.spec.take() {
        node.spec = Some(api::NodeSpec { taints: spec.taints, ..Default::default() });
    }
    if let Some(status) = node.status.take() {
        node.status = Some(api::NodeStatus { runtime_handlers: status.runtime_handlers, ..Default::default() });
    }
}

pub(crate) fn trim_pod(pod: &mut api::Pod) {
    trim(&mut pod.metadata);
    if let Some(spec) = pod.spec.take() {
        pod.spec = Some(api::PodSpec { node_name: spec.node_name, ..Default::default() });
    }
    if let Some(status) = pod.status.take() {
        let api::PodStatus { phase, conditions, .. } = status;
        pod.status = Some(api::PodStatus { phase, conditions, ..Default::default() });
    }
}

pub(crate) fn trim_map(map: &mut api::ConfigMap) {
    trim(&mut map.metadata);
}

fn trim(metadata: &mut kube::core::ObjectMeta) {
    metadata.managed_fields = None;
    metadata.annotations = None;
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json};

    use super::*;

    fn keys() -> Keys {
        Keys { handler: "catamaran".into(), ready: "c/ready".into(), version: "c/version".into(), taint: None }
    }

    #[test]
    fn trimming_a_node_keeps_every_field_that_is_used() {
        let mut node: api::Node = from_value(json!({
            "metadata": {"name": "a", "uid": "1", "resourceVersion": "7", "annotations": {"x": "y"},
                "labels": {"kubernetes.io/hostname": "a", "c/ready": "true"}},
            "spec": {"podCIDR": "10.0.0.0/24", "taints": [{"key": "z", "effect": "NoSchedule"}, {"key": "b", "effect": "NoExecute"}]},
            "status": {"images": [{"names": ["i"]}], "runtimeHandlers": [{"name": ""}, {"name": "catamaran", "features": {}}]},
        }))
        .unwrap();
        let before = Node::new(&node, &keys());
        trim_node(&mut node);
        assert_eq!(Node::new(&node, &keys()), before);
        assert!(node.metadata.annotations.is_none() && node.status.unwrap().images.is_none());
        assert_eq!(before.labels, [("c/ready".to_owned(), "true".to_owned())]);
        assert_eq!(before.version, 7);
        assert_eq!(
            (before.taints, before.handlers),
            (vec!["z".to_owned(), "b".to_owned()], vec![String::new(), "catamaran".to_owned()])
        );
    }

    #[test]
    fn an_installer_is_ready_unless_it_is_being_deleted() {
        let pod = |deleted: Option<&str>, phase: &str, ready: &str, node: Option<&str>| -> api::Pod {
            from_value(json!({
                "metadata": {"name": "p", "labels": {"app.kubernetes.io/version": "1"}, "deletionTimestamp": deleted, "creationTimestamp": "1970-01-01T00:00:09Z"},
                "spec": {"nodeName": node, "containers": []},
                "status": {"phase": phase, "conditions": [{"type": "Initialized", "status": "True"}, {"type": "Ready", "status": ready}]},
            }))
            .unwrap()
        };
        let now = Some("2026-11-29T00:00:00Z");
        for (pod, is_ready) in [
            (pod(None, "Running", "True", Some("a")), Some(true)),
            (pod(None, "Running", "False", Some("a")), Some(false)),
            (pod(now, "Running", "True", Some("a")), Some(false)),
            (pod(None, "Pending", "True", None), None),
            (pod(None, "Failed", "True", Some("a")), None),
        ] {
            let mut trimmed = pod.clone();
            trim_pod(&mut trimmed);
            assert_eq!(Installer::new(&trimmed), Installer::new(&pod));
            assert_eq!(Installer::new(&pod).map(|installer| installer.is_ready), is_ready, "{pod:?}");
        }
        let installer = Installer::new(&pod(None, "Running", "True", Some("a"))).unwrap();
        assert_eq!((installer.version.as_deref(), installer.created), (Some("1"), 9));
    }

    #[test]
    fn every_word_but_the_three_modes_is_unknown() {
        let map = |data| from_value(json!({"metadata": {"name": "m"}, "data": data})).unwrap();
        for (data, expected) in [
            (json!({"mode": "install"}), Mode::Install),
            (json!({"mode": " uninstall\n"}), Mode::Uninstall),
            (json!({"mode": "uninstall-force"}), Mode::Uninstall),
            (json!({"mode": "Install"}), Mode::Unknown),
            (json!({"mode": ""}), Mode::Unknown),
            (json!({"other": "install"}), Mode::Unknown),
            (json!(null), Mode::Unknown),
        ] {
            assert_eq!(mode(Some(&map(data.clone()))), expected, "{data}");
        }
        assert_eq!(mode(None), Mode::Unknown);
    }
}
