//! `process.apparmorProfile`: the label under which guest code runs (apparmor(7), aa_change_profile(2)).

use std::fs::File;
use std::io::{self, Write};

use super::{ConfineError, step};
use crate::job::Job;

/// Where a thread's own label is changed: first the place of a kernel with several security modules.
const PLACES: [&str; 2] = ["/proc/thread-self/attr/apparmor/current", "/proc/thread-self/attr/current"];

/// A profile to change to, and the file to say so in: it is out of reach once the container's tree is entered.
pub(crate) struct Label {
    file: File,
    name: String,
}

impl Label {
    /// Opens the way to the job's profile; none where the spec asks for none.
    pub(super) fn open(job: &Job) -> Result<Option<Self>, ConfineError> {
        let Some(name) = job.apparmor.clone() else { return Ok(None) };
        let file = step(format_args!("process.apparmorProfile: changing to {name}"), open_first())?;
        Ok(Some(Self { file, name }))
    }

    /// Changes to the profile. Last but the filter: the profile is made for what the container does, and may deny what its
    /// confinement needs (capabilities), or the artifact, whose path is not in its tree.
    pub(crate) fn apply(mut self) -> Result<(), ConfineError> {
        let words = format!("changeprofile {}", self.name);
        let changed = self.file.write_all(words.as_bytes()).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => io::Error::new(e.kind(), format!("{e}: is the profile loaded on this node?")),
            _ => e,
        });
        step(format_args!("process.apparmorProfile: changing to {}", self.name), changed)
    }
}

fn open_first() -> io::Result<File> {
    let [first, second] = PLACES;
    match File::options().write(true).open(first) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => File::options().write(true).open(second),
        opened => opened,
    }
}
