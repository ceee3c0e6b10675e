//! Events to containerd, in the order in which they happened.
//!
//! One queue and one task: an event waits for the one before it, also while containerd restarts.

use std::collections::HashMap;
use std::time::Duration;

use containerd_shim_protos::api::ForwardRequest;
use containerd_shim_protos::events::task::{TaskCreate, TaskDelete, TaskExit, TaskOOM, TaskStart};
use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::protobuf::well_known_types::{any::Any, timestamp::Timestamp};
use containerd_shim_protos::shim::event::Envelope;
use containerd_shim_protos::shim_async::{Client, EventsClient};
use containerd_shim_protos::ttrpc::{self, context::Context};
use log::warn;
use tokio::sync::{mpsc, oneshot};

/// How long one event is offered before it is dropped: a containerd that restarts is back sooner.
const OFFERED: Duration = Duration::from_secs(120);
/// Between two offers.
const PAUSE: Duration = Duration::from_millis(500);
/// For one call.
const CALL_NANOS: i64 = 10_000_000_000;

/// An event of containerd's (api/events/task.proto). Its name is written here, since the library would find it out by
/// reflection: a third of a megabyte in every shim.
pub(crate) trait Event: Message {
    const TOPIC: &'static str;
    const TYPE: &'static str;
}

impl Event for TaskCreate {
    const TOPIC: &'static str = "/tasks/create";
    const TYPE: &'static str = "containerd.events.TaskCreate";
}

impl Event for TaskStart {
    const TOPIC: &'static str = "/tasks/start";
    const TYPE: &'static str = "containerd.events.TaskStart";
}

impl Event for TaskExit {
    const TOPIC: &'static str = "/tasks/exit";
    const TYPE: &'static str = "containerd.events.TaskExit";
}

impl Event for TaskOOM {
    const TOPIC: &'static str = "/tasks/oom";
    const TYPE: &'static str = "containerd.events.TaskOOM";
}

impl Event for TaskDelete {
    const TOPIC: &'static str = "/tasks/delete";
    const TYPE: &'static str = "containerd.events.TaskDelete";
}

enum Entry {
    Event(Box<Envelope>),
    Flush(oneshot::Sender<()>),
}

/// The queue's end that takes events.
#[derive(Clone)]
pub(crate) struct Publisher {
    queue: mpsc::UnboundedSender<Entry>,
    namespace: String,
}

impl Publisher {
    /// Starts the task that forwards to containerd's ttrpc socket at `address`. The connection is made at the first
    /// event.
    pub(crate) fn new(address: String, namespace: String) -> Self {
        // Unbounded, but a container adds four entries in its life, and one for each of the kernel's kills in it; the
        // number of containers is containerd's to limit.
        let (queue, entries) = mpsc::unbounded_channel();
        tokio::spawn(forward(address, entries));
        Self { queue, namespace }
    }

    pub(crate) fn publish<E: Event>(&self, event: &E) {
        let value = match event.write_to_bytes() {
            Ok(value) => value,
            Err(e) => return warn!("event {} is lost: {e}", E::TOPIC),
        };
        let envelope = Envelope {
            timestamp: Some(Timestamp::now()).into(),
            namespace: self.namespace.clone(),
            topic: E::TOPIC.to_owned(),
            event: Some(Any { type_url: E::TYPE.to_owned(), value, ..Default::default() }).into(),
            ..Default::default()
        };
        // The task that takes it ends only with the process.
        let _ = self.queue.send(Entry::Event(Box::new(envelope)));
    }

    /// Waits until all events so far were forwarded or given up, or `most` has passed.
    pub(crate) async fn flush(&self, most: Duration) {
        let (done, wait) = oneshot::channel();
        if self.queue.send(Entry::Flush(done)).is_ok() {
            let _ = tokio::time::timeout(most, wait).await;
        }
    }
}

async fn forward(address: String, mut entries: mpsc::UnboundedReceiver<Entry>) {
    let address = if address.contains("://") { address } else { format!("unix://{address}") };
    let mut client = None;
    while let Some(entry) = entries.recv().await {
        match entry {
            Entry::Event(envelope) => offer(&address, &mut client, &envelope).await,
            Entry::Flush(done) => drop(done.send(())),
        }
    }
}

async fn offer(address: &str, client: &mut Option<EventsClient>, envelope: &Envelope) {
    let request = ForwardRequest { envelope: Some(envelope.clone()).into(), ..Default::default() };
    let until = tokio::time::Instant::now() + OFFERED;
    loop {
        match try_forward(address, client, &request).await {
            Ok(()) => return,
            // containerd has heard it and will not take it: the next one may be better.
            Err(ttrpc::Error::RpcStatus(status)) => {
                warn!("event {} is lost: {}", envelope.topic, status.message());
                return;
            }
            Err(reason) => {
                // A broken connection is not used again.
                *client = None;
                if tokio::time::Instant::now() >= until {
                    warn!("event {} is lost: {reason}", envelope.topic);
                    return;
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn try_forward(address: &str, client: &mut Option<EventsClient>, request: &ForwardRequest) -> ttrpc::Result<()> {
    let connected = match client {
        Some(connected) => connected,
        None => {
            let connection = Client::connect(address).await?;
            client.insert(EventsClient::new(connection))
        }
    };
    let context = Context { timeout_nano: CALL_NANOS, metadata: HashMap::new() };
    connected.forward(context, request).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use containerd_shim_protos::protobuf::MessageFull;

    fn check<E: Event + MessageFull>() {
        assert_eq!(E::descriptor().full_name(), E::TYPE);
    }

    #[test]
    fn the_names_are_the_messages_own() {
        check::<TaskCreate>();
        check::<TaskStart>();
        check::<TaskExit>();
        check::<TaskOOM>();
        check::<TaskDelete>();
    }
}
