//! `catamaran install`, `catamaran uninstall` and `rollback`: from looking at the node to a node that is ready, or bare.

mod glance;

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::aliases;
use crate::change::{Changer, Ended, note_folders, remove_empty_folders};
use crate::error::{Error, Result};
use crate::files::{self, digest};
use crate::handler::{Handler, Options, shim_in};
use crate::host::Host;
use crate::judge::Judge;
use crate::layout::{Layout, Wanted};
use crate::node::Node;
use crate::plan::{self, Entry};
use crate::programs::{self, CATAMARAN, Programs};
use crate::state::{self, Change, Held, Installed, Known};
pub(crate) use glance::Stamps;

pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The cache's folders and files (`shim/cache`, `shim/helper/src/compile`). Anything else in that folder is not ours.
const CACHE: [&str; 7] = ["cache", "locks", "slots", "orders", "improvements", "uncached", "memo"];
const CACHE_FILES: [&str; 2] = ["counters", "room"];
/// The shims' state while there are pods.
const RUNNING: &str = "/run/catamaran";

/// The user's settings.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) wanted: Wanted,
    pub(crate) unit: Option<String>,
    pub(crate) by_hand: bool,
    pub(crate) rollback_after: Duration,
    /// The folder on the node for links by the names of runwasi's shims.
    pub(crate) runwasi_names: Option<PathBuf>,
}

/// An installer of a node.
pub(crate) struct Installer<'a> {
    pub(crate) host: &'a Host,
    pub(crate) node: &'a dyn Node,
    pub(crate) settings: &'a Settings,
    pub(crate) say: &'a dyn Fn(&str),
}

/// The outcome of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Done {
    /// Whether containerd's configuration was changed.
    pub(crate) changed: bool,
    pub(crate) ended: Ended,
    /// Folders of older versions that stay because processes run from them.
    pub(crate) in_use: Vec<PathBuf>,
    /// Pods that a forced uninstallation broke.
    pub(crate) broken: Vec<String>,
    pub(crate) folder: Option<PathBuf>,
}

