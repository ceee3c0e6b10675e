//! Limits and device rules, read back from the kernel while the container runs. Each test expects what is right for the machine that it
//! runs on: its version of cgroups, its controllers, its init.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use std::fs;
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use catamaran_harness::{
    CgroupVersion, Code, Container, Engine, Image, Node, Runtime, Task, cgroup_version, controllers, guests,
    systemd_runs, wait_until,
};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(10);
const MIB: u64 = 1 << 20;

fn sleep(runtime: Runtime) -> Image {
    guests::image(runtime, "sleep")
}

fn has(controller: &str) -> bool {
    controllers().contains(controller)
}

/// A container whose `linux.resources` are these and no others.
fn with<'n>(node: &'n Node, id: &str, runtime: Runtime, resources: Value) -> Container<'n> {
    let set = move |spec: &mut Value| spec["linux"]["resources"] = resources.clone();
    node.container(id).runtime(runtime).image(&sleep(runtime)).spec(set)
}

fn running<'n>(container: &Container<'n>) -> Task<'n> {
    let task = container.spawn();
    task.expect_stdout("ready\n");
    task
}

/// Checks that Create is refused with this, and leaves nothing.
fn refused(node: &Node, resources: &Value, code: Code, words: &[&str]) {
    let status = with(node, "refused", Runtime::Catamaran, resources.clone()).try_create().err();
    let status = status.unwrap_or_else(|| panic!("created with {resources}; expected {words:?}"));
    assert_eq!(status.code, code, "{resources}: {status}");
    for word in words {
        assert!(status.message.contains(word), "{word:?} is missing in: {status}");
    }
    node.expect_nothing_left(SOON);
}

/// A limit, its controller, and the content of the kernel's files then: `[v1's name, v2's name, v1's value, v2's value]`.
type Limit = (&'static str, Value, Vec<[&'static str; 4]>);

fn limits() -> Vec<Limit> {
    vec![
        (
            "memory",
            json!({"memory": {"limit": 64 * MIB, "reservation": 32 * MIB}}),
            vec![
                ["memory.limit_in_bytes", "memory.max", "67108864", "67108864"],
                ["memory.soft_limit_in_bytes", "memory.low", "33554432", "33554432"],
            ],
        ),
        (
            "cpu",
            json!({"cpu": {"shares": 512, "quota": 50000, "period": 200000, "burst": 10000}}),
            vec![
                ["cpu.shares", "cpu.weight", "512", "59"],
                ["cpu.cfs_quota_us", "cpu.max", "50000", "50000 200000"],
                ["cpu.cfs_period_us", "cpu.max", "200000", "50000 200000"],
                ["cpu.cfs_burst_us", "cpu.max.burst", "10000", "10000"],
            ],
        ),
        (
            "cpuset",
            json!({"cpu": {"cpus": "0", "mems": "0"}}),
            vec![["cpuset.cpus", "cpuset.cpus", "0", "0"], ["cpuset.mems", "cpuset.mems", "0", "0"]],
        ),
        ("pids", json!({"pids": {"limit": 33}}), vec![["pids.max", "pids.max", "33", "33"]]),
        (
            "hugetlb",
            json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 4 * MIB}]}),
            vec![
                ["hugetlb.2MB.limit_in_bytes", "hugetlb.2MB.max", "4194304", "4194304"],
                ["hugetlb.2MB.rsvd.limit_in_bytes", "hugetlb.2MB.rsvd.max", "4194304", "4194304"],
            ],
        ),
    ]
}

#[test]
fn limits_reach_the_kernel() {
    let node = Node::start();
    for (controller, resources, files) in limits() {
        if !has(controller) {
            refused(&node, &resources, Code::InvalidArgument, &["config.json: linux.resources.", "no", controller]);
            continue;
        }
        // On runc too: all runtimes must agree on these expectations.
        for runtime in [Runtime::Catamaran, Runtime::Runc] {
            let task = running(&with(&node, controller, runtime, resources.clone()));
            for [v1, v2, on_v1, on_v2] in &files {
                let expected = if cgroup_version() == CgroupVersion::V1 { on_v1 } else { on_v2 };
                assert_eq!(task.cgroup_file(v1, v2), *expected, "{v1}, {v2} on {runtime:?}");
            }
            task.discard();
        }
    }
    node.finish();
}

