//! Restricts the devices of a container: its processes can open the five default ones, whatever the spec's rules say, and make
//! none. This is a second wall behind `nodev` and the missing CAP_MKNOD, for a worker that is root and for the host's later
//! mounts. The kernel keeps it with the cgroup, so that nothing has to be held open for it.

use std::path::Path;

use super::bpf;
use super::write::put;
use crate::error::{Doing, Result};

/// Major number of the memory devices (kernel documentation, admin-guide/devices).
pub(crate) const MEMORY: u32 = 1;
/// null, zero, full, random, urandom.
pub(crate) const MINORS: [u32; 5] = [3, 5, 7, 8, 9];

/// Restricts the devices by the rules of v1's devices controller.
pub(crate) fn restrict_by_rules(folder: &Path) -> Result<()> {
    let deny = folder.join("devices.deny");
    put(&deny, "a").on(&deny)?;
    let allow = folder.join("devices.allow");
    MINORS.iter().try_for_each(|minor| put(&allow, &format!("c {MEMORY}:{minor} rw")).on(&allow))
}

/// Restricts the devices by a program that v2 runs whenever a process opens or makes a device.
pub(crate) fn restrict_by_program(folder: &Path) -> Result<()> {
    let doing = || format!("restricting the devices of {} by a BPF program, which has to be", folder.display());
    bpf::attach(folder, &bpf::device_program(MEMORY, &MINORS)).doing(doing)
}

#[cfg(test)]
mod tests {
    use super::super::hierarchy;
    use super::*;
    use std::fs;
    use std::os::unix::process::ExitStatusExt;
    use std::path::PathBuf;
    use std::process::Command;

    struct Folder(PathBuf);

    impl Folder {
        fn new(mount: &Path, name: &str) -> Self {
            let folder = mount.join(format!("catamaran-{name}-{}", std::process::id()));
            fs::create_dir(&folder).unwrap();
            Self(folder)
        }

        /// Runs a script in the cgroup, and returns whether it succeeded.
        fn runs(&self, script: &str) -> bool {
            let script = format!("echo $$ > {}/cgroup.procs && {script}", self.0.display());
            let status =
                Command::new("sh").args(["-ec", &script]).stderr(std::process::Stdio::null()).status().unwrap();
            assert_eq!(status.signal(), None);
            status.success()
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir(&self.0);
        }
    }

    /// Checks that a process in the cgroup, as root, can open the five devices and no more.
    fn check(folder: &Folder, restrict: impl Fn(&Path) -> Result<()>) {
        let node = std::env::temp_dir().join(folder.0.file_name().unwrap());
        let mknod = format!("mknod {0} c 1 3 && rm {0}", node.display());
        // Opening a terminal's device, and making a null device: both work without the wall.
        let refused = ["exec 3<> /dev/ptmx", mknod.as_str()];
        assert!(refused.iter().all(|script| folder.runs(script)), "the test needs a host that lets root do this");
        restrict(&folder.0).unwrap();
        for device in ["null", "zero", "full", "random", "urandom"] {
            assert!(folder.runs(&format!("exec 3<> /dev/{device}")), "/dev/{device}");
        }
        for script in refused {
            assert!(!folder.runs(script), "{script}");
        }
        let _ = fs::remove_file(node);
    }

    #[test]
    fn a_program_lets_five_devices_be_opened() {
        let v2 = if hierarchy::is_unified() {
            PathBuf::from(hierarchy::ROOT)
        } else {
            let all = hierarchy::mounted().unwrap();
            all.into_iter().find(hierarchy::Hierarchy::is_v2).expect("a host with cgroup v2 mounted").mount
        };
        check(&Folder::new(&v2, "program"), restrict_by_program);
    }

    #[test]
    fn rules_let_five_devices_be_opened() {
        if hierarchy::is_unified() {
            // v2 has no rules: the other test has the only way.
            let folder = Folder::new(Path::new(hierarchy::ROOT), "rules");
            let text = restrict_by_rules(&folder.0).unwrap_err().to_string();
            assert!(text.contains("devices.deny"), "{text}");
            return;
        }
        let all = hierarchy::mounted().unwrap();
        let devices = all.into_iter().find(|h| h.controllers.iter().any(|c| c == "devices")).unwrap();
        let folder = Folder::new(&devices.mount, "rules");
        check(&folder, restrict_by_rules);
        let list = fs::read_to_string(folder.0.join("devices.list")).unwrap();
        let expected: Vec<_> = MINORS.iter().map(|minor| format!("c 1:{minor} rw")).collect();
        assert_eq!(list.lines().collect::<Vec<_>>(), expected);
    }
}
