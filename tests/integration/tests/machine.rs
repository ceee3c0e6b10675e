//! Tests that need a node with cgroup v2, systemd and AppArmor. Ignored, because few build machines are such a node: `tests/machine/run`
//! boots one and runs them. Elsewhere they fail.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use catamaran_harness::{Container, Image, Node, Runtime, Task, guests};
use containerd_shim_protos::cgroups_v2::metrics::Metrics;
use containerd_shim_protos::protobuf::Message;
use serde_json::json;

const SOON: Duration = Duration::from_secs(10);
/// The profile that the machine loads; it denies writing below /denied.
const PROFILE: &str = "catamaran-test";

fn read(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display())).trim_end_matches(['\n', '\0']).into()
}

/// The folder of the task's cgroup.
fn cgroup(task: &Task<'_>) -> PathBuf {
    let text = read(format!("/proc/{}/cgroup", task.pid()));
    let path = text.strip_prefix("0::/").unwrap_or_else(|| panic!("not cgroup v2 alone:\n{text}"));
    Path::new("/sys/fs/cgroup").join(path)
}

#[test]
#[ignore = "runs in tests/machine"]
fn the_machine_has_cgroup_v2_systemd_and_apparmor() {
    assert_eq!(read("/proc/1/comm"), "systemd");
    let controllers = read("/sys/fs/cgroup/cgroup.controllers");
    for controller in ["cpu", "cpuset", "io", "memory", "pids"] {
        assert!(controllers.split(' ').any(|word| word == controller), "{controller} is missing: {controllers}");
    }
    assert!(!read("/proc/self/mountinfo").contains(" - cgroup "), "version 1 is mounted too");
    assert_eq!(read("/sys/module/apparmor/parameters/enabled"), "Y");
    let profiles = read("/sys/kernel/security/apparmor/profiles");
    assert!(profiles.lines().any(|line| line == format!("{PROFILE} (enforce)")), "{profiles}");
}

