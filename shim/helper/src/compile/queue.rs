//! The queue for the slots of a lane. Tenants take turns, so that one tenant's burst of modules delays no other tenant for long.
//!
//! ```text
//! LANE/0, 1 ...                     a slot: the process that holds its lock compiles
//! LANE/queue/TIME-PID.N-TENANT      a ticket: valid as long as its lock is held
//! LANE/served/TENANT                the file's time is that of the tenant's last turn
//! LANE/left/TENANT-MODULE           the place in line of a cancelled order: its ticket's time
//! ```
//!
//! A tenant is a Kubernetes namespace, the unit of admission and quotas. The next turn goes to the tenant that has waited longest, and
//! within a tenant to its oldest order. So a first start waits for the running compiles of its lane and for one compile of each other
//! tenant, however many modules these have. No process manages the queue: each waiting driver checks whether it is first.
//!
//! The caller may give up: a Create is cancelled, an exec takes too long, a pod is gone. A waiting order then ends and holds nothing. Its
//! place in line is kept for the next order of the same module, so that a retry does not begin at the end each time. A running compile goes
//! on, and the retry finds its result.
//!
//! If clocks jump or files vanish, only the order of turns suffers: the slots' locks alone decide which drivers compile.

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

/// The interval at which the first in the queue checks. Each place behind it adds one such interval, up to [`MOST_PAUSES`].
const PAUSE: Duration = Duration::from_millis(20);
const MOST_PAUSES: u32 = 50;
/// If the first driver leaves a slot free for this long, it is stopped or frozen, and the others pass it.
const STUCK: Duration = Duration::from_secs(3);
/// The most tenants whose last turn is remembered. Beyond this, the older half is forgotten.
const MOST_TENANTS: usize = 512;
/// How long a place in line is kept.
const KEPT: Duration = Duration::from_secs(600);
/// The most places in line that are kept for one tenant.
const MOST_KEPT: usize = 128;

/// The queue of one lane, for one tenant's order.
pub(super) struct Queue {
    folder: PathBuf,
    count: usize,
    tenant: String,
    /// The digest of the order's module.
    module: String,
}

/// A ticket's place in the queue.
struct Place {
    /// The number of tickets before this one.
    before: u32,
    /// The name of the queue's first ticket.
    first: String,
}

impl Queue {
    /// Returns the queue for the `count` slots in `folder`. `tenant` may be any text; orders with the same text are one tenant's.
    pub(super) fn new(folder: PathBuf, count: usize, tenant: &str, module: &str) -> Self {
        Self { folder, count, tenant: name(tenant), module: module.to_owned() }
    }

    /// Waits for this order's turn and takes a slot.
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

    /// Takes a free slot, if there is one.
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

    /// Makes a ticket with the arrival time `came`. Dropping the ticket removes its file.
    fn ticket(&self, came: u128) -> Result<Lock> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        own(self.queue().join(format!("{came:020}-{}.{number}-{}", std::process::id(), self.tenant)))
    }

    fn left(&self) -> PathBuf {
        self.folder.join("left")
    }

    /// Takes over the place in line of an earlier order for the same module. Returns its arrival time.
    fn place_kept(&self) -> Option<u128> {
        let path = self.left().join(format!("{}-{}", self.tenant, self.module));
        let age = fs::metadata(&path).and_then(|meta| meta.modified()).ok()?.elapsed().unwrap_or(KEPT);
        let came = fs::read_to_string(&path).ok()?.trim().parse().ok();
        let _ = fs::remove_file(&path);
        // A place from the future is dropped, because the clock was set back.
        came.filter(|came| age < KEPT && *came < now())
    }

    /// Keeps the place in line for the module's next order.
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

    /// Returns the names of all tickets, in the order of their arrival.
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

    /// Returns a ticket's place. Removes tickets at the head whose holders are dead.
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

    /// Records that this tenant's turn has come. If that fails, its next turn comes too early.
    fn granted(&self, held: Lock) -> Lock {
        if let Err(e) = self.served() {
            log::debug!("{e}");
        }
        held
    }

    /// Sets the time of this tenant's last turn to now.
    fn served(&self) -> Result<()> {
        let folder = self.folder.join("served");
        fs::create_dir_all(&folder).on(&folder)?;
        let path = folder.join(&self.tenant);
        let file = File::options().write(true).create(true).truncate(false).open(&path).on(&path)?;
        file.set_modified(SystemTime::now()).on(&path)?;
        forget(&folder, MOST_TENANTS)
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
        // Another driver may remove the same file. A forgotten tenant is treated like a new one, which comes next.
        let _ = fs::remove_file(path);
    }
    Ok(())
}

/// Returns a ticket's tenant, from its name.
fn tenant(name: &str) -> Option<&str> {
    let (rest, tenant) = name.rsplit_once('-')?;
    (rest.contains('-') && !tenant.is_empty()).then_some(tenant)
}

/// Sorts tickets, given in the order of arrival, by their turns: in rounds of one ticket of each tenant, and in each round the tenant that
/// has waited longest first.
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
