//! A change of the node's configuration, from the first file to the proof that containerd runs by it, or back.
//!
//! ```text
//! written down --> armed --> swapped --> restarted --> proven --> done, disarmed
//!       |            |          |            |            |
//!       '------------'----------'------------'------------'--> taken back: files as before, restarted, written down
//! ```
//!
//! An installer that is killed on the way leaves a change that is written down. Three may find it: the next run, which goes on with it;
//! the rollback, a unit of its own, which takes it back unless containerd has proven itself meanwhile; and an administrator, by `status`.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::aliases;
use crate::containerd;
use crate::error::{Error, Problem, Result};
use crate::files::{self, digest};
use crate::host::Host;
use crate::node::{Node, Rollback};
use crate::plan::Entry;
use crate::state::{Change, Held, Installed, Known, Pending};

/// How a change ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    Proven,
    /// The files are in place, and the administrator has to restart containerd.
    RestartNeeded,
}

/// All that a change needs.
pub(crate) struct Changer<'a> {
    pub(crate) host: &'a Host,
    pub(crate) node: &'a dyn Node,
    pub(crate) containerd: &'a Known,
    /// The program that a rollback runs.
    pub(crate) rollback: &'a Path,
    pub(crate) rollback_after: Duration,
    pub(crate) by_hand: bool,
    pub(crate) say: &'a dyn Fn(&str),
}

