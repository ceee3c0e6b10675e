//! Tests the labeller with the real client, against a fake API server in this process.

use std::cell::{Cell, RefCell};

use serde_json::{Value, json};

use super::*;
use crate::decide::GRACE;
use crate::fake_api::FakeApi;

const PODS: &str = "namespaces/ns/pods";
const MAPS: &str = "namespaces/ns/configmaps";
/// The log's names for the three watches.
const SUBJECTS: [&str; 3] = ["the nodes: ", "the installers' pods: ", "the ConfigMap ns/mode: "];
/// How long to wait for an event that must not happen: many checks of all nodes.
const MOMENT: Duration = Duration::from_millis(400);

/// The environment of a labeller that runs while a story is told.
struct Story {
    api: FakeApi,
    health: Health,
    /// How far the labeller's clock is ahead of the real one.
    ahead: Cell<Duration>,
    said: RefCell<Vec<String>>,
}

impl Story {
    async fn begin() -> Self {
        let api = FakeApi::start().await;
        let (health, ahead, said) = (Health::default(), Cell::default(), RefCell::default());
        Self { api, health, ahead, said }
    }

    /// Runs the labeller and the story, until the story ends.
    async fn tell(&self, story: impl AsyncFnOnce(&FakeApi)) {
        let settings = Settings {
            namespace: "ns".into(),
            selector: "app=installer".into(),
            config_map: "mode".into(),
            keys: Keys {
                handler: "catamaran".into(),
                ready: "c/ready".into(),
                version: "c/version".into(),
                taint: Some("c/taint".into()),
            },
            pass_every: Duration::from_millis(20),
        };
        let client = self.api.client();
        let say = |words: &str| self.said.borrow_mut().push(words.to_owned());
        let mut log = Log::new(&say);
        let now = || Instant::now() + self.ahead.get();
        tokio::select! {
            () = run(client, &settings, &self.health, now, &mut log) => unreachable!("it never ends"),
            () = story(&self.api) => (),
        }
    }

    fn said(&self) -> Vec<String> {
        self.said.borrow().clone()
    }
}

async fn until(what: &str, is: impl Fn() -> bool) {
    for _ in 0..1000 {
        if is() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{what}: not within 20 s");
}

fn node(name: &str, handlers: &[&str], taints: &Value) -> Value {
    let handlers: Vec<Value> = handlers.iter().map(|name| json!({"name": name})).collect();
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "spec": {"taints": taints},
        "status": {"runtimeHandlers": handlers, "images": [{"names": ["an/image"], "sizeBytes": 1}]},
    })
}

fn pod(name: &str, node: &str, version: &str, ready: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "ns", "labels": {"app": "installer", "app.kubernetes.io/version": version}},
        "spec": {"nodeName": node, "containers": []},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]},
    })
}

fn map(mode: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "mode", "namespace": "ns"}, "data": {"mode": mode}})
}

fn labels(api: &FakeApi) -> Value {
    api.get("nodes", "a")["metadata"]["labels"].clone()
}

fn bare() -> Value {
    json!({"kubernetes.io/hostname": "a"})
}

fn labelled(version: &str) -> Value {
    json!({"kubernetes.io/hostname": "a", "c/ready": "true", "c/version": version})
}