#[test]
fn limits_that_limit_nothing_need_no_controller() {
    let node = Node::start();
    // The values that `ctr run` and kubelets write into every spec, and "no limit" in all its forms.
    let resources = json!({
        "cpu": {"shares": 1024, "quota": -1, "period": 100000, "cpus": "", "mems": ""},
        "memory": {"limit": -1, "swap": -1, "reservation": 0},
        "pids": {"limit": -1},
        "hugepageLimits": [{"pageSize": "2MB", "limit": 0}, {"pageSize": "1GB", "limit": 0}],
        "network": {"classID": 0, "priorities": []},
        "rdma": {},
        "unified": {},
    });
    let task = running(&with(&node, "free", Runtime::Catamaran, resources));
    if has("pids") {
        assert_eq!(task.cgroup_file("pids.max", "pids.max"), "max");
    }
    if has("cpu") {
        assert_eq!(task.cgroup_file("cpu.shares", "cpu.weight"), ["1024", "100"][version_index()]);
    }
    task.discard();
    let nothing = running(&with(&node, "nothing", Runtime::Catamaran, json!({})));
    nothing.discard();
    node.finish();
}

fn version_index() -> usize {
    usize::from(cgroup_version() == CgroupVersion::V2)
}

#[test]
fn a_limit_of_memory_and_swap_reaches_the_kernel() {
    let node = Node::start();
    let resources = json!({"memory": {"limit": 64 * MIB, "swap": 96 * MIB}});
    let swap = match cgroup_version() {
        CgroupVersion::V1 => Path::new("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes").exists(),
        // The root has no such file.
        CgroupVersion::V2 => has("memory") && Path::new("/proc/swaps").exists(),
    };
    if !swap {
        refused(&node, &resources, Code::InvalidArgument, &["linux.resources.memory."]);
        return node.finish();
    }
    let task = running(&with(&node, "swap", Runtime::Catamaran, resources));
    let expected = [(96 * MIB).to_string(), (32 * MIB).to_string()];
    assert_eq!(task.cgroup_file("memory.memsw.limit_in_bytes", "memory.swap.max"), expected[version_index()]);
    task.discard();
    // A kubelet's "no swap".
    let task =
        running(&with(&node, "none", Runtime::Catamaran, json!({"memory": {"limit": MIB * 64, "swap": MIB * 64}})));
    let expected = [(64 * MIB).to_string(), "0".to_owned()];
    assert_eq!(task.cgroup_file("memory.memsw.limit_in_bytes", "memory.swap.max"), expected[version_index()]);
    task.discard();
    node.finish();
}

#[test]
fn a_guest_above_its_memory_limit_is_killed() {
    let node = Node::start();
    let image = guests::wasm("hog");
    let limited = json!({"memory": {"limit": 64 * MIB, "swap": 64 * MIB}});
    if !has("memory") {
        refused(&node, &limited, Code::InvalidArgument, &["linux.resources.memory.limit", "no memory controller"]);
        return node.finish();
    }
    let hog = |id: &str, resources: Value| {
        let set = move |spec: &mut Value| spec["linux"]["resources"] = resources.clone();
        let task = node.container(id).image(&image).spec(set).spawn();
        task.wait(Duration::from_secs(30));
        task.delete().code
    };
    assert_eq!(hog("free", json!({})), 0);
    assert_eq!(hog("limited", limited), 137);
    node.finish();
}

#[test]
fn a_process_limit_counts_the_worker_alone() {
    let node = Node::start();
    if !has("pids") {
        let words = ["linux.resources.pids.limit: 1", "no pids controller"];
        refused(&node, &json!({"pids": {"limit": 1}}), Code::InvalidArgument, &words);
        return node.finish();
    }
    // The intermediate that clones the worker is gone before the limit is.
    let task = running(&with(&node, "one", Runtime::Catamaran, json!({"pids": {"limit": 1}})));
    assert_eq!(task.cgroup_file("pids.max", "pids.max"), "1");
    assert_eq!(task.cgroup_file("pids.current", "pids.current"), "1");
    task.discard();
    // As runc does from 1.4 on.
    let none = running(&with(&node, "none", Runtime::Catamaran, json!({"pids": {"limit": 0}})));
    assert_eq!(none.cgroup_file("pids.max", "pids.max"), "1");
    none.discard();
    // Two are the worker and the shell, which then cannot fork.
    let two = running(&with(&node, "two", Runtime::Catamaran, json!({"pids": {"limit": 2}})));
    assert_eq!(two.cgroup_file("pids.max", "pids.max"), "2");
    let shell = two.in_cgroup("pids", "true && (true)");
    assert!(!shell.status.success(), "{shell:?}");
    assert!(String::from_utf8_lossy(&shell.stderr).to_lowercase().contains("fork"), "{shell:?}");
    two.discard();
    let free = running(&with(&node, "free", Runtime::Catamaran, json!({"pids": {"limit": -1}})));
    assert_eq!(free.cgroup_file("pids.max", "pids.max"), "max");
    assert!(free.in_cgroup("pids", "true && (true)").status.success());
    free.discard();
    node.finish();
}

