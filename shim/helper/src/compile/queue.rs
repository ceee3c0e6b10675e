//! The queue for the slots of a lane, in which tenants take turns: one tenant's burst of modules delays no other for long.
//!
//! ```text
//! LANE/0, 1 ...                     a slot: the process that holds its lock compiles
//! LANE/queue/TIME-PID.N-TENANT      a ticket: alive as long as its lock is held
//! LANE/served/TENANT                when this tenant had its last turn, as the file's time
//! LANE/left/TENANT-MODULE           the place in line of an order that nobody waits for any more: its ticket's time
//! ```
//!
//! A tenant is a namespace of Kubernetes, which admission and quotas are about. The tenant that has waited longest for a turn has the
//! next one, and within a tenant the order that came first. So a first start waits for the compiles of its lane that go on, and for one
//! of each other tenant, however many modules these have. No process keeps the queue: each waiting driver looks whether it is the first.
//!
//! The caller may give up: a Create is cancelled, an exec takes too long, a pod is gone. A waiting order then ends and holds nothing.
//! Its place in line is kept for the same module's next order, because a retry would otherwise begin at the end each time. A compile
//! that runs goes on, and the retry finds its result.
//!
//! When clocks jump or files go, only the order of turns suffers; the slots' locks decide which drivers compile.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime};

use catamaran_cache::tenant::name;

use super::locks::{Lock, Turn, Until, own, remove_dead, try_lock};
use crate::error::{Doing, Result};

/// The interval at which the first in the queue looks; the others look the more seldom the further behind they are.
const PAUSE: Duration = Duration::from_millis(20);
const MOST_PAUSES: u32 = 50;
/// A first driver that leaves a free slot for this long is stopped or frozen, and the others pass it.
const STUCK: Duration = Duration::from_secs(3);
/// The number of tenants whose last turn is remembered; the older half is forgotten when there are more.
const MOST_OWNERS: usize = 512;
/// How long a place is kept, and how many of one tenant's.
const KEPT: Duration = Duration::from_secs(600);
const MOST_KEPT: usize = 128;

/// The slots in `folder`, seen by one tenant.
pub(super) struct Queue {
    folder: PathBuf,
    count: usize,
    tenant: String,
    /// The digest of the module that a slot is for.
    module: String,
}

/// A ticket's place in the queue.
struct Place {
    /// The number of tickets that have their turn before.
    before: u32,
    /// The name of the first ticket of all.
    first: String,
}

impl Queue {
    /// Returns the queue for `count` slots. `tenant` is any text; orders with the same one stand in one line.
    pub(super) fn new(folder: PathBuf, count: usize, tenant: &str, module: &str) -> Self {
        Self { folder, count, tenant: name(tenant), module: module.to_owned() }
    }

    /// Takes a slot when its turn comes.
    pub(super) fn slot(&self, until: Until<'_>) -> Result<Turn> {
        if self.tickets()?.is_empty()
            && let Some(held) = self.free()?
        {
            return Ok(Turn::Came(self.granted(held)));
        }
        let begin = Instant::now();
        let came = self.place_kept().unwrap_or_else(now);
        let ticket = self.ticket(came)?;
        let mut idle: Option<(String, Instant)> = None;
        loop {
            let place = self.place(&ticket)?;
            let stuck = match idle.take() {
                Some((first, since)) if first == place.first => Some((first, since)),
                _ => None,
            };
            if let Some(held) = self.free()? {
                let since = stuck.map_or_else(Instant::now, |(_, since)| since);
                if place.before == 0 || since.elapsed() >= STUCK {
                    return Ok(Turn::Came(self.granted(held)));
                }
                idle = Some((place.first, since));
            }
            if begin.elapsed() >= until.limit {
                return Ok(Turn::TooLate);
            }
            if until.asker.leaves_within(PAUSE * (1 + place.before.min(MOST_PAUSES))) {
                if let Err(e) = self.keep_place(came) {
                    log::debug!("{e}");
                }
                return Ok(Turn::Unwanted);
            }
        }
    }

    /// Takes a slot that nobody holds.
    fn free(&self) -> Result<Option<Lock>> {
        for number in 0..self.count {
            if let Some(held) = try_lock(&self.folder.join(number.to_string()))? {
                return Ok(Some(held));
            }
        }
        Ok(None)
    }

    fn queue(&self) -> PathBuf {
        self.folder.join("queue")
    }