impl Changer<'_> {
    /// Carries out a plan. `next` is what is installed afterwards, and `prove` checks it.
    pub(crate) fn carry_out(
        &self,
        held: &mut Held<'_>,
        entries: &[Entry],
        next: Option<Installed>,
        prove: &dyn Fn() -> Result<()>,
    ) -> Result<Ended> {
        let earlier = held.state.pending.clone();
        let differing: Vec<&Entry> = entries.iter().filter(|entry| entry.now != entry.wanted).collect();
        // An earlier run may have been killed after its restart, as k3s' restart kills an installer that is a pod: skip to the proof
        // then.
        let same = differing.is_empty() && aliases::are_right(self.host, &held.state, next.as_ref());
        let restarted = same && earlier.as_ref().is_some_and(|earlier| self.is_restarted(earlier));
        let process = self.process();
        let before = earlier.as_ref().map(|earlier| earlier.id.clone());
        if !restarted {
            self.begin(held, earlier, &differing, next, process)?;
        }
        let done = self.proceed(held, &differing, before.as_deref().filter(|_| !restarted), restarted, prove);
        match done {
            Ok(Ended::RestartNeeded) => Ok(Ended::RestartNeeded),
            Ok(Ended::Proven) => {
                self.finish(held)?;
                Ok(Ended::Proven)
            }
            Err(why) => Err(self.take_back(held, why.problem())),
        }
    }

    fn begin(
        &self,
        held: &mut Held<'_>,
        earlier: Option<Pending>,
        differing: &[&Entry],
        next: Option<Installed>,
        process: Option<(u32, u64)>,
    ) -> Result<()> {
        let mut files = Vec::new();
        for entry in differing {
            let before = entry.now.as_deref().map(|bytes| held.keep(bytes)).transpose()?;
            files.push(Change { path: entry.path.clone(), before, after: entry.wanted.as_deref().map(digest) });
        }
        if let Some(earlier) = &earlier {
            // A rollback restores the files as they were before the first of these runs.
            for old in &earlier.files {
                match files.iter_mut().find(|change| change.path == old.path) {
                    Some(change) if change.before == old.after => change.before.clone_from(&old.before),
                    Some(_) => (),
                    None => files.insert(0, old.clone()),
                }
            }
        }
        let read = earlier.is_some_and(|earlier| earlier.swapped || earlier.read);
        let containerd = self.containerd.clone();
        held.state.pending = Some(Pending { id: id(), files, next, containerd, swapped: false, read, process });
        for folder in differing.iter().filter(|entry| entry.wanted.is_some()).filter_map(|entry| entry.path.parent()) {
            note_folders(self.host, held, folder);
        }
        held.save()?;
        self.node.step("written-down");
        Ok(())
    }

    fn proceed(
        &self,
        held: &mut Held<'_>,
        differing: &[&Entry],
        earlier: Option<&str>,
        restarted: bool,
        prove: &dyn Fn() -> Result<()>,
    ) -> Result<Ended> {
        if !restarted {
            if !self.by_hand {
                let id = held.state.pending.as_ref().map_or("", |pending| &pending.id);
                self.node.arm(&Rollback { id, program: self.rollback, after: self.rollback_after })?;
            }
            // Disarm the earlier run's timer last, so that one is armed at every moment.
            if let Some(earlier) = earlier {
                self.node.disarm(earlier)?;
            }
            self.node.step("armed");
            // Make the links first: a folder that is read-only is then reported before any file is touched.
            let next = held.state.pending.as_ref().and_then(|pending| pending.next.clone());
            aliases::bring(self.host, self.node, held, next.as_ref())?;
            for entry in differing {
                self.write(&entry.path, entry.wanted.as_deref())?;
                self.node.step("file");
            }
            if let Some(pending) = &mut held.state.pending {
                pending.swapped = true;
            }
            held.save()?;
            self.node.step("swapped");
            if self.by_hand {
                return Ok(Ended::RestartNeeded);
            }
            (self.say)(&format!("restarting {}", self.containerd.unit.as_deref().unwrap_or("containerd")));
            self.node.restart(self.containerd.unit.as_deref())?;
            self.node.step("restarted");
        }
        (self.say)("waiting for containerd");
        prove()?;
        self.node.step("proven");
        Ok(Ended::Proven)
    }

    /// Writes down that the change is done, and disarms the rollback.
    fn finish(&self, held: &mut Held<'_>) -> Result<()> {
        let Some(pending) = held.state.pending.clone() else { return Ok(()) };
        self.node.disarm(&pending.id)?;
        held.state.pending = None;
        held.state.rolled_back = None;
        // An uninstallation stays pending until all of it is gone.
        if let Some(next) = pending.next {
            held.state.installed = Some(next);
        } else if let Some(installed) = &mut held.state.installed {
            installed.files.clear();
            installed.links.clear();
        }
        held.save()?;
        self.node.step("done");
        held.forget_unused();
        remove_empty_folders(self.host, held)
    }

    /// Takes the change back. Returns the error that reports this.
    fn take_back(&self, held: &mut Held<'_>, why: &Problem) -> Error {
        (self.say)("taking the change back");
        match self.revert(held, &why.found) {
            Ok(()) => Error::RolledBack(Problem::new(
                format!("{}\n  The change was taken back: containerd runs by the configuration of before", why.found),
                why.remedy.clone(),
            )),
            Err(e) => Error::failed(
                format!("{}\n  Nor could the change be taken back: {}", why.found, e.problem().found),
                format!("{}; then run the command again, which goes on from there", e.problem().remedy),
            ),
        }
    }

    /// Restores the files of before, and has containerd read them.
    fn revert(&self, held: &mut Held<'_>, why: &str) -> Result<()> {
        let Some(pending) = held.state.pending.clone() else { return Ok(()) };
        for change in pending.files.iter().rev() {
            let now = self.host.read(&change.path)?.as_deref().map(digest);
            // Somebody else has changed the file since: it stays.
            if now != change.after {
                continue;
            }
            let before = change.before.as_deref().map(|name| held.kept(name)).transpose()?;
            self.write(&change.path, before.as_deref())?;
            self.node.step("file-back");
        }
        let installed = held.state.installed.clone();
        let linked = aliases::bring(self.host, self.node, held, installed.as_ref());
        // A containerd that never read the new files needs no restart.
        if (pending.swapped || pending.read) && !self.by_hand {
            self.node.restart(pending.containerd.unit.as_deref())?;
            self.node.handlers(&pending.containerd.socket)?;
        }
        // Report a failure of the links only now: containerd runs by its configuration of before in any case.
        linked?;
        self.node.disarm(&pending.id)?;
        held.state.pending = None;
        held.state.rolled_back = Some(why.to_owned());
        held.save()?;
        held.forget_unused();
        remove_empty_folders(self.host, held)
    }

    /// Rolls back when the time has come: the installer is dead, or hangs.
    pub(crate) fn roll_back(&self, held: &mut Held<'_>, id: &str) -> Result<bool> {
        let Some(pending) = held.state.pending.clone().filter(|pending| pending.id == id) else { return Ok(false) };
        let listed = || self.node.handlers(&pending.containerd.socket).ok();
        if self.is_restarted(&pending)
            && let Some(handlers) = listed()
        {
            let proven = match &pending.next {
                Some(next) => handlers.contains(&next.handler),
                None => held.state.installed.as_ref().is_none_or(|installed| !handlers.contains(&installed.handler)),
            };
            if proven {
                self.finish(held)?;
                return Ok(false);
            }
        }
        self.revert(held, "the installer ended, or hung, before containerd had proven itself")?;
        Ok(true)
    }

    /// Whether the running containerd was started after the change's last file was written.
    fn is_restarted(&self, pending: &Pending) -> bool {
        pending.swapped && self.process().is_some_and(|process| Some(process) != pending.process)
    }

    fn process(&self) -> Option<(u32, u64)> {
        let found = containerd::find(self.host, &self.node.processes(), &self.containerd.socket).ok()?;
        Some((found.pid, self.node.started(found.pid)?))
    }

    fn write(&self, path: &Path, bytes: Option<&[u8]>) -> Result<()> {
        files::remove_unfinished(self.host, path);
        let Some(bytes) = bytes else { return files::remove(self.host, path) };
        files::make_folders(self.host, path.parent().unwrap_or(Path::new("/")))?;
        files::replace(self.host, path, bytes)
    }
}

/// Remembers which folders are about to be made for `folder`, so that they can be removed again.
pub(crate) fn note_folders(host: &Host, held: &mut Held<'_>, folder: &Path) {
    let missing: Vec<PathBuf> =
        folder.ancestors().take_while(|folder| !host.exists(folder)).map(Path::to_owned).collect();
    for folder in missing.into_iter().rev() {
        if !held.state.folders.contains(&folder) {
            held.state.folders.push(folder);
        }
    }
}

/// Removes the folders that the installer made and that are empty again.
pub(crate) fn remove_empty_folders(host: &Host, held: &mut Held<'_>) -> Result<()> {
    let folders = held.state.folders.clone();
    let mut kept: Vec<PathBuf> = Vec::new();
    for folder in folders.into_iter().rev() {
        match std::fs::remove_dir(host.at(&folder)) {
            Ok(()) => (),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => (),
            Err(_) => kept.push(folder),
        }
    }
    kept.reverse();
    if kept != held.state.folders {
        held.state.folders = kept;
        held.save()?;
    }
    Ok(())
}

fn id() -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    format!("{:x}-{:x}", now.as_nanos(), std::process::id())
}
