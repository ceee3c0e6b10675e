//! Sends events to containerd, in the order in which they happened.
//!
//! One task empties one queue, so that an event waits for the one before it, however long a restart of containerd takes. A full queue
//! loses its oldest event; a client that missed that event still learns the container's state by State and Wait.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use containerd_shim_protos::api::ForwardRequest;
use containerd_shim_protos::events::task::{
    TaskCreate, TaskDelete, TaskExecAdded, TaskExecStarted, TaskExit, TaskOOM, TaskPaused, TaskResumed, TaskStart,
};
use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::protobuf::well_known_types::{any::Any, timestamp::Timestamp};
use containerd_shim_protos::shim::event::Envelope;
use containerd_shim_protos::shim_async::{Client, EventsClient};
use containerd_shim_protos::ttrpc::{self, context::Context};
use log::warn;
use tokio::sync::{Notify, oneshot};

/// The first pause between two offers of an event to a containerd that is away. Each further pause is twice as long.
const PAUSE: Duration = Duration::from_millis(50);
/// The longest pause. A containerd that comes back calls Connect first, which ends the pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// The longest wait for an answer. It is long because a stopped containerd may have taken the event already, and must not get it twice.
const CALL: Duration = Duration::from_secs(120);
/// The most events that wait, some hundred bytes each: enough for some hundred containers, more than a pod has.
const MOST: usize = 1024;

/// An event of containerd's (api/events/task.proto). The name of its type is a constant, because to find it by the library's reflection
/// costs a third of a megabyte in every shim.
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

impl Event for TaskExecAdded {
    const TOPIC: &'static str = "/tasks/exec-added";
    const TYPE: &'static str = "containerd.events.TaskExecAdded";
}

impl Event for TaskExecStarted {
    const TOPIC: &'static str = "/tasks/exec-started";
    const TYPE: &'static str = "containerd.events.TaskExecStarted";
}

impl Event for TaskExit {
    const TOPIC: &'static str = "/tasks/exit";
    const TYPE: &'static str = "containerd.events.TaskExit";
}

impl Event for TaskOOM {
    const TOPIC: &'static str = "/tasks/oom";
    const TYPE: &'static str = "containerd.events.TaskOOM";
}

impl Event for TaskPaused {
    const TOPIC: &'static str = "/tasks/paused";
    const TYPE: &'static str = "containerd.events.TaskPaused";
}

impl Event for TaskResumed {
    const TOPIC: &'static str = "/tasks/resumed";
    const TYPE: &'static str = "containerd.events.TaskResumed";
}

impl Event for TaskDelete {
    const TOPIC: &'static str = "/tasks/delete";
    const TYPE: &'static str = "containerd.events.TaskDelete";
}

enum Entry {
    Event(Box<Envelope>),
    Flush(oneshot::Sender<()>),
}

/// The entries that wait for containerd, in order. Never locked across an await.
#[derive(Default)]
struct Queue {
    entries: Mutex<VecDeque<Entry>>,
    /// Notified of a new entry, or of a reason to try again.
    awake: Notify,
}

impl Queue {
    fn entries(&self) -> MutexGuard<'_, VecDeque<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, entry: Entry) {
        let mut entries = self.entries();
        if entries.len() >= MOST
            && let Some(Entry::Event(lost)) = entries.pop_front()
        {
            warn!("event {} is lost: {MOST} others wait for containerd", lost.topic);
        }
        entries.push_back(entry);
        drop(entries);
        self.awake.notify_one();
    }

    async fn pop(&self) -> Entry {
        loop {
            if let Some(entry) = self.entries().pop_front() {
                return entry;
            }
            self.awake.notified().await;
        }
    }
}

/// Puts events into the queue.
#[derive(Clone)]
pub(crate) struct Publisher {
    queue: Arc<Queue>,
    namespace: String,
}

impl Publisher {
    /// Starts the task that forwards events to containerd's ttrpc socket at `address`. It connects at the first event.
    pub(crate) fn new(address: String, namespace: String) -> Self {
        let queue = Arc::new(Queue::default());
        tokio::spawn(forward(address, queue.clone()));
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
        self.queue.push(Entry::Event(Box::new(envelope)));
    }

    /// Ends the pause between two offers, because containerd seems to be back.
    pub(crate) fn retry(&self) {
        self.queue.awake.notify_one();
    }

    /// Waits until each event so far was forwarded or given up, but no longer than `most`.
    pub(crate) async fn flush(&self, most: Duration) {
        let (done, wait) = oneshot::channel();
        self.queue.push(Entry::Flush(done));
        let _ = tokio::time::timeout(most, wait).await;
    }
}

async fn forward(address: String, queue: Arc<Queue>) {
    let address = if address.contains("://") { address } else { format!("unix://{address}") };
    let mut client = None;
    loop {
        match queue.pop().await {
            Entry::Event(envelope) => offer(&address, &mut client, &envelope, &queue).await,
            Entry::Flush(done) => drop(done.send(())),
        }
    }
}

async fn offer(address: &str, client: &mut Option<EventsClient>, envelope: &Envelope, queue: &Queue) {
    let request = ForwardRequest { envelope: Some(envelope.clone()).into(), ..Default::default() };
    let mut pause = PAUSE;
    loop {
        // An old connection may belong to a containerd that has ended since: then a new connection is tried without a pause.
        let connected = client.is_some();
        let begin = tokio::time::Instant::now();
        match try_forward(address, client, &request).await {
            Ok(()) => return,
            // containerd has refused this event, but may accept the next one.
            Err(ttrpc::Error::RpcStatus(status)) => {
                warn!("event {} is lost: {}", envelope.topic, status.message());
                return;
            }
            Err(reason) => {
                // A broken connection is not used again.
                *client = None;
                if begin.elapsed() >= CALL {
                    warn!("event {} may be lost: containerd did not answer within {CALL:?}: {reason}", envelope.topic);
                    return;
                }
                if connected {
                    continue;
                }
                let awake = queue.awake.notified();
                if tokio::time::timeout(pause, awake).await.is_err() {
                    pause = (2 * pause).min(LONGEST_PAUSE);
                }
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
    let context = Context { timeout_nano: CALL.as_nanos() as i64, metadata: HashMap::new() };
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
    fn a_full_event_queue_drops_its_oldest_event() {
        let queue = Queue::default();
        for n in 0..MOST + 2 {
            let envelope = Envelope { topic: n.to_string(), ..Default::default() };
            queue.push(Entry::Event(Box::new(envelope)));
        }
        let entries = queue.entries();
        let topic = |entry: Option<&Entry>| match entry {
            Some(Entry::Event(envelope)) => envelope.topic.clone(),
            _ => String::new(),
        };
        assert_eq!((entries.len(), topic(entries.front())), (MOST, "2".to_owned()));
        assert_eq!(topic(entries.back()), (MOST + 1).to_string());
    }

    #[test]
    fn type_names_are_those_of_the_messages() {
        check::<TaskCreate>();
        check::<TaskStart>();
        check::<TaskExecAdded>();
        check::<TaskExecStarted>();
        check::<TaskExit>();
        check::<TaskOOM>();
        check::<TaskPaused>();
        check::<TaskResumed>();
        check::<TaskDelete>();
    }
}