    /// Makes a ticket that counts as having come at `came`. Its file is removed when the ticket is dropped.
    fn ticket(&self, came: u128) -> Result<Lock> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        own(self.queue().join(format!("{came:020}-{}.{number}-{}", std::process::id(), self.tenant)))
    }

    fn left(&self) -> PathBuf {
        self.folder.join("left")
    }

    /// Takes over the place of an earlier order for the same module.
    fn place_kept(&self) -> Option<u128> {
        let path = self.left().join(format!("{}-{}", self.tenant, self.module));
        let age = fs::metadata(&path).and_then(|meta| meta.modified()).ok()?.elapsed().unwrap_or(KEPT);
        let came = fs::read_to_string(&path).ok()?.trim().parse().ok();
        let _ = fs::remove_file(&path);
        // A place from the future is not kept: the clock was set back.
        came.filter(|came| age < KEPT && *came < now())
    }

    /// Keeps the place for the next order.
    fn keep_place(&self, came: u128) -> Result<()> {
        let folder = self.left();
        fs::create_dir_all(&folder).on(&folder)?;
        let mut own = 0;
        for entry in fs::read_dir(&folder).on(&folder)?.flatten() {
            let kept = entry.metadata().and_then(|meta| meta.modified());
            if kept.is_ok_and(|kept| kept.elapsed().is_ok_and(|age| age >= KEPT)) {
                let _ = fs::remove_file(entry.path());
            } else if entry.file_name().to_string_lossy().starts_with(&self.tenant) {
                own += 1;
            }
        }
        if own >= MOST_KEPT {
            return Ok(());
        }
        let path = folder.join(format!("{}-{}", self.tenant, self.module));
        fs::write(&path, came.to_string()).on(&path)
    }

    /// Returns the names of all tickets, the first that came at the front.
    fn tickets(&self) -> Result<Vec<String>> {
        let folder = self.queue();
        let entries = match fs::read_dir(&folder) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.on(&folder)?,
        };
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let mut names: Vec<_> = names.filter(|name| tenant(name).is_some()).collect();
        names.sort();
        Ok(names)
    }

    /// Returns a ticket's place among those whose holders live.
    fn place(&self, own: &Lock) -> Result<Place> {
        let own = own.name().and_then(OsStr::to_str).unwrap_or_default();
        loop {
            let order = order(self.tickets()?, |tenant| self.last_turn(tenant));
            let first = order.first().cloned().unwrap_or_default();
            if first != own && !first.is_empty() && remove_dead(&self.queue().join(&first))? {
                continue;
            }
            let before = order.iter().position(|name| name == own).unwrap_or_default();
            return Ok(Place { before: u32::try_from(before).unwrap_or(u32::MAX), first });
        }
    }

    fn last_turn(&self, tenant: &str) -> SystemTime {
        let path = self.folder.join("served").join(tenant);
        fs::metadata(path).and_then(|meta| meta.modified()).unwrap_or(SystemTime::UNIX_EPOCH)
    }

    /// Notes the turn of a tenant that has a slot now. If that fails, its next turn comes too early.
    fn granted(&self, held: Lock) -> Lock {
        if let Err(e) = self.served() {
            log::debug!("{e}");
        }
        held
    }

    /// Notes that this tenant has had its turn.
    fn served(&self) -> Result<()> {
        let folder = self.folder.join("served");
        fs::create_dir_all(&folder).on(&folder)?;
        let path = folder.join(&self.tenant);
        let file = File::options().write(true).create(true).truncate(false).open(&path).on(&path)?;
        file.set_modified(SystemTime::now()).on(&path)?;
        forget(&folder, MOST_OWNERS)
    }
}

/// Returns the time in nanoseconds since 1970.
fn now() -> u128 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos()
}

fn forget(folder: &Path, most: usize) -> Result<()> {
    let names: Vec<_> = fs::read_dir(folder).on(folder)?.flatten().collect();
    if names.len() <= most {
        return Ok(());
    }
    let time = |entry: &fs::DirEntry| entry.metadata().and_then(|m| m.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
    let mut aged: Vec<_> = names.into_iter().map(|entry| (time(&entry), entry.path())).collect();
    aged.sort();
    for (_, path) in aged.iter().take(aged.len() / 2) {
        // Another driver may remove it at the same time. A forgotten tenant comes next as if it were new.
        let _ = fs::remove_file(path);
    }
    Ok(())
}

/// Returns the tenant of a ticket.
fn tenant(name: &str) -> Option<&str> {
    let (rest, tenant) = name.rsplit_once('-')?;
    (rest.contains('-') && !tenant.is_empty()).then_some(tenant)
}

/// Sorts tickets, in the order in which they came, by their turns: one of each tenant, then the next of each; in each round the
/// tenant that has waited longest for a turn first.
fn order(tickets: Vec<String>, last_turn: impl Fn(&str) -> SystemTime) -> Vec<String> {
    let mut turns = HashMap::new();
    let mut rounds: HashMap<String, usize> = HashMap::new();
    let mut all = Vec::new();
    for name in tickets {
        let tenant = tenant(&name).unwrap_or_default().to_owned();
        let turn = *turns.entry(tenant.clone()).or_insert_with(|| last_turn(&tenant));
        let round = rounds.entry(tenant).or_default();
        all.push((*round, turn, name));
        *round += 1;
    }
    all.sort();
    all.into_iter().map(|(.., name)| name).collect()
}

#[cfg(test)]
mod tests;
