//! The manifests that users begin with: a namespace of the Pod Security level `restricted` admits them, and a server ends after its
//! Services have stopped sending to it. Needs neither root nor containerd.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use std::fs;
use std::path::Path;

use catamaran_harness::Example;
use serde::Deserialize;
use serde_yaml::Value;

/// The first port that needs no capability.
const FIRST_FREE_PORT: u64 = 1024;

/// The YAML documents in a text.
fn documents(text: &str) -> Vec<Value> {
    serde_yaml::Deserializer::from_str(text).map(|one| Value::deserialize(one).unwrap()).collect()
}

/// Checks the level's rules for a pod: <https://kubernetes.io/docs/concepts/security/pod-security-standards>.
fn expect_restricted(place: &str, pod: &Value) {
    let containers = pod["containers"].as_sequence().unwrap_or_else(|| panic!("{place}: containers"));
    assert!(!containers.is_empty(), "{place}");
    for container in containers {
        let context = &container["securityContext"];
        assert_eq!(context["allowPrivilegeEscalation"], Value::Bool(false), "{place}");
        assert_eq!(context["runAsNonRoot"], Value::Bool(true), "{place}");
        assert!(
            context["runAsUser"].as_u64().is_some_and(|user| user > 0),
            "{place}: a user, since no image names one"
        );
        assert_eq!(context["capabilities"], serde_yaml::from_str::<Value>("drop: [ALL]").unwrap(), "{place}");
        assert_eq!(context["seccompProfile"]["type"], "RuntimeDefault", "{place}");
        for port in container["ports"].as_sequence().into_iter().flatten() {
            assert!(port["containerPort"].as_u64().is_some_and(|port| port >= FIRST_FREE_PORT), "{place}: {port:?}");
        }
    }
    let kinds = ["configMap", "emptyDir", "secret", "projected", "downwardAPI", "persistentVolumeClaim"];
    for volume in pod["volumes"].as_sequence().into_iter().flatten() {
        assert!(kinds.iter().any(|kind| volume.get(kind).is_some()), "{place}: {volume:?}");
    }
}

fn expect_pre_stop(place: &str, pod: &Value) {
    for container in pod["containers"].as_sequence().unwrap() {
        let sleep = &container["lifecycle"]["preStop"]["sleep"]["seconds"];
        assert_eq!(sleep.as_u64(), Some(3), "{place}: a server");
    }
}

#[test]
fn each_example_is_admitted_by_a_restricted_namespace_and_its_servers_wait_before_they_stop() {
    let mut servers = 0;
    let all = Example::all();
    assert!(all.len() >= 7, "{all:?}");
    for name in all {
        let place = format!("examples/{name}/pod.yaml");
        let documents = documents(&Example::open(&name).pod());
        let pods: Vec<_> = documents.iter().filter(|document| document["kind"] == "Pod").collect();
        assert!(!pods.is_empty(), "{place}");
        for pod in pods {
            expect_restricted(&place, &pod["spec"]);
            // A pod to which a Service sends connections.
            if documents.iter().any(|document| document["kind"] == "Service") {
                expect_pre_stop(&place, &pod["spec"]);
                servers += 1;
            }
        }
    }
    assert!(servers >= 5, "{servers} servers");
}

#[test]
fn the_pod_of_the_guide_to_kubernetes_is_admitted_too() {
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/kubernetes.md");
    let page = fs::read_to_string(&place).unwrap();
    let mut pods = 0;
    for block in page.split("```yaml\n").skip(1) {
        for document in documents(block.split("```").next().unwrap()) {
            if document["kind"] == "Pod" {
                expect_restricted("docs/kubernetes.md", &document["spec"]);
                expect_pre_stop("docs/kubernetes.md", &document["spec"]);
                pods += 1;
            }
        }
    }
    assert_eq!(pods, 1);
}
