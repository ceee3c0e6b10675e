//! Tests the clean-up: leftovers are reported, and a test that panics or is killed leaves nothing for long.

#![allow(clippy::unwrap_used, clippy::panic, reason = "test code: a panic is how a test says that it failed")]

use std::os::unix::fs::FileTypeExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use std::{env, fs};

use catamaran_harness::{Node, PATIENCE, Runtime, guests, wait_until};

/// The variable that tells a child of this test program how to end, `panic` or `kill`. Without it the child's test does nothing.
const END: &str = "CATAMARAN_HARNESS_END";

fn node() -> Node {
    Node::start().runtime(Runtime::Runc)
}

fn reported(node: &Node, kind: &str, what: &str) -> bool {
    node.leftovers().iter().any(|line| line.starts_with(kind) && line.contains(what))
}

#[test]
fn a_node_without_containers_has_no_leftovers() {
    let node = node();
    assert_eq!(node.leftovers(), [""; 0]);
    let events = node.events();
    assert_eq!(node.leftovers(), [""; 0]);
    drop(events);
    let dir = node.dir().to_owned();
    node.finish();
    assert!(!dir.exists());
}

#[test]
fn a_running_container_is_reported_with_all_that_it_has() {
    let node = node();
    let task = node.container("sleep").image(&guests::image(Runtime::Runc, "sleep")).spawn();
    task.expect_stdout("ready\n");
    let left = node.leftovers();
    for (kind, what) in [
        ("process", "containerd-shim-runc-v2"),
        ("process", "/sleep"),
        ("mount", "/sleep/rootfs"),
        ("cgroup", "/pids/"),
        ("cgroup", "/memory/"),
        ("socket", "/run/containerd/s/"),
        ("bundle", "/sleep"),
        ("container", "sleep"),
        ("task", "sleep"),
    ] {
        // Machines with cgroup version 2 have no folder for each controller.
        let version_2 = kind == "cgroup" && Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
        let what = if version_2 { node.namespace() } else { what };
        assert!(left.iter().any(|line| line.starts_with(kind) && line.contains(what)), "no {kind} {what} in {left:#?}");
    }
    task.discard();
    node.finish();
}

#[test]
fn an_orphan_is_known_by_its_cgroup() {
    let node = node();
    let task = node.container("sleep").image(&guests::image(Runtime::Runc, "sleep")).spawn();
    task.expect_stdout("ready\n");
    let shim = parent_of(task.pid());
    signal(shim, "KILL");
    wait_until(PATIENCE, "the shim to die", || (!alive(shim)).then_some(()));
    // containerd needs a moment to notice and delete it; then only the records are left.
    wait_until(PATIENCE, "containerd to clean up", || (!alive(task.pid())).then_some(()));
    task.remove_container();
    let socket = line(&node, "socket");
    wait_until(PATIENCE, "the rest to go", || (node.leftovers().len() == 1).then_some(()));
    // runc's shim does not remove its socket in `delete`. The node does.
    drop(node);
    assert!(!socket.exists());
}

#[test]
fn a_planted_process_is_reported_and_swept() {
    let node = node();
    // One names the node in its command line, one in its environment, and one is only the child of a process that names it.
    let named = Command::new("sleep").arg0(node.namespace()).arg("1000").spawn().unwrap();
    let inherited = Command::new("sleep").arg("1001").env("SOME", node.dir()).spawn().unwrap();
    let mut parent = Command::new("sh");
    parent.arg0(node.namespace()).args(["-c", "env -i sleep 1002 & wait"]);
    let parent = parent.spawn().unwrap();
    wait_until(PATIENCE, "the planted processes", || {
        let found = ["1000", "1001", "1002"].iter().all(|&word| reported(&node, "process", word));
        found.then_some(())
    });
    let dir = node.dir().to_owned();
    drop(node);
    for mut child in [named, inherited, parent] {
        assert_eq!(child.wait().unwrap().signal(), Some(9));
    }
    assert!(!dir.exists());
}

