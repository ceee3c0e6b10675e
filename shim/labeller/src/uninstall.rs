//! Makes all installers uninstall, and waits until each reports that it has.
//!
//! This program ends no installer and removes nothing from a node. It writes the mode into the ConfigMap, and each kubelet passes the mode
//! on to its installer within two minutes. A node refuses if pods use the handler, and then has changed nothing. In that case the mode is
//! set back to install, so that the node does not uninstall later, unobserved.

mod text;

use std::collections::BTreeMap;
use std::mem::discriminant;
use std::net::SocketAddr;
use std::time::Duration;

use futures::{StreamExt, stream};
use tokio::time::{Instant, sleep, timeout_at};

use crate::args::Mode;
use crate::ask::{self, Status};
use crate::cluster::{Cluster, InstallerPod};
use crate::error::{Error, Result};
use crate::log::Log;

/// The interval of the requests to each installer.
pub(crate) const ASK_EVERY: Duration = Duration::from_secs(2);
/// How long an unchanged answer may stem from an earlier uninstallation.
pub(crate) const STALE: Stale = Stale { bad: Duration::from_secs(90), good: Duration::from_secs(5) };
/// How long a failure must last to count. An installer tries again after 1, 2, 4 and 8 s.
pub(crate) const FAILED_FOR: Duration = Duration::from_secs(20);
/// How long to wait for a new installer on a node without one: longer than a DaemonSet takes to replace a pod. A deleted node gets none.
pub(crate) const GONE_FOR: Duration = Duration::from_secs(60);
/// How long to try to set the mode back.
const WRITE_BACK: Duration = Duration::from_secs(30);
const API_SERVER: &str = "the API server";
/// The most installers that are asked in parallel.
const AT_ONCE: usize = 32;

#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) mode: Mode,
    /// The installers' port.
    pub(crate) port: u16,
    pub(crate) timeout: Duration,
    pub(crate) ask_every: Duration,
    pub(crate) stale: Stale,
    pub(crate) failed_for: Duration,
    pub(crate) gone_for: Duration,
}

/// How long to wait for an installer whose answer has not changed since before the mode was written. It may not have read the mode yet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stale {
    /// After a refusal or failure: longer than an installer takes to try again.
    pub(crate) bad: Duration,
    /// After "uninstalled": longer than an installer takes to read its mode. If the mode was install for a while, the installer may be
    /// about to install again.
    pub(crate) good: Duration,
}

/// A node's progress.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Progress {
    /// The node has not finished, for this reason.
    Waiting(String),
    Uninstalled,
    Refused(String),
    Failed(String),
    /// The installer's pod is gone and has no successor.
    Gone,
}

#[derive(Debug, Clone)]
struct Node {
    installer: InstallerPod,
    progress: Progress,
    /// When the node entered this state.
    since: Instant,
}

impl Node {
    fn is_settled(&self, settings: &Settings) -> bool {
        match self.progress {
            Progress::Waiting(_) => false,
            Progress::Uninstalled | Progress::Refused(_) => true,
            Progress::Failed(_) => self.since.elapsed() >= settings.failed_for,
            Progress::Gone => self.since.elapsed() >= settings.gone_for,
        }
    }
}

/// The nodes, by the UIDs of their installers' pods.
type Nodes = BTreeMap<String, Node>;
type Answer = std::result::Result<Status, String>;

/// Uninstalls from all nodes. Fails if not all have uninstalled in time.
pub(crate) async fn run(cluster: &impl Cluster, settings: &Settings, say: &dyn Fn(&str)) -> Result<()> {
    let mut log = Log::new(say);
    let until = Instant::now() + settings.timeout;
    let mut installers = until_granted(until, settings, &mut log, || cluster.installers()).await?;
    if installers.is_empty() {
        // The only installer's pod may be about to be replaced.
        sleep(settings.ask_every).await;
        installers = until_granted(until, settings, &mut log, || cluster.installers()).await?;
    }
    if installers.is_empty() {
        say("there is no installer, so there is nothing to uninstall");
        return Ok(());
    }
    let mode = settings.mode.word();
    let before = ask_all(installers, settings.port).await;
    until_granted(until, settings, &mut log, || cluster.set_mode(mode)).await?;
    say(&format!("the mode is {mode:?}; {}", text::to_uninstall(before.len())));
    let nodes = wait(cluster, settings, &before, until, &mut log).await?;
    let all = |is: fn(&Progress) -> bool| nodes.values().all(|node| is(&node.progress));
    if nodes.values().all(|node| node.is_settled(settings))
        && all(|it| matches!(it, Progress::Uninstalled | Progress::Gone))
    {
        say("uninstalled from all nodes");
        return Ok(());
    }
    // The mode also stays after uninstall-force, which no node refuses because of pods.
    let may_stay = all(|progress| !matches!(progress, Progress::Refused(_))) || settings.mode == Mode::UninstallForce;
    let mode = if may_stay { text::Mode::Stays } else { write_back(cluster, settings, &mut log).await };
    Err(Error::NotUninstalled(text::not_uninstalled(&nodes, settings, &mode)))
}

async fn write_back(cluster: &impl Cluster, settings: &Settings, log: &mut Log<'_>) -> text::Mode {
    let until = Instant::now() + WRITE_BACK;
    match until_granted(until, settings, log, || cluster.set_mode("install")).await {
        Ok(()) => text::Mode::Back,
        Err(e) => text::Mode::NotBack(e),
    }
}

