//! A cheap check, for callers that check often: whether an installation is as it was left.
//!
//! The check runs nothing, neither containerd nor a test program, and reads no program: inodes and times show whether somebody wrote to
//! them. It compares the files with those that `install` would write, and asks containerd for its handlers.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::{Installer, known};
use crate::aliases;
use crate::error::Result;
use crate::handler::{Handler, Options, shim_in};
use crate::host::Host;
use crate::layout::Layout;
use crate::plan;
use crate::programs::{self, PROGRAMS, Programs};
use crate::state::Installed;

/// Tells whether a folder's programs are unchanged: the mode, inode, length and time of change of each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stamps(Vec<Option<[u64; 5]>>);

impl Stamps {
    /// Reads the stamps of a folder that was just installed, and so compared byte by byte.
    pub(crate) fn read(host: &Host, folder: &Path) -> Self {
        let folder = host.at(folder);
        let stamp = |name: &str| {
            let data = fs::symlink_metadata(folder.join(name)).ok()?;
            let change = [data.ctime(), data.ctime_nsec()].map(i64::cast_unsigned);
            Some([data.mode().into(), data.ino(), data.size(), change[0], change[1]])
        };
        Self(PROGRAMS.iter().map(|(name, _)| stamp(name)).collect())
    }
}

impl Installer<'_> {
    /// Returns the first thing that is not as `install` left it, in words, or None. `stamps` are the installed programs'.
    pub(crate) fn glance(
        &self,
        programs: &Programs,
        name: &str,
        options: &Options,
        stamps: &Stamps,
    ) -> Result<Option<String>> {
        let held = self.hold()?;
        let state = &held.state;
        let Some(installed) = &state.installed else { return Ok(Some("nothing is installed".to_owned())) };
        if state.pending.is_some() {
            return Ok(Some("a change is under way, or its installer was killed".to_owned()));
        }
        if state.rolled_back.is_some() {
            return Ok(Some("the last change was taken back".to_owned()));
        }
        if installed.handler != name || installed.folder != installed.prefix.join(&programs.name) {
            return Ok(Some(format!(
                "{} of the handler {:?} is installed",
                installed.folder.display(),
                installed.handler
            )));
        }
        if Stamps::read(self.host, &installed.folder) != *stamps {
            return Ok(Some(format!("the programs in {} were changed", installed.folder.display())));
        }
        let links = aliases::wanted(self.host, self.settings.runwasi_names.as_deref(), name, options)?;
        if links != installed.links {
            return Ok(Some("other links by the names of runwasi's shims are asked for".to_owned()));
        }
        let shim = shim_in(&installed.folder);
        if let Some(link) = links.iter().find(|link| !aliases::leads_to(self.host, link, &shim)) {
            return Ok(Some(format!("{} does not lead to the shim", link.display())));
        }
        let layout = Layout::find(self.host, &self.node.processes(), &self.settings.wanted)?;
        if is_elsewhere(&layout, installed) {
            return Ok(Some("the node's containerd, or the place of its handler, is another one".to_owned()));
        }
        let handler = Handler { name: name.to_owned(), shim, options: options.clone() };
        let config = &layout.containerd.config;
        let entries = plan::install(self.host, &held, &layout.place, config, layout.version, &handler)?;
        if let Some(entry) = entries.iter().find(|entry| entry.now != entry.wanted) {
            return Ok(Some(format!("{} is not as it was written", entry.path.display())));
        }
        if !self.node.handlers(&installed.containerd.socket)?.contains(&installed.handler) {
            return Ok(Some(format!("containerd does not list the handler {:?}", installed.handler)));
        }
        // The last pods of older versions may be gone by now.
        if programs::versions(self.host, &installed.prefix).len() > 1 {
            programs::collect(self.host, &installed.prefix, &[&installed.folder])?;
        }
        Ok(None)
    }
}

fn is_elsewhere(layout: &Layout, installed: &Installed) -> bool {
    let (now, then) = (known(layout), &installed.containerd);
    (&now.program, &now.config, &now.socket) != (&then.program, &then.config, &then.socket)
        || (&layout.place, &layout.prefix) != (&installed.place, &installed.prefix)
}