impl<'a> Installer<'a> {
    fn hold(&self) -> Result<Held<'a>> {
        let mut said = false;
        Held::take(self.host, || {
            if !std::mem::replace(&mut said, true) {
                (self.say)("waiting for another catamaran that works on this node");
            }
            self.node.step("waiting");
        })
    }

    /// Finds the node's layout. The unit is named by the user, by systemd or by the process.
    pub(crate) fn layout(&self) -> Result<Layout> {
        let mut layout = Layout::find(self.host, &self.node.processes(), &self.settings.wanted)?;
        let told = self.settings.unit.clone().or_else(|| self.node.unit_of(layout.containerd.pid));
        layout.containerd.unit = told.or(layout.containerd.unit);
        Ok(layout)
    }

    fn changer<'c>(&'c self, containerd: &'c Known, rollback: &'c Path) -> Changer<'c> {
        Changer {
            host: self.host,
            node: self.node,
            containerd,
            rollback,
            rollback_after: self.settings.rollback_after,
            by_hand: self.settings.by_hand,
            say: self.say,
        }
    }

    /// Brings the node to this version. Changes nothing that is right already.
    pub(crate) fn install(&self, programs: &Programs, name: &str, options: &Options) -> Result<Done> {
        Handler::check_name(name)?;
        let mut held = self.hold()?;
        let done = self.install_held(&mut held, programs, name, options);
        if done.is_err() {
            // The first error is reported; one of the clean-up is not.
            let _ = self.clean_up(held);
        }
        done
    }

    /// Removes a failed run's files that the state does not name.
    fn clean_up(&self, mut held: Held<'_>) -> Result<()> {
        self.clear(&held);
        if let Some(prefix) = held.state.prefix.clone() {
            let next = held.state.pending.iter().filter_map(|pending| pending.next.clone());
            let named: Vec<PathBuf> =
                held.state.installed.clone().into_iter().chain(next).map(|named| named.folder).collect();
            let named: Vec<&Path> = named.iter().map(PathBuf::as_path).collect();
            let stay = programs::collect(self.host, &prefix, &named)?;
            remove_empty_folders(self.host, &mut held)?;
            if !stay.is_empty() {
                // Save the folders that stay, so that the next run finds them.
                return held.save();
            }
        }
        let state = &held.state;
        if state.installed.is_none() && state.pending.is_none() && state.rolled_back.is_none() {
            return self.forget(held);
        }
        Ok(())
    }

    fn install_held(&self, held: &mut Held<'_>, programs: &Programs, name: &str, options: &Options) -> Result<Done> {
        (self.say)("looking at the node");
        let layout = self.layout()?;
        let containerd = known(&layout);
        check_version(&self.node.version(&containerd.program)?)?;
        let links = aliases::wanted(self.host, self.settings.runwasi_names.as_deref(), name, options)?;
        self.node.step("looked");

        (self.say)(&format!("installing the programs into {}", layout.prefix.display()));
        note_folders(self.host, held, &layout.prefix);
        if held.state.prefix.is_none() {
            held.state.had_cache = self.host.exists(&state::home().join(CACHE[0]));
        }
        held.state.prefix = Some(layout.prefix.clone());
        held.save()?;
        let folder = programs.install(self.host, &layout.prefix)?;
        self.node.step("programs");

        let handler = Handler { name: name.to_owned(), shim: shim_in(&folder), options: options.clone() };
        let entries = plan::install(self.host, held, &layout.place, &containerd.config, layout.version, &handler)?;
        let next = Installed { links, ..installed(held, &layout, &containerd, &folder, &handler, &entries)? };
        self.judge(held, &layout, &containerd, &entries, &handler)?;
        self.node.step("judged");
        self.canaries(&containerd, &handler)?;
        self.node.step("canary");

        let differs = entries.iter().any(|entry| entry.now != entry.wanted);
        // The configuration can be right and not yet read by containerd: it was restored without a restart, or copied here.
        let listed = || self.node.handlers(&containerd.socket).map(|handlers| handlers.contains(&handler.name));
        let linked = !aliases::need_restart(self.host, &held.state, &next.links);
        let changed = differs || !linked || held.state.pending.is_some() || !listed()?;
        let mut ended = Ended::Proven;
        if changed {
            if !self.settings.by_hand {
                self.node.can_restart(containerd.unit.as_deref())?;
            }
            let prove = || {
                let handlers = self.node.handlers(&containerd.socket)?;
                if !handlers.contains(&handler.name) {
                    return Err(Error::failed(
                        format!(
                            "containerd came back without the handler {:?}: it lists {}",
                            handler.name,
                            handlers.join(", ")
                        ),
                        "look at containerd's log",
                    ));
                }
                self.canaries(&containerd, &handler)
            };
            let rollback = folder.join(CATAMARAN);
            let changer = self.changer(&containerd, &rollback);
            ended = changer.carry_out(held, &entries, Some(next), &prove)?;
        } else {
            // Nothing changed that containerd reads. The state may name another folder of programs, and a link another target.
            held.state.installed = Some(next.clone());
            held.state.rolled_back = None;
            held.save()?;
            aliases::bring(self.host, self.node, held, Some(&next))?;
        }
        self.clear(held);
        let mut in_use = Vec::new();
        if ended == Ended::Proven {
            in_use = programs::collect(self.host, &layout.prefix, &[&folder])?;
        }
        self.node.step("collected");
        Ok(Done { changed, ended, in_use, broken: Vec::new(), folder: Some(folder) })
    }

    fn judge(
        &self,
        held: &Held<'_>,
        layout: &Layout,
        containerd: &Known,
        entries: &[Entry],
        handler: &Handler,
    ) -> Result<()> {
        let judge = Judge {
            host: self.host,
            node: self.node,
            program: &containerd.program,
            config: &containerd.config,
            place: &layout.place,
            staged: held.staged()?,
        };
        (self.say)("having containerd judge the configuration");
        let present = judge.present()?;
        present.check_cri(&containerd.config)?;
        let without = judge.of("without", &plan::files(entries, true))?;
        let with = judge.of("with", &plan::files(entries, false))?;
        // k0s makes its CRI's file from its folder, so that our handler in that file may come from an earlier run.
        let ours = held.state.installed.is_some() || held.state.pending.is_some();
        let made = layout.distribution == crate::layout::Distribution::K0s;
        with.check(&without, handler, ours && made)?;
        let mut handlers = held.handlers();
        handlers.push(&handler.name);
        with.check_others(&present, &handlers)?;
        held.clear_staged();
        Ok(())
    }

    fn canaries(&self, containerd: &Known, handler: &Handler) -> Result<()> {
        for engine in handler.options.engines() {
            (self.say)(&format!("running a test program on {engine}"));
            self.node.canary(containerd, &handler.shim, &engine, &handler.options)?;
        }
        Ok(())
    }

    /// Removes files that only one run needs.
    fn clear(&self, held: &Held<'_>) {
        held.clear_staged();
        let _ = files::remove_folder(self.host, &state::folder().join("canary"));
    }

    /// Brings the node back to how it was before the first installation.
    pub(crate) fn uninstall(&self, force: bool) -> Result<Done> {
        let mut held = self.hold()?;
        let of_pending = held.state.pending.as_ref().and_then(|pending| pending.next.clone());
        let Some(installed) = held.state.installed.clone().or(of_pending) else {
            // An earlier run ended before it wrote anything down, or an uninstallation ended just before its end.
            if let Some(prefix) = held.state.prefix.clone() {
                let stay = programs::collect(self.host, &prefix, &[])?;
                if let Some(folder) = stay.first().filter(|_| !force) {
                    return Err(Error::refused(
                        format!("processes run from {}, of an installation that was not finished", folder.display()),
                        "run `catamaran uninstall` again when they are gone, or write --force",
                    ));
                }
                for folder in stay {
                    files::remove_folder(self.host, &folder)?;
                }
            }
            remove_empty_folders(self.host, &mut held)?;
            self.forget(held)?;
            return Ok(Done {
                changed: false,
                ended: Ended::Proven,
                in_use: Vec::new(),
                broken: Vec::new(),
                folder: None,
            });
        };
        let containerd = &installed.containerd;
        let broken = self.in_use(&installed, force)?;
        let entries = plan::uninstall(self.host, &held, &installed.place, &containerd.config)?;
        let differs =
            entries.iter().any(|entry| entry.now != entry.wanted) || aliases::need_restart(self.host, &held.state, &[]);
        let mut ended = Ended::Proven;
        if differs || held.state.pending.is_some() {
            let foreign = self.judge_without(&held, &installed, &entries)?;
            if !self.settings.by_hand {
                self.node.can_restart(containerd.unit.as_deref())?;
            }
            let handler = installed.handler.clone();
            let prove = || {
                let handlers = self.node.handlers(&containerd.socket)?;
                if handlers.contains(&handler) && !foreign {
                    return Err(Error::failed(
                        format!("containerd came back and still lists the handler {handler:?}"),
                        "look for another file of containerd's configuration that has it",
                    ));
                }
                Ok(())
            };
            let rollback = installed.folder.join(CATAMARAN);
            ended = self.changer(containerd, &rollback).carry_out(&mut held, &entries, None, &prove)?;
        }
        let done = |in_use| Done { changed: differs, ended, in_use, broken: broken.clone(), folder: None };
        if ended == Ended::RestartNeeded {
            // The programs stay, because containerd still has the handler.
            return Ok(done(Vec::new()));
        }
        self.node.step("configuration-back");
        (self.say)("removing the programs");
        for folder in programs::versions(self.host, &installed.prefix) {
            files::remove_folder(self.host, &folder)?;
            self.node.step("version-removed");
        }
        remove_if_empty(self.host, &installed.prefix);
        remove_empty_folders(self.host, &mut held)?;
        self.node.step("programs-removed");
        (self.say)("removing the cache and the state");
        self.forget(held)?;
        Ok(done(Vec::new()))
    }

    /// The pods that run on our handler, and on the handlers that k3s made for our links. Refuses if there are any, unless forced.
    fn in_use(&self, installed: &Installed, force: bool) -> Result<Vec<String>> {
        let mut pods = Vec::new();
        let made = aliases::handlers(self.host, &installed.links);
        for handler in std::iter::once(installed.handler.as_str()).chain(made) {
            let found: Vec<String> = match self.node.pods(&installed.containerd.socket, handler) {
                Ok(found) => found.into_iter().map(|pod| pod.name).collect(),
                Err(_) if force => Vec::new(),
                Err(e) => {
                    return Err(Error::refused(
                        format!("it is unknown which pods use the handler {handler:?}: {}", e.problem().found),
                        "start containerd first, or write --force: then its configuration is restored without asking",
                    ));
                }
            };
            if !force && !found.is_empty() {
                return Err(Error::refused(
                    format!("pods use the handler {handler:?}: {}", found.join(", ")),
                    "delete them first (kubectl drain moves them to other nodes); --force breaks them: they run on, but neither exec nor their deletion works any more",
                ));
            }
            pods.extend(found);
        }
        let versions = programs::versions(self.host, &installed.prefix);
        // A forced uninstallation does not wait for processes.
        if !force && let Some(folder) = versions.iter().find(|folder| programs::in_use(self.host, folder)) {
            return Err(Error::refused(
                format!("processes run from {}: containers of ctr or nerdctl, or pods that just end", folder.display()),
                "end them first (ctr namespaces ls, ctr -n NAMESPACE tasks ls), or write --force, which breaks them",
            ));
        }
        Ok(pods)
    }

    /// Judges the configuration without our part. Returns whether a handler of our name remains all the same.
    fn judge_without(&self, held: &Held<'_>, installed: &Installed, entries: &[Entry]) -> Result<bool> {
        let judge = Judge {
            host: self.host,
            node: self.node,
            program: &installed.containerd.program,
            config: &installed.containerd.config,
            place: &installed.place,
            staged: held.staged()?,
        };
        (self.say)("having containerd judge the configuration");
        let without = judge.of("without", &plan::files(entries, false))?;
        // A configuration that is broken now is not compared: the uninstallation mends it, or makes it no worse.
        if let Ok(present) = judge.present() {
            without.check_others(&present, &held.handlers())?;
        }
        held.clear_staged();
        Ok(without.handler(&installed.handler).is_some())
    }

    /// Removes the cache, and last of all the state.
    fn forget(&self, held: Held<'_>) -> Result<()> {
        let home = state::home();
        let own = state::folder();
        if held.state.installed.is_some() || (held.state.prefix.is_some() && !held.state.had_cache) {
            for name in CACHE {
                files::remove_folder(self.host, &home.join(name))?;
                self.node.step("cache-removed");
            }
            for name in CACHE_FILES {
                files::remove(self.host, &home.join(name))?;
            }
            for entry in std::fs::read_dir(self.host.at(Path::new(RUNNING))).into_iter().flatten().flatten() {
                let _ = std::fs::remove_dir(entry.path());
            }
            remove_if_empty(self.host, Path::new(RUNNING));
        }
        self.clear(&held);
        files::remove_folder(self.host, &own.join("before"))?;
        files::remove(self.host, &own.join("state.json"))?;
        self.node.step("state-removed");
        files::remove_folder(self.host, &own)?;
        remove_if_empty(self.host, &home);
        drop(held);
        Ok(())
    }

    /// Takes a change back whose installer is dead or hangs. Returns whether this was necessary.
    pub(crate) fn roll_back(&self, id: &str) -> Result<bool> {
        let mut held = self.hold()?;
        let Some(pending) = held.state.pending.clone() else { return Ok(false) };
        let program = PathBuf::from("/");
        self.changer(&pending.containerd, &program).roll_back(&mut held, id)
    }
}