/// Repeats a request until the API server grants it, refuses it for good, or the time is over.
async fn until_granted<T, F: Future<Output = Result<T>>>(
    until: Instant,
    settings: &Settings,
    log: &mut Log<'_>,
    ask: impl Fn() -> F,
) -> Result<T> {
    let mut last = None;
    loop {
        match timeout_at(until, ask()).await {
            Ok(Ok(granted)) => return Ok(granted),
            Ok(Err(e)) if e.is_final() || Instant::now() + settings.ask_every >= until => return Err(e),
            Ok(Err(e)) => {
                log.trouble(API_SERVER, &e.to_string());
                last = Some(e);
            }
            Err(_) => return Err(last.unwrap_or(Error::NoAnswer)),
        }
        sleep(settings.ask_every).await;
    }
}

/// Asks the installers until all nodes have settled or the time is over. Returns the nodes' progress.
async fn wait(
    cluster: &impl Cluster,
    settings: &Settings,
    before: &[(InstallerPod, Answer)],
    until: Instant,
    log: &mut Log<'_>,
) -> Result<Nodes> {
    let told = Instant::now();
    let asked = |(installer, _): &(InstallerPod, Answer)| {
        let progress = Progress::Waiting("its installer has not been asked yet".to_owned());
        (installer.uid.clone(), Node { installer: installer.clone(), progress, since: told })
    };
    let mut nodes: Nodes = before.iter().map(asked).collect();
    loop {
        // Lists the installers each time, because pods may be replaced and nodes may come and go.
        match timeout_at(until, cluster.installers()).await {
            Ok(Ok(installers)) => {
                log.well(API_SERVER);
                nodes = look(nodes, installers, settings, before, told, log).await;
            }
            Ok(Err(e)) if e.is_final() => return Err(e),
            Ok(Err(e)) => log.trouble(API_SERVER, &e.to_string()),
            Err(_) => return Ok(nodes),
        }
        if nodes.values().all(|node| node.is_settled(settings)) || Instant::now() >= until {
            return Ok(nodes);
        }
        sleep(settings.ask_every.min(until - Instant::now())).await;
    }
}

/// Asks the installers of nodes that have not uninstalled. `nodes` has the progress so far.
async fn look(
    nodes: Nodes,
    installers: Vec<InstallerPod>,
    settings: &Settings,
    before: &[(InstallerPod, Answer)],
    told: Instant,
    log: &Log<'_>,
) -> Nodes {
    let mut now = Nodes::new();
    for (uid, node) in &nodes {
        let has_successor = || installers.iter().any(|installer| installer.node == node.installer.node);
        if node.progress == Progress::Uninstalled {
            now.insert(uid.clone(), node.clone());
        } else if !has_successor() {
            now.insert(uid.clone(), told_anew(&nodes, node.installer.clone(), Progress::Gone, log));
        }
    }
    let open = installers.into_iter().filter(|installer| !now.contains_key(&installer.uid)).collect();
    for (installer, answer) in ask_all(open, settings.port).await {
        let is_old = before.iter().any(|(known, said)| known.uid == installer.uid && *said == answer);
        let progress = progress(answer, settings, is_old.then_some(told));
        now.insert(installer.uid.clone(), told_anew(&nodes, installer, progress, log));
    }
    now
}

async fn ask_all(installers: Vec<InstallerPod>, port: u16) -> Vec<(InstallerPod, Answer)> {
    let asked = installers.into_iter().map(|installer| async move {
        let answer = match installer.address {
            Some(address) => ask::status(SocketAddr::new(address, port)).await,
            None => Err("its pod has no address, so it has not been started".to_owned()),
        };
        (installer, answer)
    });
    stream::iter(asked).buffer_unordered(AT_ONCE).collect().await
}

/// Returns the progress that an answer means. `old` is set if the answer has not changed since before the mode was written: the time of
/// that writing.
fn progress(answer: Answer, settings: &Settings, old: Option<Instant>) -> Progress {
    let status = match answer {
        Ok(status) => status,
        Err(why) => return Progress::Waiting(format!("its installer does not answer: {why}")),
    };
    let is_stale = |time: Duration| old.is_some_and(|told| told.elapsed() < time);
    let is_told = status.mode.as_deref() == Some(settings.mode.word());
    match status.state.as_str() {
        "uninstalled" if !is_stale(settings.stale.good) => Progress::Uninstalled,
        "refused" if is_told && !is_stale(settings.stale.bad) => Progress::Refused(status.message),
        "failed" if is_told && !is_stale(settings.stale.bad) => Progress::Failed(status.message),
        _ if !is_told => {
            let mode = status.mode.as_deref().unwrap_or("unknown");
            Progress::Waiting(format!("its installer's mode is still {mode:?}"))
        }
        "working" => Progress::Waiting("its installer is at work".to_owned()),
        state => Progress::Waiting(format!("its installer still says {state:?}: {}", status.message)),
    }
}

/// Returns a node with its progress. Logs the progress if it is new.
fn told_anew(nodes: &Nodes, installer: InstallerPod, progress: Progress, log: &Log<'_>) -> Node {
    let known = nodes.get(&installer.uid);
    if known.is_none_or(|known| known.progress != progress) {
        log.say(&format!("node {}: {}", installer.node, text::short(&progress)));
    }
    let is_same = |known: &&Node| discriminant(&known.progress) == discriminant(&progress);
    let since = known.filter(is_same).map_or_else(Instant::now, |known| known.since);
    Node { installer, progress, since }
}

#[cfg(test)]
mod tests;