/// The process's cgroups, one for each tree of the machine.
fn cgroups(pid: u32) -> Vec<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    text.lines().map(|line| line.splitn(3, ':').nth(2).unwrap().to_owned()).collect()
}

#[test]
fn every_process_is_in_the_containers_cgroup_of_every_tree() {
    let node = Node::start();
    let native = node.container("native").runtime(Runtime::Runc).image(&sleep(Runtime::Runc)).spawn();
    let folder = |id: &str| format!("/{}/{id}", node.namespace());
    let trees = cgroups(native.pid()).iter().filter(|path| **path == folder("native")).count();
    assert!(trees > 0, "{:?}", cgroups(native.pid()));
    native.discard();
    for (engine, namespace) in Engine::ALL.into_iter().flat_map(|engine| [(engine, false), (engine, true)]) {
        let id = format!("{}-{namespace}", engine.name());
        let own = node.container(&id).engine(engine).image(&sleep(Runtime::Catamaran)).spec(move |spec| {
            let all = spec["linux"]["namespaces"].as_array_mut().unwrap();
            all.retain(|one| one["type"] != "cgroup");
            if namespace {
                all.push(json!({"type": "cgroup"}));
            }
        });
        let task = running(&own);
        let exec = task.further("e").args(["/sleep"]).add();
        let further = exec.start();
        exec.expect_stdout("ready\n");
        for pid in [task.pid(), further] {
            let of = cgroups(pid);
            let own = of.iter().filter(|path| **path == folder(&id)).count();
            assert!(own >= trees, "{id}: {of:?}, natively in {trees}");
            assert!(of.iter().all(|path| *path == folder(&id) || path == "/"), "{id}: {of:?}");
        }
        task.discard();
    }
    node.finish();
}

#[test]
fn a_container_keeps_to_its_processors() {
    let node = Node::start();
    let resources = json!({"cpu": {"cpus": "0", "mems": "0"}});
    if !has("cpuset") {
        refused(&node, &resources, Code::InvalidArgument, &["linux.resources.cpu.cpus: 0", "no cpuset controller"]);
        return node.finish();
    }
    let allowed = |task: &Task<'_>| {
        let status = fs::read_to_string(format!("/proc/{}/status", task.pid())).unwrap();
        status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap().trim().to_owned()
    };
    let bound = running(&with(&node, "bound", Runtime::Catamaran, resources));
    assert_eq!(allowed(&bound), "0");
    bound.discard();
    // Without any: those of the cgroup above, which v1 does not fill in by itself.
    let free = running(&with(&node, "free", Runtime::Catamaran, json!({})));
    let own = fs::read_to_string("/proc/self/status").unwrap();
    let own = own.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap().trim().to_owned();
    assert_eq!(allowed(&free), own);
    free.discard();
    node.finish();
}

#[test]
fn unified_sets_files_of_cgroup_v2_by_name() {
    let node = Node::start();
    let resources = json!({"unified": {"cgroup.max.descendants": "3"}});
    match cgroup_version() {
        CgroupVersion::V1 => {
            let words = ["linux.resources.unified", "cgroup.max.descendants", "cgroup v1"];
            refused(&node, &resources, Code::InvalidArgument, &words);
        }
        CgroupVersion::V2 => {
            let task = running(&with(&node, "unified", Runtime::Catamaran, resources));
            assert_eq!(task.cgroup_file("", "cgroup.max.descendants"), "3");
            task.discard();
            // As a kubelet sends it.
            let resources = json!({"unified": {"memory.oom.group": "1"}});
            if has("memory") {
                let task = running(&with(&node, "group", Runtime::Catamaran, resources));
                assert_eq!(task.cgroup_file("", "memory.oom.group"), "1");
                task.discard();
            } else {
                refused(
                    &node,
                    &resources,
                    Code::InvalidArgument,
                    &["unified[memory.oom.group]", "no memory controller"],
                );
            }
            for (file, value, words) in [
                ("nonsense.max", "1", ["unified[nonsense.max]", "no nonsense controller"]),
                ("../x.max", "1", ["linux.resources.unified", "../x.max"]),
                ("cgroup.procs", "1", ["unified[cgroup.procs]", "cgroup.max.depth"]),
                ("cgroup.max.depth", "-5", ["unified[cgroup.max.depth]: -5", "cgroup.max.depth takes"]),
            ] {
                refused(&node, &json!({"unified": {file: value}}), Code::InvalidArgument, &words);
            }
        }
    }
    node.finish();
}

