//! Tests uninstallations. The installers are HTTP servers in this process, each at its own address in 127.0.0.0/8.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::args::Place;
use crate::cluster::Kube;
use crate::fake_api::FakeApi;

/// An installer's answers, in order. The last one is repeated.
type Script = Arc<Mutex<VecDeque<String>>>;

fn says(mode: &str, state: &str, message: &str) -> String {
    json!({"mode": mode, "state": state, "message": message, "handler": "catamaran", "version": "1", "node_ready": false}).to_string()
}

async fn answer(listener: TcpListener, script: Script) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 1024];
        let read = stream.read(&mut request).await.unwrap();
        assert!(request[..read].starts_with(b"GET /status HTTP/1.1\r\n"));
        let body = {
            let mut script = script.lock().unwrap();
            if script.len() > 1 { script.pop_front().unwrap() } else { script[0].clone() }
        };
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        stream.write_all(answer.as_bytes()).await.unwrap();
    }
}

/// A cluster without an API server: a list of pods, and the modes that were written.
#[derive(Default)]
struct FakeCluster {
    pods: RefCell<Vec<InstallerPod>>,
    /// The modes that were written.
    modes: RefCell<Vec<String>>,
    /// Errors of the API server. Each call takes one.
    errors: RefCell<VecDeque<Error>>,
    port: u16,
}

impl Cluster for FakeCluster {
    async fn set_mode(&self, word: &str) -> Result<()> {
        match self.errors.borrow_mut().pop_front() {
            Some(e) => Err(e),
            None => {
                self.modes.borrow_mut().push(word.to_owned());
                Ok(())
            }
        }
    }

    async fn installers(&self) -> Result<Vec<InstallerPod>> {
        Ok(self.pods.borrow().clone())
    }
}

impl FakeCluster {
    /// Makes a node for each script: node-0 and so on.
    async fn new(scripts: &[&[String]]) -> Self {
        let mut cluster = Self::default();
        for (place, script) in scripts.iter().enumerate() {
            let address = format!("127.9.0.{}", place + 1);
            let listener = TcpListener::bind((address.as_str(), cluster.port)).await.unwrap();
            cluster.port = listener.local_addr().unwrap().port();
            tokio::spawn(answer(listener, Arc::new(Mutex::new(script.iter().cloned().collect()))));
            cluster.pods.borrow_mut().push(InstallerPod {
                uid: format!("uid-{place}"),
                pod: format!("pod-{place}"),
                node: format!("node-{place}"),
                address: Some(address.parse().unwrap()),
            });
        }
        cluster
    }

    /// Uninstalls. Returns the result and the log.
    async fn uninstall(&self, mode: Mode, timeout_ms: u64) -> (std::result::Result<(), String>, Vec<String>) {
        let said = RefCell::new(Vec::new());
        let say = |words: &str| said.borrow_mut().push(words.to_owned());
        let ended = run(self, &settings(mode, self.port, timeout_ms), &say).await;
        (ended.map_err(|e| e.to_string()), said.into_inner())
    }
}

fn settings(mode: Mode, port: u16, timeout_ms: u64) -> Settings {
    Settings {
        mode,
        port,
        timeout: Duration::from_millis(timeout_ms),
        ask_every: Duration::from_millis(10),
        stale: Stale { bad: Duration::from_millis(600), good: Duration::from_millis(200) },
        failed_for: Duration::from_millis(100),
        gone_for: Duration::from_millis(300),
    }
}

fn transient() -> Error {
    Error::Api { doing: "asking".into(), why: "Connection refused".into(), remedy: "wait".into(), is_final: false }
}

const LONG: u64 = 20_000;

