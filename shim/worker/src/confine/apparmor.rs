//! `process.apparmorProfile`: the label under which guest code runs (apparmor(7), aa_change_profile(2)).

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::{ConfineError, step};
use crate::job::Job;

/// The files by which a thread changes its own label; the first is that of a kernel with several security modules.
const PLACES: [&str; 2] = ["thread-self/attr/apparmor/current", "thread-self/attr/current"];

/// Opens the host's procfs, for a worker that is going to change its label: the worker opens its own file in it, and has no procfs
/// in its tree.
pub(super) fn procfs(job: &Job) -> Result<Option<OwnedFd>, ConfineError> {
    if job.apparmor.is_none() {
        return Ok(None);
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    step("opening /proc", rustix::fs::open("/proc", flags, Mode::empty())).map(Some)
}

/// A profile to change to, and the file to write it to.
pub(crate) struct Label {
    file: File,
    name: String,
}

impl Label {
    /// Opens the file for the job's profile; None if the spec asks for no profile.
    pub(super) fn open(job: &Job, procfs: Option<OwnedFd>) -> Result<Option<Self>, ConfineError> {
        let (Some(name), Some(procfs)) = (job.apparmor.clone(), procfs) else { return Ok(None) };
        let file = step(format_args!("process.apparmorProfile: changing to {name}"), open_first(&procfs))?;
        Ok(Some(Self { file, name }))
    }

    /// Changes to the profile. Only the filter comes later: the profile is made for the container's own acts, and may deny those
    /// of its confinement (capabilities), or the artifact, whose path is not in its tree.
    pub(crate) fn apply(mut self) -> Result<(), ConfineError> {
        let words = format!("changeprofile {}", self.name);
        let changed = self.file.write_all(words.as_bytes()).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => io::Error::new(e.kind(), format!("{e}: is the profile loaded on this node?")),
            _ => e,
        });
        step(format_args!("process.apparmorProfile: changing to {}", self.name), changed)
    }
}

fn open_first(procfs: &OwnedFd) -> rustix::io::Result<File> {
    let [first, second] = PLACES;
    let open = |place| rustix::fs::openat(procfs, place, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty());
    match open(first) {
        Err(Errno::NOENT) => open(second),
        opened => opened,
    }
    .map(File::from)
}
