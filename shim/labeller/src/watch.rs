//! Watches nodes, installers and the ConfigMap, and patches the nodes that the decision changes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures::stream::{BoxStream, SelectAll, select_all};
use futures::{StreamExt, stream};
use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod};
use kube::api::{Patch, PatchParams};
use kube::runtime::reflector::{Lookup, Store, store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use tokio::time::timeout;

use crate::cluster::MANAGER;
use crate::decide::{Change, Memory, decide};
use crate::error::{api_words, is_not_found, words};
use crate::health::Health;
use crate::log::Log;
use crate::wish::{Keys, Mode};
use crate::{patch, view};

/// The longest interval between checks of all nodes.
pub(crate) const PASS_EVERY: Duration = Duration::from_secs(30);
/// Seconds after which a watch is renewed. Short, because a silently broken connection is not noticed earlier.
pub(crate) const RENEWED_AFTER: u32 = 60;
/// How long to wait for more changes after the first, so that a hundred changes cause one check.
const SETTLE: Duration = Duration::from_millis(100);
/// How long to wait before a failed patch is tried again.
const RETRY: Duration = Duration::from_secs(5);
/// The time limit of a patch, including the client's own retries.
const PATCH: Duration = Duration::from_secs(20);
/// How long a patched node is left alone while the watch still shows its state from before the patch. Limited, because after a restore of
/// the API server's data the watch may show older versions for ever.
const HOLD: Duration = Duration::from_secs(10);
/// The most parallel patches.
const AT_ONCE: usize = 8;
/// The number of objects in a page of a list. A node may have 50 kB.
const PAGE: u32 = 100;

#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) namespace: String,
    pub(crate) selector: String,
    pub(crate) config_map: String,
    pub(crate) keys: Keys,
    pub(crate) pass_every: Duration,
}

/// Labels nodes. Never returns. `now` is the clock for the grace period.
pub(crate) async fn run(
    client: Client,
    settings: &Settings,
    health: &Health,
    now: impl Fn() -> Instant,
    log: &mut Log<'_>,
) {
    let mut cluster = Watched::new(&client, settings);
    let mut labeller =
        Labeller { settings, nodes: Api::all(client), memory: Memory::new(), sent: BTreeMap::new(), mode: None };
    let mut due = tokio::time::Instant::now() + settings.pass_every;
    loop {
        tokio::select! {
            Some((watch, heard)) = cluster.events.next() => {
                if cluster.take(watch, heard, log) {
                    due = due.min(tokio::time::Instant::now() + SETTLE);
                }
            }
            () = tokio::time::sleep_until(due) => {
                let again_in = if cluster.is_complete() { labeller.pass(&cluster, health, now(), log).await } else { settings.pass_every };
                due = tokio::time::Instant::now() + again_in;
            }
        }
    }
}

/// An event of a watch.
enum Heard {
    /// The watch begins to list, and may still fail.
    Begun,
    /// All objects have been listed.
    Listed,
    Changed,
    Trouble(String),
}

/// The last seen objects.
struct Watched {
    nodes: Store<Node>,
    pods: Store<Pod>,
    maps: Store<ConfigMap>,
    events: SelectAll<BoxStream<'static, (usize, Heard)>>,
    /// For each watch, its subject in the log, and whether it has listed all objects once.
    watches: [(String, bool); 3],
}

impl Watched {
    fn new(client: &Client, settings: &Settings) -> Self {
        let config = watcher::Config::default().timeout(RENEWED_AFTER).page_size(PAGE);
        let of_pods = config.clone().labels(&settings.selector);
        let of_map = config.clone().fields(&format!("metadata.name={}", settings.config_map));
        let (nodes, node_events) = watched(0, Api::all(client.clone()), config, view::trim_node);
        let pods = Api::namespaced(client.clone(), &settings.namespace);
        let (pods, pod_events) = watched(1, pods, of_pods, view::trim_pod);
        let maps = Api::namespaced(client.clone(), &settings.namespace);
        let (maps, map_events) = watched(2, maps, of_map, view::trim_map);
        let map = format!("the ConfigMap {}/{}", settings.namespace, settings.config_map);
        Self {
            nodes,
            pods,
            maps,
            events: select_all([node_events, pod_events, map_events]),
            watches: [("the nodes".to_owned(), false), ("the installers' pods".to_owned(), false), (map, false)],
        }
    }