#[tokio::test]
async fn all_nodes_uninstall() {
    let ready = says("install", "ready", "");
    let working = says("uninstall", "working", "");
    let done = says("uninstall", "uninstalled", "");
    let cluster = FakeCluster::new(&[&[ready.clone(), ready.clone(), working, done.clone()], &[ready, done]]).await;
    cluster.errors.borrow_mut().extend([transient(), transient()]);
    let (ended, said) = cluster.uninstall(Mode::Uninstall, LONG).await;
    assert_eq!(ended, Ok(()));
    assert_eq!(*cluster.modes.borrow(), ["uninstall"]);
    let of = |node: &str| said.iter().filter(|words| words.starts_with(node)).cloned().collect::<Vec<_>>();
    assert_eq!(
        of("node node-0"),
        [
            "node node-0: its installer's mode is still \"install\"",
            "node node-0: its installer is at work",
            "node node-0: uninstalled"
        ]
    );
    assert_eq!(of("node node-1"), ["node node-1: uninstalled"]);
    let of_server = of("the API server");
    assert_eq!(
        of_server,
        ["the API server: asking: Connection refused\n  What to do: wait", "the API server: well again"]
    );
    assert_eq!(said.last().map(String::as_str), Some("uninstalled from all nodes"));
}

#[tokio::test]
async fn after_a_refusal_the_other_nodes_finish_and_the_mode_is_set_back() {
    let ready = says("install", "ready", "");
    let refused = says("uninstall", "refused", "pods use the handler: default/web\n  What to do: delete them");
    let working = says("uninstall", "working", "");
    let done = says("uninstall", "uninstalled", "");
    let cluster = FakeCluster::new(&[&[ready.clone(), refused], &[ready, working.clone(), working, done]]).await;
    let (ended, said) = cluster.uninstall(Mode::Uninstall, LONG).await;
    let text = ended.unwrap_err();
    assert!(said.contains(&"node node-1: uninstalled".to_owned()), "{said:?}");
    assert_eq!(*cluster.modes.borrow(), ["uninstall", "install"]);
    assert!(text.starts_with("not uninstalled\nThese nodes refuse:\n  node-0 (pod pod-0): pods use the handler: default/web\n      What to do: delete them\nThe mode is \"install\" again"), "{text}");
    assert!(!text.contains("node-1"), "{text}");
}

#[tokio::test]
async fn a_mode_that_cannot_be_set_back_is_reported() {
    let refused = says("uninstall", "refused", "pods");
    let cluster = FakeCluster::new(&[&[says("install", "ready", ""), refused]]).await;
    // The API server fails after the mode was written once.
    let say = |words: &str| {
        if words.ends_with(": refused") {
            cluster.errors.borrow_mut().push_back(Error::NoAnswer);
        }
    };
    let text = run(&cluster, &settings(Mode::Uninstall, cluster.port, LONG), &say).await.unwrap_err().to_string();
    assert_eq!(*cluster.modes.borrow(), ["uninstall"]);
    assert!(text.contains("The mode could not be set back to \"install\": the API server does not answer"), "{text}");
}

#[tokio::test]
async fn an_unchanged_refusal_from_before_counts_only_after_a_while() {
    let refused = says("uninstall", "refused", "pods");
    let done = says("uninstall", "uninstalled", "");
    // The installer checks its node only after a while.
    let cluster = FakeCluster::new(&[&[refused.clone(), refused.clone(), refused.clone(), done]]).await;
    assert_eq!(cluster.uninstall(Mode::Uninstall, LONG).await.0, Ok(()));
    // The installer has checked, and refuses again.
    let cluster = FakeCluster::new(&[&[refused]]).await;
    let begun = Instant::now();
    let (ended, _) = cluster.uninstall(Mode::Uninstall, LONG).await;
    assert!(ended.unwrap_err().contains("These nodes refuse:"));
    assert!(begun.elapsed() >= Duration::from_millis(600));
}