#[tokio::test]
async fn a_node_is_labelled_unlabelled_and_relabelled_as_its_installer_changes() {
    let story = Story::begin().await;
    let taint = |key: &str| json!({"key": key, "effect": "NoSchedule", "fieldOfALaterVersion": true});
    story.api.put(MAPS, map("install"));
    story.api.put("nodes", node("a", &[""], &json!([taint("x"), taint("c/taint"), taint("b")])));
    story.api.put("nodes", node("b", &["", "catamaran"], &json!([taint("c/taint")])));
    story.api.put(PODS, pod("p", "a", "1", "False"));
    // A ready pod that the selector does not match.
    let mut other = pod("q", "b", "9", "True");
    other["metadata"]["labels"]["app"] = json!("web");
    story.api.put(PODS, other);
    story
        .tell(async |api| {
            until("a first look", || story.health.is_ready()).await;
            // The pod becomes ready before the kubelet has read containerd's new configuration.
            api.put(PODS, pod("p", "a", "1", "True"));
            tokio::time::sleep(MOMENT).await;
            assert_eq!((labels(api), api.patches()), (bare(), vec![]));
            api.merge("nodes", "a", &json!({"status": {"runtimeHandlers": [{"name": ""}, {"name": "catamaran"}]}}));
            until("the taint is lifted", || api.get("nodes", "a")["spec"]["taints"] == json!([taint("x"), taint("b")]))
                .await;
            assert_eq!(labels(api), labelled("1"));

            // Nothing differs, so no patch is sent.
            tokio::time::sleep(MOMENT).await;
            assert_eq!(api.patches().len(), 2);

            api.merge("nodes", "a", &json!({"metadata": {"labels": {"c/ready": "perhaps", "other": "label"}}}));
            let with_other = |mut labels: Value| {
                labels["other"] = json!("label");
                labels
            };
            until("what was set by hand is set right", || labels(api) == with_other(labelled("1"))).await;

            api.put(PODS, pod("p", "a", "1", "False"));
            tokio::time::sleep(MOMENT).await;
            story.ahead.set(GRACE - Duration::from_secs(10));
            tokio::time::sleep(MOMENT).await;
            assert_eq!(labels(api), with_other(labelled("1")));
            story.ahead.set(GRACE);
            until("the labels go", || labels(api) == with_other(bare())).await;

            api.put(PODS, pod("p2", "a", "2", "True"));
            until("another installer", || labels(api) == with_other(labelled("2"))).await;
            api.delete(PODS, "p");
            api.put(MAPS, map("uninstall"));
            until("the mode", || labels(api) == with_other(bare())).await;
            api.put(MAPS, map("install"));
            until("back", || labels(api) == with_other(labelled("2"))).await;
            api.delete("nodes", "a");
            tokio::time::sleep(MOMENT).await;
            assert_eq!(api.patches().len(), 7);
            // The other node has no installer.
            assert_eq!(api.get("nodes", "b")["spec"]["taints"], json!([taint("c/taint")]));
        })
        .await;
    assert_eq!(
        story.said(),
        [
            "the mode is install: nodes are labelled as they become ready",
            "node a: ready, version 1; its startup taint is lifted",
            "node a: ready, version 1",
            "node a: not ready: its installer p is not ready",
            "node a: ready, version 2",
            "the mode is uninstall: the nodes lose their labels",
            "node a: not ready: the mode is uninstall",
            "the mode is install: nodes are labelled as they become ready",
            "node a: ready, version 2",
        ]
    );
}

#[tokio::test]
async fn the_labeller_reconnects_to_a_restarted_api_server() {
    let story = Story::begin().await;
    story.api.put(MAPS, map("install"));
    story.api.put("nodes", node("a", &[], &json!(null)));
    story.api.put(PODS, pod("p", "a", "1", "True"));
    story
        .tell(async |api| {
            until("labelled", || labels(api) == labelled("1")).await;
            api.stop().await;
            // The installer is replaced while no watch can report it.
            api.delete(PODS, "p");
            api.put(PODS, pod("p2", "a", "2", "True"));
            tokio::time::sleep(Duration::from_secs(3)).await;
            api.start_again().await;
            until("labelled anew", || labels(api) == labelled("2")).await;
            let is_well = |subject: &str| story.said().contains(&format!("{subject}well again"));
            until("all three watches go on", || SUBJECTS.iter().all(|subject| is_well(subject))).await;
            assert_eq!(api.patches().len(), 2);
        })
        .await;
    let said = story.said();
    for subject in SUBJECTS {
        let of_subject: Vec<&String> = said.iter().filter(|words| words.starts_with(subject)).collect();
        let (last, troubles) = of_subject.split_last().unwrap();
        assert_eq!(last.as_str(), format!("{subject}well again"));
        // The broken watch and the refused connection are logged once each, although the client retried for three seconds.
        assert!((1..=2).contains(&troubles.len()), "{said:#?}");
        assert!(troubles.last().unwrap().contains("Connection refused"), "{said:#?}");
    }
}