    fn is_complete(&self) -> bool {
        self.watches.iter().all(|(_, listed)| *listed)
    }

    /// Handles an event. Returns whether to check the nodes.
    fn take(&mut self, watch: usize, heard: Heard, log: &mut Log<'_>) -> bool {
        let Some((subject, listed)) = self.watches.get_mut(watch) else { return false };
        match heard {
            Heard::Begun => return false,
            Heard::Trouble(words) => {
                log.trouble(subject, &words);
                return false;
            }
            Heard::Listed => *listed = true,
            Heard::Changed => (),
        }
        log.well(subject);
        true
    }
}

/// Watches the objects of one kind. Returns a store of them, and a stream of their changes.
fn watched<K>(
    watch: usize,
    api: Api<K>,
    config: watcher::Config,
    trim: fn(&mut K),
) -> (Store<K>, BoxStream<'static, (usize, Heard)>)
where
    K: kube::Resource<DynamicType = ()> + Lookup<DynamicType = ()> + Clone + std::fmt::Debug + Send + Sync + 'static,
    K: for<'de> serde::Deserialize<'de>,
{
    let (reader, writer) = store();
    let events = watcher(api, config).modify(trim).default_backoff().reflect(writer);
    (reader, events.map(move |event| (watch, heard(event))).boxed())
}

fn heard<K>(event: watcher::Result<watcher::Event<K>>) -> Heard {
    match event {
        Ok(watcher::Event::Init | watcher::Event::InitApply(_)) => Heard::Begun,
        Ok(watcher::Event::InitDone) => Heard::Listed,
        Ok(watcher::Event::Apply(_) | watcher::Event::Delete(_)) => Heard::Changed,
        Err(
            watcher::Error::InitialListFailed(e) | watcher::Error::WatchStartFailed(e) | watcher::Error::WatchFailed(e),
        ) => {
            let (why, remedy) = api_words(&e);
            Heard::Trouble(format!("{why}; what to do: {remedy}"))
        }
        // The server has forgotten the events since the last one: the watcher lists all objects anew.
        Err(watcher::Error::WatchError(status)) if status.code == 410 => Heard::Begun,
        Err(e) => Heard::Trouble(words(&e)),
    }
}

/// The state of the labelling.
struct Labeller<'s> {
    settings: &'s Settings,
    nodes: Api<Node>,
    memory: Memory,
    /// For each recently patched node, the version after the patch and the time of the patch.
    sent: BTreeMap<String, (u64, tokio::time::Instant)>,
    /// The last mode, and whether there was a ConfigMap, to log changes.
    mode: Option<(Mode, bool)>,
}

/// The result of a patch.
enum Patched {
    /// The node has this version after the patch.
    Done(u64),
    /// The node is gone.
    Gone,
    Failed(String),
}