#[test]
fn invalid_limits_are_refused() {
    let node = Node::start();
    let all = [
        (json!({"memory": {"limit": -7}}), ["linux.resources.memory.limit: -7", "-1 for no limit"]),
        (json!({"memory": {"limit": 67108864, "swap": 1048576}}), ["memory.swap: 1048576", "67108864 or more"]),
        (json!({"pids": {"limit": -7}}), ["linux.resources.pids.limit: -7", "-1 for no limit"]),
        (json!({"cpu": {"idle": 7}}), ["linux.resources.cpu.idle: 7", "0 or 1"]),
        (json!({"hugepageLimits": [{"pageSize": "../2MB", "limit": 1}]}), ["hugepageLimits[0].pageSize", "../2MB"]),
        (json!({"rdma": {"mlx5_1": {}}}), ["linux.resources.rdma[mlx5_1]", "hcaHandles"]),
    ];
    for (resources, words) in &all {
        refused(&node, resources, Code::InvalidArgument, words);
    }
    // Values that the kernel refuses.
    if has("cpuset") {
        refused(&node, &json!({"cpu": {"cpus": "4096"}}), Code::InvalidArgument, &["linux.resources.cpu.cpus: 4096"]);
    }
    if has("cpu") {
        refused(&node, &json!({"cpu": {"quota": 1}}), Code::InvalidArgument, &["linux.resources.cpu.quota: 1"]);
    }
    if !has("rdma") {
        let resources = json!({"rdma": {"mlx5_1": {"hcaHandles": 3}}});
        refused(&node, &resources, Code::InvalidArgument, &["linux.resources.rdma[mlx5_1]", "no rdma controller"]);
    }
    if !has("net_cls") {
        let resources = json!({"network": {"classID": 1048577}});
        refused(&node, &resources, Code::InvalidArgument, &["linux.resources.network.classID"]);
    }
    node.finish();
}

#[test]
fn five_devices_can_be_opened_and_no_other() {
    let node = Node::start();
    // Whatever the spec's rules allow.
    let resources = json!({"devices": [{"allow": true, "access": "rwm"}]});
    let task = running(&with(&node, "devices", Runtime::Catamaran, resources).user("0:0"));
    let folder = if has("devices") { task.cgroup_folder("devices") } else { task.cgroup_folder("") };
    if has("devices") {
        let list = fs::read_to_string(folder.join("devices.list")).unwrap();
        let five: Vec<_> = [3, 5, 7, 8, 9].map(|minor| format!("c 1:{minor} rw")).into();
        assert_eq!(list.lines().collect::<Vec<_>>(), five);
    }
    // A process of the host's root, with all capabilities, in the container's cgroup.
    let controller = if has("devices") { "devices" } else { "" };
    let may = |script: &str| task.in_cgroup(controller, script).status.success();
    let node_path = node.dir().join("made");
    for device in ["null", "zero", "full", "random", "urandom"] {
        assert!(may(&format!("exec 3<> /dev/{device}")), "/dev/{device}");
    }
    let mknod = format!("mknod {} c 1 3", node_path.display());
    for (script, target) in [("exec 3<> /dev/ptmx", "/dev/ptmx"), (mknod.as_str(), "a node")] {
        assert!(!may(script), "{target} in the container's cgroup");
        assert!(Command::new("sh").args(["-c", script]).status().unwrap().success(), "{target} outside of it");
    }
    task.discard();
    node.finish();
}

/// A process in a cgroup until this is dropped.
struct Stranger(Child);

