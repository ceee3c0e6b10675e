//! Tests decisions, for single states and for sequences of them.

use super::*;

const START: u64 = 1000;

fn keys() -> Keys {
    Keys {
        handler: "catamaran".into(),
        ready: "c/ready".into(),
        version: "c/version".into(),
        taint: Some("c/taint".into()),
    }
}

fn node(labels: &[(&str, &str)]) -> Node {
    Node {
        name: "a".into(),
        uid: "1".into(),
        labels: labels.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect(),
        handlers: vec![String::new(), "catamaran".into()],
        ..Node::default()
    }
}

fn labelled() -> Node {
    node(&[("c/ready", "true"), ("c/version", "1")])
}

fn with_handlers(mut node: Node, handlers: &[&str]) -> Node {
    node.handlers = handlers.iter().map(|handler| (*handler).into()).collect();
    node
}

fn with_taints(mut node: Node, taints: &[&str]) -> Node {
    node.taints = taints.iter().map(|taint| (*taint).into()).collect();
    node
}

fn installer(is_ready: bool) -> Installer {
    Installer { pod: "p".into(), node: "a".into(), is_ready, version: Some("1".into()), created: 1 }
}

/// Returns the time `seconds` after `start`.
fn at(start: Instant, seconds: u64) -> Instant {
    start + Duration::from_secs(seconds)
}

/// Returns the changed labels, as "key=value" or "key-", and the indices of the removed taints.
fn changes(decision: &Decision) -> (Vec<String>, Vec<usize>) {
    let labels = decision.changes.iter().flat_map(|change| &change.labels).map(|(key, value)| match value {
        Some(value) => format!("{key}={value}"),
        None => format!("{key}-"),
    });
    (labels.collect(), decision.changes.iter().flat_map(|change| change.taints.clone()).collect())
}

struct Case {
    what: &'static str,
    mode: Mode,
    node: Node,
    installers: Vec<Installer>,
    /// How many seconds ago the node was last ready; None if it is seen for the first time.
    ready_before: Option<u64>,
    labels: &'static [&'static str],
    taints: &'static [usize],
    again_in: Option<u64>,
}

fn case(what: &'static str, mode: Mode, node: Node, installers: Vec<Installer>) -> Case {
    Case { what, mode, node, installers, ready_before: None, labels: &[], taints: &[], again_in: None }
}

const GONE: &[&str] = &["c/ready-", "c/version-"];
const SET: &[&str] = &["c/ready=true", "c/version=1"];

