//! A cluster for use by hand comes up and goes by the commands of docs/getting-started.md, and `down` leaves nothing of one whose process was
//! killed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use catamaran_documents::{Assigned, Shell, clone};
use catamaran_harness::scratch;

const PROGRAM: &str = env!("CARGO_BIN_EXE_catamaran-cluster");
/// Settings that a kubelet changes.
const SETTINGS: [&str; 3] = ["vm/overcommit_memory", "kernel/panic", "net/ipv4/ip_forward"];

struct ByHand {
    folder: PathBuf,
    /// A user's shell in the clone.
    shell: Shell,
    stand_ins: PathBuf,
}

impl ByHand {
    /// Types the line that starts it. `make` builds nothing again, and its cluster is in a folder of the test's own.
    fn up(line: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("catamaran-by-hand-{}", std::process::id()));
        let stand_ins = scratch();
        let cluster = Self { shell: Shell::new(&clone(), &stand_ins), folder, stand_ins };
        let cargo = cluster.stand_ins.join("cargo");
        let make = "PATH=${PATH#*:} exec make -s -o prepare -o build";
        let variables = format!("CARGO={} CLUSTER={}", cargo.display(), cluster.folder.display());
        cluster.shell.stand_in("make", &format!("{make} {variables} \"$@\""));
        cluster
            .shell
            .stand_in("cargo", &format!("while [ \"$1\" != -- ]; do shift; done\nshift\nexec {PROGRAM} \"$@\""));
        let output = cluster.shell.run(line);
        assert!(output.code == 0, "{output:?}: {}", fs::read_to_string(cluster.folder.join("log")).unwrap_or_default());
        cluster
    }

    fn run(&self, word: &str) -> Output {
        Command::new(PROGRAM).arg(word).arg(&self.folder).output().unwrap()
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
        for folder in [&self.folder, &self.stand_ins] {
            let _ = fs::remove_dir_all(folder);
        }
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
    let mut typed = Assigned::to("a_cluster_is_used_and_leaves_nothing_however_it_ends");
    let [up, down, environment] = ["make cluster-up", "make cluster-down", ". "].map(|start| typed.take(start).text);
    let [apply, wait] = ["kubectl apply", "kubectl wait"].map(|start| typed.take(start).text);
    let logs = typed.take("kubectl logs");
    typed.finish();
    let before = settings();
    for killed in [false, true] {
        let cluster = ByHand::up(&up);
        let tag = cluster.node().file_name().unwrap().to_string_lossy().into_owned();
        let environment = environment.replace("target/cluster", &cluster.folder.display().to_string());
        cluster.shell.ok(&[&environment, &*apply, &wait].join("\n"));
        let said = cluster.shell.ok(&[&*environment, &logs.text].join("\n"));
        assert_eq!(said, logs.outputs.concat());
        assert!(cluster.shell.ok(&format!("{environment}\nhelm version --short")).starts_with("v4."));
        let refused = cluster.run("up");
        assert!(String::from_utf8_lossy(&refused.stderr).contains("runs already"), "{refused:?}");
        if killed {
            let status = Command::new("kill").args(["-KILL", &cluster.pid()]).status().unwrap();
            assert!(status.success());
        }
        cluster.shell.ok(&down);
        assert_eq!(traces(&tag), [""; 0], "killed: {killed}");
        assert_eq!(settings(), before, "killed: {killed}");
    }
}