#[test]
fn a_planted_mount_is_reported_and_swept() {
    let node = node();
    let place = node.dir().join("a place");
    let outside = tempfile("outside");
    fs::create_dir(&place).unwrap();
    fs::write(outside.join("precious"), "kept").unwrap();
    let bound = Command::new("mount").arg("--bind").args([&outside, &place]).status().unwrap();
    assert!(bound.success());
    assert!(reported(&node, "mount", "a place"), "{:?}", node.leftovers());
    let dir = node.dir().to_owned();
    drop(node);
    assert!(!dir.exists());
    // The mounted files are not the node's.
    assert_eq!(fs::read_to_string(outside.join("precious")).unwrap(), "kept");
    fs::remove_dir_all(outside).unwrap();
}

#[test]
fn a_planted_cgroup_is_reported_and_swept() {
    let node = node();
    let root = [Path::new("/sys/fs/cgroup/pids"), Path::new("/sys/fs/cgroup")].into_iter().find(|path| path.exists());
    let cgroup = root.unwrap().join(node.namespace());
    fs::create_dir_all(cgroup.join("below")).unwrap();
    let mut inside = Command::new("sleep").arg("1003").spawn().unwrap();
    fs::write(cgroup.join("below/cgroup.procs"), inside.id().to_string()).unwrap();
    assert!(reported(&node, "cgroup", &format!("{}/below", node.namespace())));
    assert!(reported(&node, "process", "1003"));
    drop(node);
    assert_eq!(inside.wait().unwrap().signal(), Some(9));
    assert!(!cgroup.exists());
}

#[test]
#[ignore = "runs in tests/machine"]
fn planted_units_of_systemd_are_reported_and_swept() {
    let node = node();
    let scope = format!("--unit={}-scope", node.namespace());
    let mut inside = Command::new("systemd-run").args(["--scope", "--quiet", &scope, "sleep", "1004"]).spawn().unwrap();
    // A unit whose processes and cgroup are gone, but which systemd remembers.
    let failed = format!("--unit={}-failed", node.namespace());
    assert!(Command::new("systemd-run").args(["--quiet", &failed, "false"]).status().unwrap().success());
    wait_until(PATIENCE, "the planted units", || {
        (reported(&node, "systemd unit", "-scope.scope") && reported(&node, "systemd unit", "-failed.service"))
            .then_some(())
    });
    assert!(reported(&node, "cgroup", "-scope.scope"), "{:?}", node.leftovers());
    let tag = node.namespace().to_owned();
    drop(node);
    assert_eq!(inside.wait().unwrap().signal(), Some(9));
    let list = Command::new("systemctl").args(["list-units", "--all", "--no-legend"]).output().unwrap();
    let list = String::from_utf8(list.stdout).unwrap();
    assert!(list.contains("dbus.socket") && !list.contains(&tag), "{list}");
}

#[test]
fn a_planted_socket_is_reported_and_swept() {
    let node = node();
    let task = node.container("sleep").image(&guests::image(Runtime::Runc, "sleep")).spawn();
    let socket = line(&node, "socket");
    task.discard();
    node.expect_nothing_left(PATIENCE);
    assert!(!socket.exists());
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    assert!(fs::metadata(&socket).unwrap().file_type().is_socket());
    assert_eq!(line(&node, "socket"), socket);
    drop(listener);
    drop(node);
    assert!(!socket.exists());
}

#[test]
fn a_planted_network_namespace_is_reported_and_swept() {
    let node = node();
    let file = Path::new("/run/netns").join(format!("cni-{}", node.namespace()));
    fs::create_dir_all("/run/netns").unwrap();
    fs::write(&file, "").unwrap();
    let unshare = Command::new("unshare").arg(format!("--net={}", file.display())).arg("true").status().unwrap();
    assert!(unshare.success());
    assert!(reported(&node, "network namespace", "/run/netns/cni-"), "{:?}", node.leftovers());
    assert!(reported(&node, "mount", "/run/netns/cni-"), "{:?}", node.leftovers());
    drop(node);
    assert!(!file.exists());
}

#[test]
#[should_panic(expected = "left behind")]
fn finish_fails_when_a_container_was_forgotten() {
    let node = node();
    let _task = node.container("sleep").image(&guests::image(Runtime::Runc, "sleep")).spawn();
    node.finish();
}