fn cases() -> Vec<Case> {
    use Mode::{Install, Uninstall, Unknown};
    let newer = |is_ready| Installer { pod: "q".into(), version: Some("2".into()), created: 2, ..installer(is_ready) };
    vec![
        Case { labels: SET, ..case("a ready node", Install, node(&[]), vec![installer(true)]) },
        case("one that has its labels", Install, labelled(), vec![installer(true)]),
        case("one without an installer", Install, node(&[]), vec![]),
        case("an installer that is not ready", Install, node(&[]), vec![installer(false)]),
        case("a handler that is not listed", Install, with_handlers(node(&[]), &["", "runc"]), vec![installer(true)]),
        Case {
            labels: SET,
            ..case("no handlers listed", Install, with_handlers(node(&[]), &[]), vec![installer(true)])
        },
        case("no handlers, not ready", Install, with_handlers(node(&[]), &[]), vec![installer(false)]),
        Case {
            labels: GONE,
            ready_before: Some(1),
            ..case("a handler that is gone", Install, with_handlers(labelled(), &["runc"]), vec![installer(true)])
        },
        Case {
            ready_before: Some(0),
            again_in: Some(120),
            ..case("unready just now", Install, labelled(), vec![installer(false)])
        },
        Case { ready_before: Some(119), again_in: Some(1), ..case("replaced for 119 s", Install, labelled(), vec![]) },
        Case { labels: GONE, ready_before: Some(120), ..case("gone for 120 s", Install, labelled(), vec![]) },
        Case {
            ready_before: Some(119),
            again_in: Some(1),
            ..case(
                "no handlers listed, unready for 119 s",
                Install,
                with_handlers(labelled(), &[]),
                vec![installer(false)],
            )
        },
        Case { again_in: Some(120), ..case("met with a label", Install, labelled(), vec![]) },
        Case { labels: &["c/ready-"], ..case("met with another word", Install, node(&[("c/ready", "yes")]), vec![]) },
        Case {
            labels: &["c/ready=true"],
            ..case("set by hand", Install, node(&[("c/ready", "no"), ("c/version", "1")]), vec![installer(true)])
        },
        Case {
            labels: &["c/version=1"],
            ..case(
                "a version by hand",
                Install,
                node(&[("c/ready", "true"), ("c/version", "x")]),
                vec![installer(true)],
            )
        },
        Case {
            labels: &["c/version-"],
            ..case("no version", Install, labelled(), vec![Installer { version: None, ..installer(true) }])
        },
        Case { labels: GONE, ready_before: Some(0), ..case("uninstall", Uninstall, labelled(), vec![installer(true)]) },
        Case { labels: GONE, ..case("uninstall, met first", Uninstall, labelled(), vec![]) },
        case("uninstall, nothing there", Uninstall, node(&[]), vec![installer(true)]),
        Case {
            ready_before: Some(20),
            again_in: Some(100),
            ..case("no mode, for a while", Unknown, labelled(), vec![installer(true)])
        },
        Case { labels: GONE, ready_before: Some(120), ..case("no mode", Unknown, labelled(), vec![installer(true)]) },
        case("no mode, never ready", Unknown, with_taints(node(&[]), &["c/taint"]), vec![installer(true)]),
        Case {
            labels: &["c/version=2"],
            ..case("two of an update, both ready", Install, labelled(), vec![newer(true), installer(true)])
        },
        case("two of an update, the older ready", Install, labelled(), vec![installer(true), newer(false)]),
        Case {
            labels: &["c/version=2"],
            ..case("two of an update, the newer ready", Install, labelled(), vec![installer(false), newer(true)])
        },
        case(
            "the installer of another node",
            Install,
            node(&[]),
            vec![Installer { node: "b".into(), ..installer(true) }],
        ),
        Case {
            labels: SET,
            taints: &[1],
            ..case(
                "a taint between others",
                Install,
                with_taints(node(&[]), &["x", "c/taint", "y"]),
                vec![installer(true)],
            )
        },
        Case {
            taints: &[0, 2],
            ..case("two effects", Install, with_taints(labelled(), &["c/taint", "x", "c/taint"]), vec![installer(true)])
        },
        case("a taint of others", Install, with_taints(labelled(), &["c/taint2", "c"]), vec![installer(true)]),
        case("a taint, not ready", Install, with_taints(node(&[]), &["c/taint"]), vec![installer(false)]),
        Case {
            ready_before: Some(20),
            again_in: Some(100),
            ..case(
                "a taint in the time of grace",
                Install,
                with_taints(labelled(), &["c/taint"]),
                vec![installer(false)],
            )
        },
        Case { labels: GONE, ..case("a taint, uninstall", Uninstall, with_taints(labelled(), &["c/taint"]), vec![]) },
    ]
}

#[test]
fn a_node_is_labelled_if_its_installer_and_kubelet_are_ready() {
    let start = Instant::now();
    let now = at(start, START);
    for case in cases() {
        let memory: Memory =
            case.ready_before.map(|before| ("1".to_owned(), Some(at(start, START - before)))).into_iter().collect();
        let decision = decide(&keys(), case.mode, std::slice::from_ref(&case.node), &case.installers, now, &memory);
        let (labels, taints) = changes(&decision);
        assert_eq!(
            (labels.as_slice(), taints.as_slice()),
            (&case.labels.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>()[..], case.taints),
            "{}",
            case.what
        );
        assert_eq!(decision.again_in, case.again_in.map(Duration::from_secs), "{}", case.what);
    }
}