impl Labeller<'_> {
    /// Checks all nodes. Returns how long to wait for the next check if nothing changes.
    async fn pass(&mut self, cluster: &Watched, health: &Health, now: Instant, log: &mut Log<'_>) -> Duration {
        let keys = &self.settings.keys;
        let nodes: Vec<view::Node> = cluster.nodes.state().iter().map(|node| view::Node::new(node, keys)).collect();
        let installers: Vec<_> = cluster.pods.state().iter().filter_map(|pod| view::Installer::new(pod)).collect();
        let mode = self.mode(cluster, log);
        let decision = decide(keys, mode, &nodes, &installers, now, &self.memory);
        self.memory = decision.memory;
        let patched = std::mem::take(&mut self.sent);
        let is_held = |node: &view::Node| {
            patched.get(&node.name).filter(|(version, at)| node.version < *version && at.elapsed() < HOLD).copied()
        };
        self.sent = nodes.iter().filter_map(|node| Some((node.name.clone(), is_held(node)?))).collect();

        let changes: Vec<Change> =
            decision.changes.into_iter().filter(|change| !self.sent.contains_key(&change.node)).collect();
        let patches = changes.into_iter().map(|change| async {
            let patched = apply(&self.nodes, &change, keys.taint.as_deref()).await;
            (change, patched)
        });
        let patched: Vec<(Change, Patched)> = stream::iter(patches).buffer_unordered(AT_ONCE).collect().await;
        let mut failed = false;
        for (change, patched) in patched {
            failed |= self.note(change, patched, log);
        }
        if !failed {
            health.set_ready();
        }
        let again_in = decision.again_in.unwrap_or(self.settings.pass_every).min(self.settings.pass_every);
        if failed { again_in.min(RETRY) } else { again_in }
    }

    /// Returns the mode in the ConfigMap, and logs a change of it.
    fn mode(&mut self, cluster: &Watched, log: &mut Log<'_>) -> Mode {
        let map = cluster.maps.state().first().cloned();
        let mode = view::mode(map.as_deref());
        if self.mode.replace((mode, map.is_some())) != Some((mode, map.is_some())) {
            let name = &self.settings.config_map;
            log.say(&match mode {
                Mode::Install => "the mode is install: nodes are labelled as they become ready".to_owned(),
                Mode::Uninstall => "the mode is uninstall: the nodes lose their labels".to_owned(),
                Mode::Unknown if map.is_none() => {
                    format!("there is no ConfigMap {name}: no node becomes ready, and nodes that are ready stay so for two minutes")
                }
                Mode::Unknown => format!(
                    "the ConfigMap {name} has no mode in its key \"mode\" (expected install, uninstall or uninstall-force): \
                     no node becomes ready, and nodes that are ready stay so for two minutes"
                ),
            });
        }
        mode
    }

    /// Logs a patch's result. Returns whether to try again.
    fn note(&mut self, change: Change, patched: Patched, log: &mut Log<'_>) -> bool {
        let subject = format!("node {}", change.node);
        match patched {
            Patched::Gone => log.forget(&subject),
            Patched::Failed(why) => {
                log.trouble(&subject, &why);
                return true;
            }
            Patched::Done(version) => {
                log.well(&subject);
                let lifted = if change.taints.is_empty() { "" } else { "; its startup taint is lifted" };
                log.say(&format!("{subject}: {}{lifted}", change.why));
                self.sent.insert(change.node, (version, tokio::time::Instant::now()));
            }
        }
        false
    }
}

/// Patches a node: the labels first, so that a pod that waits for the taint's removal finds them.
async fn apply(nodes: &Api<Node>, change: &Change, taint: Option<&str>) -> Patched {
    let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    let mut version = 0;
    if let Some(labels) = patch::of_labels(change) {
        let labels = Patch::Merge(labels);
        match timeout(PATCH, nodes.patch_metadata(&change.node, &params, &labels)).await {
            Ok(Ok(node)) => version = view::version(&node.metadata),
            other => return not_done("its labels", other.map(Result::err).ok().flatten()),
        }
    }
    if let Some(taints) = taint.and_then(|key| patch::of_taints(change, key)) {
        let taints = Patch::Json::<()>(taints);
        match timeout(PATCH, nodes.patch_metadata(&change.node, &params, &taints)).await {
            Ok(Ok(node)) => version = view::version(&node.metadata),
            Ok(Err(kube::Error::Api(status))) if status.code == 422 => {
                return Patched::Failed("its taints changed at the same time: the patch is tried again".to_owned());
            }
            other => return not_done("its startup taint", other.map(Result::err).ok().flatten()),
        }
    }
    Patched::Done(version)
}

/// Returns the result of a failed patch. `error` is None if there was no answer.
fn not_done(what: &str, error: Option<kube::Error>) -> Patched {
    match error {
        Some(e) if is_not_found(&e) => Patched::Gone,
        Some(e) => {
            let (why, remedy) = api_words(&e);
            Patched::Failed(format!("{what} cannot be changed: {why}; what to do: {remedy}"))
        }
        None => Patched::Failed(format!("{what} cannot be changed: no answer after {} s", PATCH.as_secs())),
    }
}

#[cfg(test)]
mod tests;