impl Stranger {
    fn in_folder(folder: &Path) -> Self {
        let stranger = Self(Command::new("sleep").arg("300").spawn().unwrap());
        fs::write(folder.join("cgroup.procs"), stranger.0.id().to_string()).unwrap();
        stranger
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_cgroup_with_foreign_cgroups_below_it_is_refused() {
    let node = Node::start();
    let mount = match cgroup_version() {
        CgroupVersion::V1 => "/sys/fs/cgroup/freezer",
        CgroupVersion::V2 => "/sys/fs/cgroup",
    };
    let own = Path::new(mount).join(node.namespace()).join("same");
    let others = own.join("others");
    fs::create_dir_all(&others).unwrap();
    let mut stranger = Stranger::in_folder(&others);
    let status = with(&node, "same", Runtime::Catamaran, json!({})).try_create().err().unwrap();
    assert_eq!(status.code, Code::FailedPrecondition, "{status}");
    assert!(stranger.0.try_wait().unwrap().is_none(), "the stranger was killed: {status}");
    drop(stranger);
    for folder in [&others, &own] {
        wait_until(SOON, "the folder to be empty", || fs::remove_dir(folder).is_ok().then_some(()));
    }
    node.finish();
}

#[test]
fn a_cgroup_that_was_left_behind_is_made_anew() {
    let node = Node::start();
    // A limit and a frozen state that an earlier process left would stop the container.
    let (mount, name, value) = match cgroup_version() {
        CgroupVersion::V1 => ("/sys/fs/cgroup/freezer", "freezer.state", "FROZEN"),
        CgroupVersion::V2 => ("/sys/fs/cgroup", "cgroup.freeze", "1"),
    };
    let folder = Path::new(mount).join(node.namespace()).join("left");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(name), value).unwrap();
    let task = running(&with(&node, "left", Runtime::Catamaran, json!({})));
    task.discard();
    assert!(!folder.exists());
    node.finish();
}

#[test]
fn processes_in_a_cgroup_above_the_containers_are_left_alone() {
    let node = Node::start();
    let (mount, limited) = match cgroup_version() {
        CgroupVersion::V1 => ("/sys/fs/cgroup/pids", json!({"pids": {"limit": 9}})),
        CgroupVersion::V2 => ("/sys/fs/cgroup", json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 2097152}]})),
    };
    let above = Path::new(mount).join(node.namespace());
    fs::create_dir(&above).unwrap();
    // A controller that the kernel can offer there, and then a process that prevents delegating it.
    if cgroup_version() == CgroupVersion::V2 {
        fs::write(Path::new(mount).join("cgroup.subtree_control"), "+hugetlb").unwrap();
    }
    let stranger = Stranger::in_folder(&above);
    let path = format!("/{}/under", node.namespace());
    let container = with(&node, "under", Runtime::Catamaran, limited).spec(move |spec| {
        spec["linux"]["cgroupsPath"] = json!(path);
    });
    match cgroup_version() {
        CgroupVersion::V1 => drop(running(&container).discard()),
        CgroupVersion::V2 => {
            let status = container.try_create().err().unwrap();
            let words = ["hugepageLimits[0].limit", "is not available below", "has processes of its own"];
            assert!(words.iter().all(|word| status.message.contains(word)), "{status}");
            assert_eq!(status.code, Code::InvalidArgument, "{status}");
        }
    }
    drop(stranger);
    wait_until(SOON, "the folder to be empty", || fs::remove_dir(&above).is_ok().then_some(()));
    node.finish();
}

/// An order with a systemd scope of this name.
fn in_scope<'n>(node: &'n Node, id: &str, resources: Value) -> Container<'n> {
    let path = format!("catamaran-tests.slice:{}:{id}", node.namespace());
    with(node, id, Runtime::Catamaran, resources).spec(move |spec| spec["linux"]["cgroupsPath"] = json!(path))
}

