//! Events to containerd, in the order in which they happened.
//!
//! One queue and one task: an event waits for the one before it, also while containerd restarts.

use std::collections::HashMap;
use std::time::Duration;

use containerd_shim::event::Event;
use containerd_shim::util::{convert_to_any, timestamp};
use containerd_shim_protos::api::ForwardRequest;
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
        // Unbounded, but a container adds four entries in its life and their number is containerd's to limit.
        let (queue, entries) = mpsc::unbounded_channel();
        tokio::spawn(forward(address, entries));
        Self { queue, namespace }
    }

    pub(crate) fn publish<E: Event + 'static>(&self, event: E) {
        let topic = event.topic();
        let envelope = timestamp().and_then(|now| {
            Ok(Envelope {
                timestamp: Some(now).into(),
                namespace: self.namespace.clone(),
                topic: topic.clone(),
                event: Some(convert_to_any(Box::new(event))?).into(),
                ..Default::default()
            })
        });
        match envelope {
            // The task ends only with the process.
            Ok(envelope) => drop(self.queue.send(Entry::Event(Box::new(envelope)))),
            Err(e) => warn!("event {topic} is lost: {e}"),
        }
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
