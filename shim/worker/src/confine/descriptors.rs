//! Names for this process's own descriptors, for an engine that opens its artifact by a path and not by a descriptor.
//!
//! The process maps the artifact when it is confined and can name only files of the container's tree, where no procfs lies. So it
//! makes a procfs of its own, which is in no tree, while it still may. That procfs shows this process alone, even if processes of
//! the host are in sight, and is closed before the filter of system calls and before any guest code.

use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags};
use rustix::mount::MountAttrFlags;

use super::detached::new_filesystem;
use super::{ConfineError, step};

/// A folder in which each open descriptor of this process has its number as its name.
pub(crate) struct Descriptors(OwnedFd);

impl Descriptors {
    /// Makes the folder. Needs the right to mount.
    pub(super) fn open() -> Result<Self, ConfineError> {
        let options = ["subset=pid".to_owned(), "hidepid=ptraceable".to_owned()];
        let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NODEV
            | MountAttrFlags::MOUNT_ATTR_NOEXEC
            | MountAttrFlags::MOUNT_ATTR_RDONLY;
        let tree = step("making a procfs to map the artifact by", new_filesystem("proc", &options, attributes))?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::openat(&tree, "self/fd", flags, Mode::empty());
        Ok(Self(step("opening the descriptors in it", folder)?))
    }

    /// Runs `load` with the folder as the working directory, and closes it. A file opened by such a name is opened anew, so that
    /// its own mode counts. A process may always look at its own descriptors, dumpable or not.
    pub(crate) fn while_in<T>(self, load: impl FnOnce() -> T) -> Result<T, ConfineError> {
        step("entering the folder of descriptors", rustix::process::fchdir(&self.0))?;
        let loaded = load();
        step("leaving the folder of descriptors", rustix::process::chdir("/"))?;
        Ok(loaded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;
    use std::path::Path;

    #[test]
    fn each_descriptor_has_its_number_as_a_file_name() {
        // In a thread, whose working directory becomes its own.
        let thread = std::thread::spawn(|| {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_FS).unwrap();
            let file = std::fs::File::open("/etc/hostname").or_else(|_| std::fs::File::open("/etc/passwd")).unwrap();
            let (number, text) = (file.as_raw_fd().to_string(), std::io::read_to_string(&file).unwrap());
            let names = Descriptors::open().unwrap();
            names
                .while_in(|| {
                    assert_eq!(std::fs::read_to_string(&number).unwrap(), text);
                    assert!(Path::new("../../self").exists() && !Path::new("../../sys").exists(), "processes alone");
                    assert_eq!(std::fs::write("../comm", "x").unwrap_err().raw_os_error(), Some(30), "EROFS");
                })
                .unwrap();
            assert_eq!(std::env::current_dir().unwrap(), Path::new("/"));
            assert!(!Path::new(&number).exists());
        });
        thread.join().unwrap();
    }
}