/// A property of a unit, as systemctl shows it.
fn property(unit: &str, name: &str) -> String {
    let output = Command::new("systemctl").args(["show", unit, "--value", "-p", name]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[test]
fn a_container_lives_in_a_scope_of_systemds() {
    let node = Node::start();
    let resources = match has("pids") {
        true => json!({"pids": {"limit": 1}}),
        false => json!({"unified": {"cgroup.max.descendants": "3"}}),
    };
    let container = in_scope(&node, "scoped", resources);
    if cgroup_version() == CgroupVersion::V1 || !systemd_runs() {
        let words = match cgroup_version() {
            CgroupVersion::V1 => ["linux.cgroupsPath", "SystemdCgroup", "cgroup v1"],
            CgroupVersion::V2 => ["linux.cgroupsPath", "SystemdCgroup", "systemd does not run"],
        };
        // A key that only v2 has would be refused first.
        let status = in_scope(&node, "scoped", json!({})).try_create().err().unwrap();
        assert_eq!(status.code, Code::InvalidArgument, "{status}");
        assert!(words.iter().all(|word| status.message.contains(word)), "{status}");
        return node.finish();
    }
    let unit = format!("{}-scoped.scope", node.namespace());
    // The scope exists when this limit turns out to be invalid.
    let bad = in_scope(&node, "scoped", json!({"unified": {"nonsense.max": "1"}})).try_create().err().unwrap();
    assert!(bad.message.contains("unified[nonsense.max]"), "{bad}");
    assert_eq!(property(&unit, "LoadState"), "not-found");
    node.expect_nothing_left(SOON);
    for _ in 0..3 {
        let task = running(&container);
        let folder = format!("/sys/fs/cgroup/catamaran.slice/catamaran-tests.slice/{unit}");
        assert_eq!(task.cgroup_folder(""), Path::new(&folder));
        assert_eq!(property(&unit, "ActiveState"), "active");
        assert_eq!(property(&unit, "Slice"), "catamaran-tests.slice");
        assert_eq!(property(&unit, "Delegate"), "yes");
        assert_eq!(task.try_pids().unwrap(), [task.pid()]);
        if has("pids") {
            assert_eq!(property(&unit, "TasksMax"), "1");
            assert_eq!(task.cgroup_file("", "pids.max"), "1");
        } else {
            assert_eq!(task.cgroup_file("", "cgroup.max.descendants"), "3");
        }
        assert!(!task.in_cgroup("", "exec 3<> /dev/ptmx").status.success(), "the second wall stands in a scope too");
        task.kill("KILL");
        task.wait(SOON);
        task.delete();
        assert_eq!(property(&unit, "LoadState"), "not-found", "the unit is gone");
        node.expect_nothing_left(SOON);
    }
    node.finish();
}

#[test]
fn a_scope_is_stopped_when_its_shim_is_killed() {
    if cgroup_version() == CgroupVersion::V1 || !systemd_runs() {
        // As in the test above; the harness checks that a refused container leaves nothing.
        let node = Node::start();
        assert!(in_scope(&node, "victim", json!({})).try_create().is_err());
        return node.finish();
    }
    let node = Node::start();
    let task = running(&in_scope(&node, "victim", json!({})));
    let status = fs::read_to_string(format!("/proc/{}/status", task.pid())).unwrap();
    let shim = status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap().trim().to_owned();
    assert!(Command::new("kill").args(["-9", &shim]).status().unwrap().success());
    wait_until(SOON, "containerd to forget the task", || task.try_state().is_err().then_some(()));
    let unit = format!("{}-victim.scope", node.namespace());
    wait_until(SOON, "the unit to go", || (property(&unit, "LoadState") == "not-found").then_some(()));
    task.remove_container();
    node.finish();
}

#[test]
fn another_units_scope_is_not_touched() {
    let node = Node::start();
    if cgroup_version() == CgroupVersion::V1 || !systemd_runs() {
        assert!(in_scope(&node, "taken", json!({})).try_create().is_err());
        return node.finish();
    }
    let unit = format!("{}-taken.scope", node.namespace());
    // In another slice, so that its folder does not betray it.
    let mut stranger = Command::new("systemd-run")
        .args(["--scope", "--slice=system.slice", &format!("--unit={unit}"), "sleep", "300"])
        .spawn()
        .unwrap();
    wait_until(SOON, "the stranger's scope", || (property(&unit, "ActiveState") == "active").then_some(()));
    let status = in_scope(&node, "taken", json!({})).try_create().err().unwrap();
    assert_eq!(status.code, Code::FailedPrecondition, "{status}");
    assert!(status.message.contains(&unit), "{status}");
    assert!(stranger.try_wait().unwrap().is_none(), "the stranger was killed");
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    wait_until(SOON, "the stranger's scope to go", || (property(&unit, "LoadState") == "not-found").then_some(()));
    node.finish();
}