/// Returns a property of a systemd unit.
fn property(unit: &str, name: &str) -> String {
    let output = Command::new("systemctl").args(["show", unit, "--value", "-p", name]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[test]
#[ignore = "runs in tests/machine"]
fn a_systemd_scope_lies_below_its_slice() {
    let node = Node::start();
    let path = format!("system.slice:{}:scoped", node.namespace());
    let unit = format!("{}-scoped.scope", node.namespace());
    let sleep = guests::image(Runtime::Catamaran, "sleep");
    let task = node
        .container("scoped")
        .image(&sleep)
        .memory(64 << 20)
        .spec(move |spec| spec["linux"]["cgroupsPath"] = json!(path))
        .spawn();
    task.expect_stdout("ready\n");
    let folder = cgroup(&task);
    assert_eq!(folder, Path::new("/sys/fs/cgroup/system.slice").join(&unit));
    assert_eq!(property(&unit, "ActiveState"), "active");
    // systemd writes the limits that it knows again whenever it likes: it must know this one.
    assert_eq!(property(&unit, "MemoryMax"), (64 << 20).to_string());
    assert_eq!(read(folder.join("memory.max")), (64 << 20).to_string());
    task.discard();
    assert!(!folder.exists());
    assert_eq!(property(&unit, "LoadState"), "not-found", "the unit is gone");
    node.finish();
}

#[test]
#[ignore = "runs in tests/machine"]
fn a_guest_above_memory_max_is_killed() {
    let node = Node::start();
    let task = node.container("hog").image(&guests::wasm("hog")).memory(64 << 20).create();
    let folder = cgroup(&task);
    assert_eq!(read(folder.join("memory.max")), (64 << 20).to_string());
    task.start();
    assert_eq!(task.wait(SOON).code, 137);
    let events = read(folder.join("memory.events"));
    assert!(events.lines().any(|line| line == "oom_kill 1"), "{events}");
    task.delete();
    node.finish();
}

/// systemd removes a scope's cgroup, and the counter in it, as soon as it is empty.
#[test]
#[ignore = "runs in tests/machine"]
fn an_oom_kill_in_a_removed_scope_is_reported() {
    let node = Node::start();
    let events = node.events();
    let in_scope = |id: &str, image: &Image| {
        let path = format!("system.slice:{}:{id}", node.namespace());
        node.container(id).image(image).spec(move |spec| spec["linux"]["cgroupsPath"] = json!(path))
    };
    let mut gone = 0;
    for n in 0..4 {
        let id = format!("hog-{n}");
        let task = in_scope(&id, &guests::wasm("hog")).memory(64 << 20).create();
        let folder = cgroup(&task);
        task.start();
        assert_eq!(task.wait(SOON).code, 137);
        let (kind, figures) = task.try_metrics().unwrap();
        assert_eq!(kind, "io.containerd.cgroups.v2.Metrics");
        gone += usize::from(!folder.exists());
        let figures: Metrics = Message::parse_from_bytes(&figures).unwrap();
        assert_eq!(figures.memory_events.oom_kill, 1, "{figures:?}");
        task.delete();
        events.expect(&id, &["create", "start", "oom", "exit", "delete"]);
    }
    println!("{gone} of 4 cgroups were gone when the exit was told");
    // Killed by another process, not for lack of memory.
    let task = in_scope("killed", &guests::image(Runtime::Catamaran, "sleep")).spawn();
    task.expect_stdout("ready\n");
    assert!(Command::new("kill").args(["-9", &task.pid().to_string()]).status().unwrap().success());
    assert_eq!(task.wait(SOON).code, 137);
    task.delete();
    events.expect("killed", &["create", "start", "exit", "delete"]);
    node.finish();
}

#[test]
#[ignore = "runs in tests/machine"]
fn a_file_of_v2_is_set_by_its_name() {
    let node = Node::start();
    let task = node
        .container("group")
        .image(&guests::image(Runtime::Catamaran, "sleep"))
        .spec(|spec| spec["linux"]["resources"]["unified"] = json!({"memory.oom.group": "1"}))
        .create();
    assert_eq!(read(cgroup(&task).join("memory.oom.group")), "1");
    task.discard();
    node.finish();
}

/// A container that writes a file, under a profile.
fn writer<'n>(node: &'n Node, runtime: Runtime, profile: &'static str, file: &str) -> Container<'n> {
    let image = guests::image(runtime, "write").dir("/denied", 0o755, 0, 0).dir("/free", 0o755, 0, 0);
    let order = node.container("writer").runtime(runtime).image(&image).args(["/write", file, "text"]);
    order.spec(move |spec| spec["process"]["apparmorProfile"] = json!(profile))
}

fn profile_is_the_processes(runtime: Runtime) {
    let node = Node::start();
    for (file, denied) in [("/free/file", false), ("/denied/file", true)] {
        let task = writer(&node, runtime, PROFILE, file).create();
        // runc changes to it at the exec of the container's program, ours before it reports readiness.
        if runtime == Runtime::Catamaran {
            let label = read(format!("/proc/{}/attr/apparmor/current", task.pid()));
            assert_eq!(label, format!("{PROFILE} (enforce)"));
        }
        task.start();
        assert_eq!(task.wait(SOON).code != 0, denied, "{file}: {}", task.stderr());
        task.delete();
    }
    node.finish();
}

#[test]
#[ignore = "runs in tests/machine"]
fn an_apparmor_profile_confines_the_worker() {
    profile_is_the_processes(Runtime::Catamaran);
}

#[test]
#[ignore = "runs in tests/machine"]
fn an_apparmor_profile_confines_a_process_of_runcs() {
    profile_is_the_processes(Runtime::Runc);
}

#[test]
#[ignore = "runs in tests/machine"]
fn an_apparmor_profile_that_is_not_loaded_is_refused() {
    let node = Node::start();
    let refused = writer(&node, Runtime::Catamaran, "catamaran-nowhere", "/free/file").try_create();
    let status = refused.err().expect("created without its profile");
    for word in ["process.apparmorProfile", "catamaran-nowhere"] {
        assert!(status.message.contains(word), "{word} is missing in: {status}");
    }
    node.finish();
}

/// systemd mounts cgroup v2 with `nsdelegate`: a process in a container's cgroup namespace cannot clone into that cgroup from outside it.
#[test]
#[ignore = "runs in tests/machine"]
fn an_exec_is_in_the_containers_cgroup_and_under_its_profile() {
    assert!(read("/proc/self/mounts").contains("nsdelegate"));
    let node = Node::start();
    let sleep = guests::image(Runtime::Catamaran, "sleep");
    for scope in [true, false] {
        let path = format!("system.slice:{}:c", node.namespace());
        let order = node.container("c").image(&sleep).spec(move |spec| {
            if scope {
                spec["linux"]["cgroupsPath"] = json!(path);
            }
            let namespaces = spec["linux"]["namespaces"].as_array_mut().unwrap();
            namespaces.retain(|namespace| namespace["type"] != "cgroup");
            namespaces.push(json!({"type": "cgroup"}));
            spec["process"]["apparmorProfile"] = json!(PROFILE);
        });
        let task = order.spawn();
        task.expect_stdout("ready\n");
        let exec = task.further("e").args(["/sleep"]).process(|process| process["apparmorProfile"] = json!("")).add();
        let pid = exec.start();
        exec.expect_stdout("ready\n");
        for file in ["cgroup", "attr/apparmor/current", "mountinfo"] {
            assert_eq!(read(format!("/proc/{pid}/{file}")), read(format!("/proc/{}/{file}", task.pid())), "{file}");
        }
        for namespace in ["cgroup", "pid", "mnt"] {
            let of = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/{namespace}")).unwrap();
            assert_eq!(of(pid), of(task.pid()));
        }
        assert!(read(cgroup(&task).join("cgroup.procs")).lines().any(|line| line == pid.to_string()));
        task.kill("KILL");
        assert_eq!(exec.wait(SOON).code, 137);
        exec.delete();
        task.wait(SOON);
        task.delete();
    }
    node.finish();
}

#[test]
#[ignore = "runs in tests/machine"]
fn a_native_container_lives_in_a_scope_that_runc_asks_for() {
    let node = Node::start();
    let events = node.events();
    let side = Image::new("side").file("/bin/side", guests::native("side"));
    let in_scope = |id: &str, words: &[&str]| {
        let path = format!("system.slice:{}:{id}", node.namespace());
        let order = node.container(id).image(&side).args(["/bin/side"].iter().chain(words)).memory(64 << 20);
        order.spec(move |spec| spec["linux"]["cgroupsPath"] = json!(path))
    };
    let unit = |id: &str| format!("{}-{id}.scope", node.namespace());
    let task = in_scope("sleep", &["sleep"]).spawn();
    task.expect_stdout("ready 1\n");
    assert_eq!(cgroup(&task), Path::new("/sys/fs/cgroup/system.slice").join(unit("sleep")));
    assert_eq!(property(&unit("sleep"), "MemoryMax"), (64 << 20).to_string());
    assert_eq!(task.try_pids().unwrap(), [task.pid()]);
    assert_eq!(task.further("echo").args(["/bin/side", "echo", "hello"]).run().stdout, "hello\n");
    task.discard();
    assert_eq!(property(&unit("sleep"), "LoadState"), "not-found", "the unit is gone");
    let hog = in_scope("hog", &["hog", "256"]).to_its_end();
    assert_eq!(hog.code, 137, "{hog:?}");
    events.expect("hog", &["create", "start", "oom", "exit", "delete"]);
    // The shim dies: the scope goes with the container.
    let task = in_scope("victim", &["sleep"]).spawn();
    task.expect_stdout("ready 1\n");
    let shim = catamaran_harness::procfs::parent(task.pid());
    assert!(Command::new("kill").args(["-9", &shim.to_string()]).status().unwrap().success());
    catamaran_harness::wait_until(Duration::from_secs(100), "the scope to be gone", || {
        (property(&unit("victim"), "LoadState") == "not-found").then_some(())
    });
    catamaran_harness::wait_until(Duration::from_secs(100), "containerd to forget the task", || {
        task.try_state().is_err().then_some(())
    });
    task.remove_container();
    node.finish();
}