#[test]
fn taints_are_left_alone_without_a_key() {
    let keys = Keys { taint: None, ..keys() };
    let nodes = [with_taints(labelled(), &["c/taint"])];
    let decision = decide(&keys, Mode::Install, &nodes, &[installer(true)], Instant::now(), &Memory::new());
    assert_eq!(decision.changes, []);
}

#[test]
fn the_grace_period_counts_from_the_last_time_that_the_node_was_ready() {
    let start = Instant::now();
    let nodes = [labelled()];
    let decide = |seconds, is_ready, memory: &Memory| {
        decide(&keys(), Mode::Install, &nodes, &[installer(is_ready)], at(start, seconds), memory)
    };
    let ready = decide(0, true, &Memory::new());
    let unready = decide(100, false, &ready.memory);
    let ready = decide(110, true, &unready.memory);
    let unready = decide(229, false, &ready.memory);
    assert_eq!(unready.changes, []);
    assert_eq!(changes(&decide(230, false, &unready.memory)).0, GONE);
}

#[test]
fn an_uninstallation_ends_the_grace_period() {
    let now = Instant::now();
    let nodes = [labelled()];
    let decide = |mode, memory: &Memory| decide(&keys(), mode, &nodes, &[installer(false)], now, memory);
    let uninstalled = decide(Mode::Uninstall, &Memory::from([("1".to_owned(), Some(now))]));
    // The node still has its labels, because the watch does not show the patch yet.
    assert_eq!(changes(&decide(Mode::Install, &uninstalled.memory)).0, GONE);
}

#[test]
fn a_deleted_node_is_forgotten_and_its_successor_begins_anew() {
    let now = Instant::now();
    let memory = Memory::from([("1".to_owned(), Some(now))]);
    let gone = decide(&keys(), Mode::Install, &[], &[installer(true)], now, &memory);
    assert_eq!((gone.changes.len(), gone.memory.len(), gone.again_in), (0, 0, None));
    let successor = Node { uid: "2".into(), ..node(&[("c/version", "1")]) };
    let decision = decide(&keys(), Mode::Install, &[successor], &[], now, &memory);
    assert_eq!(changes(&decision).0, ["c/version-"]);
    assert_eq!(decision.memory, Memory::from([("2".to_owned(), None)]));
}

#[test]
fn the_next_decision_is_due_when_the_first_grace_period_ends() {
    let start = Instant::now();
    let nodes = [labelled(), Node { name: "b".into(), uid: "2".into(), ..labelled() }];
    let memory = Memory::from([("1".to_owned(), Some(at(start, 50))), ("2".to_owned(), Some(at(start, 10)))]);
    let decision = decide(&keys(), Mode::Install, &nodes, &[], at(start, 100), &memory);
    assert_eq!(decision.again_in, Some(Duration::from_secs(30)));
}

#[test]
fn the_log_says_why() {
    let now = Instant::now();
    let why = |mode, node: Node, installers: &[Installer]| {
        decide(&keys(), mode, &[node], installers, now, &Memory::from([("1".to_owned(), None)])).changes.remove(0).why
    };
    assert_eq!(why(Mode::Install, node(&[]), &[installer(true)]), "ready, version 1");
    assert_eq!(why(Mode::Install, labelled(), &[]), "not ready: it has no installer");
    assert_eq!(why(Mode::Install, labelled(), &[installer(false)]), "not ready: its installer p is not ready");
    assert_eq!(why(Mode::Unknown, labelled(), &[]), "not ready: the mode cannot be read from the ConfigMap");
    let other = with_handlers(labelled(), &["runc"]);
    assert_eq!(why(Mode::Install, other, &[]), "not ready: its kubelet does not list the handler \"catamaran\"");
}