/// The child that the two tests below start; by itself it tests nothing.
#[test]
fn child_that_panics_or_is_killed() {
    let Ok(end) = env::var(END) else { return };
    let node = node();
    let task = node.container("sleep").image(&guests::image(Runtime::Runc, "sleep")).spawn();
    task.expect_stdout("ready\n");
    println!("tag={}", node.namespace());
    println!("socket={}", line(&node, "socket").display());
    assert!(end != "panic", "as asked");
    std::thread::sleep(PATIENCE);
}

fn child(end: &str) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", "child_that_panics_or_is_killed", "--nocapture", "--test-threads=1"]).env(END, end);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn value(text: &str, name: &str) -> Option<String> {
    let found = text.lines().find_map(|line| line.split_once(&format!("{name}="))).map(|(_, value)| value.to_owned());
    found.filter(|_| text.ends_with('\n'))
}

#[test]
fn a_test_that_panics_leaves_nothing() {
    let output = child("panic").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(errors.contains("containerd's log, catamaran-test-"), "the log is shown: {errors}");
    let tag = value(&text, "tag").unwrap();
    assert_eq!(traces(&tag, &value(&text, "socket").unwrap()), [""; 0]);
}

#[test]
fn what_a_killed_test_leaves_is_swept_at_the_next_start() {
    let mut killed = child("kill").stdout(tempfile_in("killed")).spawn().unwrap();
    let said = env::temp_dir().join(format!("catamaran-harness-{}-killed", std::process::id()));
    let (tag, socket) = wait_until(PATIENCE, "the child's container", || {
        let text = fs::read_to_string(&said).ok()?;
        Some((value(&text, "tag")?, value(&text, "socket")?))
    });
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert!(!traces(&tag, &socket).is_empty(), "something must be there to be swept");
    // containerd dies with the test by itself, at once.
    let containerd = format!("containerd --config {}", env::temp_dir().join(&tag).display());
    wait_until(PATIENCE, "its containerd to die", || (!commands().contains(&containerd)).then_some(()));
    // A program sweeps only once, and this one already has: another child is the next start.
    assert!(!child("panic").output().unwrap().status.success());
    assert_eq!(traces(&tag, &socket), [""; 0]);
    fs::remove_file(said).unwrap();
}

/// Looks for traces of a node without the harness's own code.
fn traces(tag: &str, socket: &str) -> Vec<String> {
    let mut found = Vec::new();
    found.extend(commands().lines().filter(|line| line.contains(tag)).map(str::to_owned));
    let mounts = fs::read_to_string("/proc/mounts").unwrap();
    found.extend(mounts.lines().filter(|line| line.contains(tag)).map(str::to_owned));
    let cgroups = Command::new("find").args(["/sys/fs/cgroup", "-name", &format!("*{tag}*")]).output().unwrap();
    found.extend(String::from_utf8_lossy(&cgroups.stdout).lines().map(str::to_owned));
    let folder = env::temp_dir().join(tag);
    found.extend([folder, PathBuf::from(socket)].iter().filter(|path| path.exists()).map(|path| format!("{path:?}")));
    found
}

/// Every process's command line, one a line.
fn commands() -> String {
    let mut lines = String::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(command) = fs::read(entry.path().join("cmdline")) else { continue };
        lines.push_str(&String::from_utf8_lossy(&command).replace('\0', " "));
        lines.push('\n');
    }
    lines
}

fn line(node: &Node, kind: &str) -> PathBuf {
    let left = node.leftovers();
    let found =
        left.iter().find_map(|line| line.strip_prefix(kind)).unwrap_or_else(|| panic!("no {kind} in {left:#?}"));
    found.trim().into()
}

fn parent_of(pid: u32) -> u32 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap().trim().parse().unwrap()
}

fn alive(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.lines().any(|line| line.starts_with("State:") && !line.contains('Z'))
}

fn signal(pid: u32, name: &str) {
    assert!(Command::new("kill").args(["-s", name, &pid.to_string()]).status().unwrap().success());
    std::thread::sleep(Duration::from_millis(1));
}

fn tempfile(name: &str) -> PathBuf {
    let path = env::temp_dir().join(format!("catamaran-harness-{}-{name}", std::process::id()));
    fs::create_dir_all(&path).unwrap();
    path
}

fn tempfile_in(name: &str) -> fs::File {
    fs::File::create(env::temp_dir().join(format!("catamaran-harness-{}-{name}", std::process::id()))).unwrap()
}
