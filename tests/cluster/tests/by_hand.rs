//! A cluster for use by hand comes up and goes, and `down` leaves nothing of one whose process was killed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use catamaran_harness::Example;

const PROGRAM: &str = env!("CARGO_BIN_EXE_catamaran-cluster");
/// Settings that a kubelet changes.
const SETTINGS: [&str; 3] = ["vm/overcommit_memory", "kernel/panic", "net/ipv4/ip_forward"];

struct ByHand {
    folder: PathBuf,
}

impl ByHand {
    fn up() -> Self {
        let folder = std::env::temp_dir().join(format!("catamaran-by-hand-{}", std::process::id()));
        let cluster = Self { folder };
        let output = cluster.run("up");
        assert!(output.status.success(), "{output:?}: {}", fs::read_to_string(cluster.folder.join("log")).unwrap());
        cluster
    }

    fn run(&self, word: &str) -> Output {
        Command::new(PROGRAM).arg(word).arg(&self.folder).output().unwrap()
    }

    fn shell(&self, line: &str) -> String {
        let line = format!(". '{}/environment'; {line}", self.folder.display());
        let output = Command::new("sh").args(["-ec", &line]).output().unwrap();
        assert!(output.status.success(), "{line}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn pid(&self) -> String {
        fs::read_to_string(self.folder.join("pid")).unwrap()
    }

    /// The folder of its node, whose name is the node's tag.
    fn node(&self) -> PathBuf {
        fs::read_link(self.folder.join("containerd.sock")).unwrap().parent().unwrap().to_owned()
    }
}

impl Drop for ByHand {
    fn drop(&mut self) {
        self.run("down");
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn settings() -> Vec<String> {
    SETTINGS.iter().map(|name| fs::read_to_string(format!("/proc/sys/{name}")).unwrap()).collect()
}

/// Lists everything that names the tag: processes, mounts, cgroups, links, files.
fn traces(tag: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let read = |file: &str| fs::read(entry.path().join(file)).unwrap_or_default();
        let text = String::from_utf8_lossy(&[read("cmdline"), read("cgroup")].concat()).into_owned();
        // An ended process has no program; its parent decides how long it is listed.
        let Ok(_) = fs::read_link(entry.path().join("exe")) else { continue };
        found.extend(text.contains(tag).then(|| format!("process {text}")));
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    found.extend(mounts.lines().filter(|line| line.contains(tag)).map(str::to_owned));
    let links = fs::read_dir("/var/log/containers").into_iter().flatten().flatten();
    found.extend(links.map(|entry| entry.path().display().to_string()));
    for root in ["/sys/fs/cgroup", "/sys/fs/cgroup/memory", "/sys/fs/cgroup/cpuset"] {
        let cgroup = Path::new(root).join(tag);
        found.extend(cgroup.exists().then(|| cgroup.display().to_string()));
    }
    for results in fs::read_dir("/var/lib/cni/results").into_iter().flatten().flatten() {
        let text = fs::read_to_string(results.path()).unwrap_or_default();
        found.extend(text.contains(tag).then(|| results.path().display().to_string()));
    }
    let dir = std::env::temp_dir().join(tag);
    found.extend(dir.exists().then(|| dir.display().to_string()));
    found.extend(Path::new("/var/lib/kubelet").exists().then(|| "/var/lib/kubelet".to_owned()));
    found
}

#[test]
fn a_cluster_is_used_and_leaves_nothing_however_it_ends() {
    let before = settings();
    for killed in [false, true] {
        let cluster = ByHand::up();
        let tag = cluster.node().file_name().unwrap().to_string_lossy().into_owned();
        let pod = cluster.folder.join("pod.yaml");
        fs::write(&pod, Example::open("wasix-server").pod()).unwrap();
        cluster.shell(&format!(
            "kubectl apply -f '{}'; kubectl wait pod/wasix-server --for=condition=Ready",
            pod.display()
        ));
        assert!(cluster.shell("helm version --short").starts_with("v4."));
        let refused = cluster.run("up");
        assert!(String::from_utf8_lossy(&refused.stderr).contains("runs already"), "{refused:?}");
        if killed {
            let status = Command::new("kill").args(["-KILL", &cluster.pid()]).status().unwrap();
            assert!(status.success());
        }
        let down = cluster.run("down");
        assert!(down.status.success(), "{down:?}");
        assert_eq!(traces(&tag), [""; 0], "killed: {killed}");
        assert_eq!(settings(), before, "killed: {killed}");
    }
}
