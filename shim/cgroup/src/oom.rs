//! Tells when the kernel has killed in a container's cgroup because memory ran out.
//!
//! The kernel counts a kill before it sends the signal: once a process has ended, its kill is in the counter. The watch is for
//! kills before the worker's end, of another process of the container, and for a scope of systemd's, which is gone a moment after
//! its last process.
//!
//! ```text
//!        counter                          woken by
//! v1     memory.oom_control: oom_kill     an eventfd in cgroup.event_control: when memory has run out, before the kill
//! v2     memory.events: oom_kill          poll(2) of that file: PRI. inotify would take one of the few instances that a user
//!                                         of the host has (128 by default)
//! ```

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use catamaran_host::readable::registered;
use nix::libc;
use rustix::event::EventfdFlags;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::write::put;
use super::{Cgroup, Kind};
use crate::error::{self, Doing};

const V1: &str = "memory.oom_control";
const V2: &str = "memory.events";

impl Cgroup {
    /// Returns the slice of a scope, which systemd removes when it is empty; None for other cgroups.
    pub fn slice(&self) -> Option<&Path> {
        match &self.kind {
            Kind::Systemd(_, found) => found.get()?.parent(),
            Kind::V1(_) | Kind::V2(_) => None,
        }
    }

    /// Returns how often the kernel has killed in the cgroup because memory ran out; None if it does not count that, or the
    /// counter is gone.
    pub fn kills(&self) -> error::Result<Option<u64>> {
        let Some(folder) = self.files("memory") else { return Ok(None) };
        count(folder, self.is_v1()).doing(|| "looking for the kernel's kills".to_owned())
    }

    /// Watches the cgroup for the kernel's kills; None without a memory controller.
    pub fn watch_kills(&self) -> error::Result<Option<Watch>> {
        let Some(folder) = self.files("memory") else { return Ok(None) };
        match Watch::new(folder, self.is_v1()) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            watch => watch.map(Some).doing(|| "watching for the kernel's kills".to_owned()),
        }
    }
}

/// Returns how often the kernel has killed in the cgroup of a folder; None if it does not count that, or the counter is gone.
pub(crate) fn count(folder: &Path, v1: bool) -> io::Result<Option<u64>> {
    let path = folder.join(if v1 { V1 } else { V2 });
    match std::fs::read_to_string(&path) {
        Ok(text) => parse(&text, &path),
        Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ENODEV)) => Ok(None),
        Err(e) => Err(told(&path, &e)),
    }
}

fn parse(text: &str, path: &Path) -> io::Result<Option<u64>> {
    // v1 has this line since Linux 4.13, v2 from the beginning.
    let Some(value) = text.lines().find_map(|line| line.strip_prefix("oom_kill ")) else { return Ok(None) };
    let strange =
        |e| io::Error::new(io::ErrorKind::InvalidData, format!("{}: oom_kill {value:?}: {e}", path.display()));
    value.trim().parse().map(Some).map_err(strange)
}

/// When to look at v1's counter again, because v1's event comes before the kill. The kernel's own report of the kill may delay it.
const PAUSES: [Duration; 12] = {
    let mut pauses = [Duration::from_millis(1); 12];
    let mut n = 1;
    while n < pauses.len() {
        pauses[n] = Duration::from_millis(1 << n);
        n += 1;
    }
    pauses
};

/// A watch for the next kill. It has one descriptor, which is closed when it is dropped.
#[derive(Debug)]
pub struct Watch {
    descriptor: AsyncFd<OwnedFd>,
    interest: Interest,
}

impl Watch {
    /// Watches the cgroup of a folder.
    pub(crate) fn new(folder: &Path, v1: bool) -> io::Result<Self> {
        let (descriptor, interest) =
            if v1 { (event(folder)?, Interest::READABLE) } else { (open(folder, V2)?.into(), Interest::PRIORITY) };
        Ok(Self { descriptor: registered(descriptor, interest)?, interest })
    }

    /// Waits until there may have been a kill since the last wait, or one is about to come.
    pub async fn changed(&self) -> io::Result<()> {
        // The event loop is woken by each new event, whether the descriptor was read or not.
        self.descriptor.ready(self.interest).await?.clear_ready();
        Ok(())
    }

    /// Returns the pauses between looks at the counter after an event, for as long as the kill is not in it.
    pub fn pauses(&self) -> &'static [Duration] {
        if self.interest == Interest::READABLE { &PAUSES } else { &[] }
    }
}

fn open(folder: &Path, file: &str) -> io::Result<File> {
    let path = folder.join(file);
    File::open(&path).map_err(|e| told(&path, &e))
}

/// Makes an eventfd that the kernel signals when memory runs out, on v1. Closing it ends the registration.
fn event(folder: &Path) -> io::Result<OwnedFd> {
    let event = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    let file = open(folder, V1)?;
    let control = folder.join("cgroup.event_control");
    put(&control, &format!("{} {}", event.as_raw_fd(), file.as_raw_fd())).map_err(|e| told(&control, &e))?;
    Ok(event)
}

fn told(path: &Path, e: &io::Error) -> io::Error {
    io::Error::new(e.kind(), format!("{}: {e}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn folder(name: &str, files: &[(&str, &str)]) -> std::path::PathBuf {
        let folder = std::env::temp_dir().join(format!("catamaran-kills-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        files.iter().for_each(|(file, text)| fs::write(folder.join(file), text).unwrap());
        folder
    }

    #[test]
    fn the_kernels_oom_counters_are_read() {
        let v1 = "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n";
        let v2 = "low 0\nhigh 0\nmax 12\noom 2\noom_kill 1\noom_group_kill 7\n";
        let folder = folder("counters", &[(V1, v1), (V2, v2)]);
        assert_eq!((count(&folder, true).unwrap(), count(&folder, false).unwrap()), (Some(3), Some(1)));
        fs::write(folder.join(V1), "oom_kill_disable 0\nunder_oom 0\n").unwrap();
        assert_eq!(count(&folder, true).unwrap(), None, "a kernel that does not count");
        fs::write(folder.join(V2), "oom_kill many\n").unwrap();
        let text = count(&folder, false).unwrap_err().to_string();
        assert!(text.contains("memory.events: oom_kill \"many\""), "{text}");
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(count(&folder, false).unwrap(), None, "a cgroup that is gone");
    }

    #[test]
    fn a_cgroup_that_cannot_be_watched_says_why() {
        let folder = folder("nothing", &[]);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        let _inside = runtime.enter();
        for (v1, file) in [(true, V1), (false, V2)] {
            let e = Watch::new(&folder, v1).unwrap_err();
            assert_eq!(e.kind(), io::ErrorKind::NotFound);
            assert!(e.to_string().contains(file), "{e}");
        }
        fs::remove_dir_all(&folder).unwrap();
    }
}