fn remove_if_empty(host: &Host, folder: &Path) {
    let _ = std::fs::remove_dir(host.at(folder));
}

pub(crate) fn known(layout: &Layout) -> Known {
    let containerd = &layout.containerd;
    Known {
        program: containerd.program.clone(),
        config: containerd.config.clone(),
        socket: containerd.socket.clone(),
        unit: containerd.unit.clone(),
    }
}

fn installed(
    held: &Held<'_>,
    layout: &Layout,
    containerd: &Known,
    folder: &Path,
    handler: &Handler,
    entries: &[Entry],
) -> Result<Installed> {
    let mut changes = Vec::new();
    for entry in entries.iter().filter(|entry| entry.wanted != entry.original) {
        let before = entry.original.as_deref().map(|bytes| held.keep(bytes)).transpose()?;
        changes.push(Change { path: entry.path.clone(), before, after: entry.wanted.as_deref().map(digest) });
    }
    Ok(Installed {
        version: VERSION.to_owned(),
        handler: handler.name.clone(),
        distribution: layout.distribution,
        place: layout.place.clone(),
        prefix: layout.prefix.clone(),
        folder: folder.to_owned(),
        containerd: containerd.clone(),
        files: changes,
        links: Vec::new(),
    })
}

/// Refuses a containerd older than 2.0, by the output of `containerd --version`.
pub(crate) fn check_version(words: &str) -> Result<String> {
    let number = words.split_whitespace().find(|word| {
        let word = word.trim_start_matches('v');
        word.contains('.') && word.starts_with(|first: char| first.is_ascii_digit())
    });
    let Some(number) = number.map(|number| number.trim_start_matches('v')) else {
        return Err(Error::refused(
            format!("`containerd --version` says {words:?}, in which there is no version"),
            "look whether that program is containerd 2.0 or later",
        ));
    };
    let major: u32 = number.split('.').next().and_then(|major| major.parse().ok()).unwrap_or(0);
    if major < 2 {
        return Err(Error::refused(
            format!("this node's containerd is {number}, which cannot talk to the shim (task API 3 came with 2.0)"),
            "upgrade containerd to 2.0 or later; 1.7 is out of support",
        ));
    }
    Ok(number.to_owned())
}

#[cfg(test)]
mod tests;