#[tokio::test]
async fn an_unchanged_success_from_before_is_checked_again() {
    let done = says("uninstall", "uninstalled", "");
    // The mode was install for a while, and the kubelet has just passed that on.
    let cluster = FakeCluster::new(&[&[done.clone(), done.clone(), says("install", "working", ""), done]]).await;
    let (ended, said) = cluster.uninstall(Mode::Uninstall, LONG).await;
    assert_eq!(ended, Ok(()));
    assert!(said.contains(&"node node-0: its installer's mode is still \"install\"".to_owned()), "{said:?}");
}

#[tokio::test]
async fn a_failure_counts_only_if_it_lasts() {
    let ready = says("install", "ready", "");
    let failed = says("uninstall", "failed", "the disk is full");
    let done = says("uninstall", "uninstalled", "");
    let cluster = FakeCluster::new(&[&[ready.clone(), failed.clone(), failed.clone(), done]]).await;
    assert_eq!(cluster.uninstall(Mode::Uninstall, LONG).await.0, Ok(()));
    let cluster = FakeCluster::new(&[&[ready, failed]]).await;
    let text = cluster.uninstall(Mode::Uninstall, LONG).await.0.unwrap_err();
    assert!(text.starts_with("not uninstalled\nIt failed on these nodes:\n  node-0 (pod pod-0): the disk is full\nThe mode stays \"uninstall\""), "{text}");
    assert_eq!(*cluster.modes.borrow(), ["uninstall"]);
}

#[tokio::test]
async fn a_refused_forced_uninstallation_does_not_set_the_mode_back() {
    let refused = says("uninstall-force", "refused", "no systemd");
    let cluster = FakeCluster::new(&[&[says("install", "ready", ""), refused]]).await;
    let text = cluster.uninstall(Mode::UninstallForce, LONG).await.0.unwrap_err();
    assert_eq!(*cluster.modes.borrow(), ["uninstall-force"]);
    assert!(text.contains("The mode stays \"uninstall-force\""), "{text}");
}

#[tokio::test]
async fn nodes_that_do_not_answer_in_time_are_named() {
    let ready = says("install", "ready", "");
    let done = says("uninstall", "uninstalled", "");
    let cluster = FakeCluster::new(&[&[ready.clone(), done], &[ready]]).await;
    let without_address = InstallerPod { uid: "x".into(), pod: "pod-x".into(), node: "node-x".into(), address: None };
    let closed = InstallerPod {
        uid: "y".into(),
        pod: "pod-y".into(),
        node: "node-y".into(),
        address: Some("127.9.1.1".parse().unwrap()),
    };
    cluster.pods.borrow_mut().extend([without_address, closed]);
    let text = cluster.uninstall(Mode::Uninstall, 500).await.0.unwrap_err();
    let expected = [
        "These nodes have not uninstalled after 0 s:\n",
        "  node-1 (pod pod-1): its installer's mode is still \"install\"\n",
        "  node-x (pod pod-x): its installer does not answer: its pod has no address, so it has not been started\n",
        "  node-y (pod pod-y): its installer does not answer: Connection refused",
        "The mode stays \"uninstall\"",
    ];
    for words in expected {
        assert!(text.contains(words), "{words:?} is not in {text}");
    }
    assert!(!text.contains("node-0"), "{text}");
    assert_eq!(*cluster.modes.borrow(), ["uninstall"]);
}

#[tokio::test]
async fn the_successor_of_a_replaced_installer_is_asked() {
    let ready = says("install", "ready", "");
    let working = says("uninstall", "working", "");
    let cluster = FakeCluster::new(&[&[ready], &[working, says("uninstall", "uninstalled", "")]]).await;
    let mut successor = cluster.pods.borrow_mut().pop().unwrap();
    successor.node = "node-0".into();
    let replacing = async {
        sleep(Duration::from_millis(100)).await;
        cluster.pods.borrow_mut().clear();
        sleep(Duration::from_millis(100)).await;
        cluster.pods.borrow_mut().push(successor);
    };
    let ((ended, said), ()) = tokio::join!(cluster.uninstall(Mode::Uninstall, LONG), replacing);
    assert_eq!(ended, Ok(()));
    assert_eq!(
        said[2..],
        [
            "node node-0: its installer is gone, and has no successor yet",
            "node node-0: its installer is at work",
            "node node-0: uninstalled",
            "uninstalled from all nodes",
        ]
    );
}

