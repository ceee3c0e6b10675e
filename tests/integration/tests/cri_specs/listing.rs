//! Lists by filters.

use catamaran_harness::cri::{ContainerFilter, ContainerState, Listed, Pod, PodFilter, Shape, containers, pods};
use catamaran_harness::{Engine, Node};

use crate::{node, ready, to_its_end, wasm};

/// The names of the containers that pass a filter.
fn named(node: &Node, filter: ContainerFilter) -> Vec<String> {
    names(containers(node, &filter))
}

fn names(listed: Vec<Listed>) -> Vec<String> {
    let mut names: Vec<String> = listed.into_iter().map(|one| one.name).collect();
    names.sort();
    names
}

fn label(key: &str, value: &str) -> Vec<(String, String)> {
    vec![(key.to_owned(), value.to_owned())]
}

#[test]
fn containers_are_listed_by_id_pod_state_and_labels() {
    let node = node();
    let both = Engine::ALL.map(|engine| Pod::run(&node, engine.name(), Shape::on(engine)));
    let mut ids = Vec::new();
    for (pod, engine) in both.iter().zip(Engine::ALL) {
        let order = |name: &str| {
            let order =
                pod.order(&format!("{name}-{}", engine.name()), &wasm(if name == "ended" { "hello" } else { "sleep" }));
            order.label("app", name).label("engine", engine.name())
        };
        order("created").ready();
        ids.push(ready(order("running")).id().to_owned());
        to_its_end(order("ended"));
    }
    let all =
        ["created-wasmer", "created-wasmtime", "ended-wasmer", "ended-wasmtime", "running-wasmer", "running-wasmtime"];
    // No sandbox container is among them.
    assert_eq!(named(&node, ContainerFilter::default()), all);
    for (number, engine) in Engine::ALL.into_iter().enumerate() {
        let name = |what: &str| format!("{what}-{}", engine.name());
        let pod = ContainerFilter { pod: both[number].id().to_owned(), ..ContainerFilter::default() };
        assert_eq!(named(&node, pod.clone()), [name("created"), name("ended"), name("running")]);
        for (state, what) in [
            (ContainerState::Created, "created"),
            (ContainerState::Running, "running"),
            (ContainerState::Exited, "ended"),
        ] {
            let filter = ContainerFilter { state: Some(state), ..pod.clone() };
            assert_eq!(named(&node, filter), [name(what)]);
        }
        let id = ContainerFilter { id: ids[number].clone(), ..ContainerFilter::default() };
        assert_eq!(named(&node, id.clone()), [name("running")]);
        let labels = [label("app", "running"), label("engine", engine.name())].concat();
        let filter = ContainerFilter { labels, ..ContainerFilter::default() };
        assert_eq!(named(&node, filter), [name("running")]);
        // All fields of a filter must match.
        assert!(named(&node, ContainerFilter { labels: label("app", "ended"), ..id }).is_empty());
    }
    let nobody = ContainerFilter { labels: label("app", "other"), ..ContainerFilter::default() };
    assert!(named(&node, nobody).is_empty());
    both.into_iter().for_each(Pod::remove);
    assert!(named(&node, ContainerFilter::default()).is_empty());
    node.finish();
}

#[test]
fn pods_are_listed_by_id_state_and_labels() {
    let node = node();
    let both = Engine::ALL.map(|engine| {
        let shape = Shape::on(engine).label("engine", engine.name()).annotation("note", "mine");
        Pod::run(&node, engine.name(), shape)
    });
    let of = |filter: PodFilter| names(pods(&node, &filter));
    assert_eq!(of(PodFilter::default()), ["wasmer", "wasmtime"]);
    for (pod, engine) in both.iter().zip(Engine::ALL) {
        let id = PodFilter { id: pod.id().to_owned(), ..PodFilter::default() };
        assert_eq!(of(id.clone()), [engine.name()]);
        assert!(of(PodFilter { ready: Some(false), ..id }).is_empty());
        assert_eq!(of(PodFilter { labels: label("engine", engine.name()), ..PodFilter::default() }), [engine.name()]);
        let status = pod.status();
        assert_eq!((status.handler.as_str(), status.annotations["note"].as_str()), ("catamaran", "mine"));
        assert_eq!(status.labels["engine"], engine.name());
    }
    both[0].stop();
    assert_eq!(of(PodFilter { ready: Some(false), ..PodFilter::default() }), [Engine::ALL[0].name()]);
    assert_eq!(of(PodFilter { ready: Some(true), ..PodFilter::default() }), [Engine::ALL[1].name()]);
    both.into_iter().for_each(Pod::remove);
    assert!(of(PodFilter::default()).is_empty());
    node.finish();
}
