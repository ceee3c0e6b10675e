//! containerd's events, as `ctr events` prints them.

use std::collections::BTreeSet;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use prost::Message;
use serde_json::Value;

use crate::api::events::{NamespaceDelete, PublishRequest};
use crate::api::known::Any;
use crate::deadline::{self, PATIENCE};
use crate::grpc::Address;
use crate::keeper;
use crate::node::Node;
use crate::pipes::Capture;

const PROBE: &str = "/harness/probe";

/// One event.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Such as `/tasks/create`.
    pub topic: String,
    /// Its content; task events have a `container_id`.
    pub body: Value,
}

/// A listener to one node's events.
pub struct Events {
    child: Child,
    capture: Capture,
    address: Address,
    helpers: Arc<Mutex<BTreeSet<u32>>>,
    probes: AtomicU32,
}

impl Events {
    pub(crate) fn listen(node: &Node, helpers: Arc<Mutex<BTreeSet<u32>>>) -> Self {
        let mut command = keeper::die_with_parent(&node.programs().ctr);
        command
            .arg("--address")
            .arg(node.socket())
            .args(["--namespace", node.namespace(), "events"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = keeper::spawn(command).expect("cannot start ctr");
        helpers.lock().unwrap().insert(child.id());
        let capture = Capture::pipe(child.stdout.take().expect("a pipe"));
        let events = Self { child, capture, address: node.address(), helpers, probes: AtomicU32::new(0) };
        events.settle();
        events
    }

    /// Waits until every event that containerd has so far is here: containerd delivers events in order, so this sends events of its own
    /// until one of them arrives.
    pub fn settle(&self) {
        let seen = deadline::poll(PATIENCE, || {
            let name = format!("probe-{}", self.probes.fetch_add(1, Ordering::Relaxed));
            self.publish(&name);
            deadline::poll(Duration::from_millis(100), || {
                self.capture.text().contains(&format!("\"{name}\"")).then_some(())
            })
        });
        assert!(seen.is_some(), "containerd sends no events; heard was:\n{}", self.capture.text());
    }

    fn publish(&self, name: &str) {
        // ctr prints only events of types that it knows.
        let body = NamespaceDelete { name: name.to_owned() }.encode_to_vec();
        let event = Any { type_url: "containerd.events.NamespaceDelete".to_owned(), value: body };
        let request = PublishRequest { topic: PROBE.to_owned(), event: Some(event) };
        self.address
            .call::<()>("containerd.services.events.v1.Events/Publish", &request, PATIENCE)
            .unwrap_or_else(|status| panic!("cannot publish an event: {status}"));
    }

    /// Returns all events so far.
    pub fn all(&self) -> Vec<Event> {
        // The last line may not be whole yet.
        let text = self.capture.text();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().filter_map(parse).filter(|event| event.topic != PROBE).collect()
    }

    /// Returns the topics of one container's task so far, in order, without `/tasks/`: `create`, `start`, `exit`, `delete` ...
    pub fn of(&self, container: &str) -> Vec<String> {
        let mine = |event: &Event| event.body["container_id"] == container;
        let topics = self.all().into_iter().filter(mine);
        topics.filter_map(|event| event.topic.strip_prefix("/tasks/").map(str::to_owned)).collect()
    }

    /// Waits until this number of events of one container's task is here, and checks their topics and order.
    ///
    /// # Panics
    /// When they are not.
    pub fn expect(&self, container: &str, topics: &[&str]) {
        deadline::poll(PATIENCE, || (self.of(container).len() >= topics.len()).then_some(()));
        // A superfluous event would follow at once.
        self.settle();
        assert_eq!(self.of(container), topics, "events of {container}; all that was heard:\n{}", self.capture.text());
    }
}

/// A line is: the time, in four words; the namespace; the topic; the content as JSON.
fn parse(line: &str) -> Option<Event> {
    let topic = line.split(' ').find(|word| word.starts_with('/'))?;
    let body = line.split_once(topic)?.1.trim();
    Some(Event { topic: topic.to_owned(), body: serde_json::from_str(body).ok()? })
}

impl Drop for Events {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Ok(mut helpers) = self.helpers.lock() {
            helpers.remove(&self.child.id());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn an_event_line_is_parsed() {
        let line = r#"2026-01-02 03:04:05.6 +0000 UTC ns /tasks/exit {"container_id":"a/b","exit_status":3}"#;
        let event = parse(line).unwrap();
        assert_eq!(event.topic, "/tasks/exit");
        assert_eq!(event.body["exit_status"], 3);
        assert!(parse("no event").is_none());
    }
}