#[tokio::test]
async fn a_node_that_stays_without_an_installer_counts_as_deleted() {
    let cluster = FakeCluster::new(&[&[says("install", "ready", "")]]).await;
    let removing = async {
        sleep(Duration::from_millis(100)).await;
        cluster.pods.borrow_mut().clear();
        Instant::now()
    };
    let ((ended, _), removed) = tokio::join!(cluster.uninstall(Mode::Uninstall, LONG), removing);
    assert_eq!(ended, Ok(()));
    assert!(removed.elapsed() >= Duration::from_millis(300));
}

#[tokio::test]
async fn without_installers_there_is_nothing_to_uninstall() {
    let cluster = FakeCluster::default();
    let (ended, said) = cluster.uninstall(Mode::Uninstall, LONG).await;
    assert_eq!((ended, said), (Ok(()), vec!["there is no installer, so there is nothing to uninstall".to_owned()]));
    assert_eq!(*cluster.modes.borrow(), [] as [&str; 0]);
}

#[tokio::test]
async fn an_api_server_that_stays_away_ends_the_uninstallation_in_time() {
    let cluster = FakeCluster::new(&[&[says("install", "ready", "")]]).await;
    cluster.errors.borrow_mut().extend((0..100_000).map(|_| transient()));
    let text = cluster.uninstall(Mode::Uninstall, 300).await.0.unwrap_err();
    assert_eq!(text, "asking: Connection refused\n  What to do: wait");
}

#[tokio::test]
async fn an_uninstallation_patches_one_config_map_and_lists_the_selected_pods() {
    let api = FakeApi::start().await;
    let fake = FakeCluster::new(&[&[says("install", "ready", ""), says("uninstall-force", "uninstalled", "")]]).await;
    let pod = |name: &str, app: &str, phase: &str, address: &str| -> Value {
        json!({
            "metadata": {"name": name, "namespace": "ns", "labels": {"app": app}},
            "spec": {"nodeName": "a", "containers": []}, "status": {"phase": phase, "podIP": address},
        })
    };
    let place = Place { namespace: "ns".into(), selector: "app=installer".into(), config_map: "mode".into() };
    let cluster = Kube::new(api.client(), &place);
    let uninstall = || async {
        let ended = run(&cluster, &settings(Mode::UninstallForce, fake.port, LONG), &|_: &str| ()).await;
        ended.map_err(|e| e.to_string())
    };
    api.put("namespaces/ns/pods", pod("web", "web", "Running", "127.9.1.1"));
    api.put("namespaces/ns/pods", pod("evicted", "installer", "Failed", "127.9.1.1"));
    assert_eq!(uninstall().await, Ok(()));
    assert_eq!(api.patches(), []);

    api.put("namespaces/ns/pods", pod("p", "installer", "Running", "127.9.0.1"));
    let e = uninstall().await.unwrap_err();
    assert!(e.starts_with("writing the mode \"uninstall-force\" into the ConfigMap ns/mode: not found (404)\n  What to do: correct the names"), "{e}");

    api.put(
        "namespaces/ns/configmaps",
        json!({"metadata": {"name": "mode", "namespace": "ns"}, "data": {"mode": "install", "options.json": "{}"}}),
    );
    assert_eq!(uninstall().await, Ok(()));
    assert_eq!(
        api.get("namespaces/ns/configmaps", "mode")["data"],
        json!({"mode": "uninstall-force", "options.json": "{}"})
    );
    assert_eq!(
        api.patches(),
        [("/api/v1/namespaces/ns/configmaps/mode".to_owned(), json!({"data": {"mode": "uninstall-force"}}))]
    );
}