#[tokio::test]
async fn a_patched_node_is_not_patched_again_before_its_watch_shows_it() {
    let story = Story::begin().await;
    story.api.put(MAPS, map("install"));
    story.api.put("nodes", node("a", &[], &json!([{"key": "c/taint", "effect": "NoSchedule"}])));
    story.api.silence("nodes");
    story
        .tell(async |api| {
            until("a first look", || story.health.is_ready()).await;
            api.put(PODS, pod("p", "a", "1", "True"));
            until("the taint is lifted", || api.patches().len() >= 2).await;
            tokio::time::sleep(MOMENT).await;
            assert_eq!(api.patches().len(), 2);
        })
        .await;
    assert_eq!(story.said().len(), 2, "{:?}", story.said());
}

#[tokio::test]
async fn a_missing_right_is_logged_once_and_keeps_the_labeller_unready() {
    let story = Story::begin().await;
    story.api.put(MAPS, map("install"));
    story.api.put("nodes", node("a", &["catamaran"], &json!(null)));
    story.api.put(PODS, pod("p", "a", "1", "True"));
    story.api.refuse_patches(Some(("/api/v1/nodes/", 403)));
    story
        .tell(async |api| {
            until("a refusal", || story.said().len() == 2).await;
            tokio::time::sleep(MOMENT).await;
            assert!(!story.health.is_ready());
            api.refuse_patches(None);
            until("labelled", || labels(api) == labelled("1")).await;
            until("ready", || story.health.is_ready()).await;
        })
        .await;
    assert_eq!(
        story.said()[1..],
        [
            "node a: its labels cannot be changed: patches are refused (403); what to do: give the service account this right, \
             as the chart's Role and ClusterRole do",
            "node a: well again",
            "node a: ready, version 1",
        ]
    );
}

#[tokio::test]
async fn a_missing_config_map_makes_no_node_ready() {
    let story = Story::begin().await;
    story.api.put("nodes", node("a", &["catamaran"], &json!(null)));
    story.api.put(PODS, pod("p", "a", "1", "True"));
    story
        .tell(async |api| {
            until("a first look", || story.health.is_ready()).await;
            tokio::time::sleep(MOMENT).await;
            assert_eq!(labels(api), bare());
            api.put(MAPS, map("instal"));
            until("a wrong word", || story.said().len() == 2).await;
        })
        .await;
    let said = story.said();
    assert!(said[0].starts_with("there is no ConfigMap mode: "), "{said:?}");
    assert!(said[1].starts_with("the ConfigMap mode has no mode in its key \"mode\" (expected install, "), "{said:?}");
}

#[tokio::test]
async fn a_patch_of_taints_that_have_changed_is_not_applied() {
    let api = FakeApi::start().await;
    api.put(
        "nodes",
        node("a", &[], &json!([{"key": "x", "effect": "NoSchedule"}, {"key": "c/taint", "effect": "NoSchedule"}])),
    );
    // The change was decided before the node got the other taint.
    let change = Change { node: "a".into(), labels: BTreeMap::new(), taints: vec![0], why: String::new() };
    let patched = apply(&Api::all(api.client()), &change, Some("c/taint")).await;
    assert!(matches!(patched, Patched::Failed(_)));
    assert_eq!(api.get("nodes", "a")["spec"]["taints"].as_array().unwrap().len(), 2);
    let gone = Change { node: "gone".into(), ..change };
    assert!(matches!(apply(&Api::all(api.client()), &gone, Some("c/taint")).await, Patched::Gone));
}
