//! Update: limits of an existing container, read back from the kernel, beside runc's shim where it has the same test. Each test expects
//! what is right for the machine that it runs on: its version of cgroups, its controllers, its init.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

mod memory;

use std::fs;
use std::process::Command;
use std::time::Duration;

use catamaran_harness::cri::{self, Pod, Shape};
use catamaran_harness::procfs::{children, parent, status};
use catamaran_harness::{
    CgroupVersion, Code, Node, Runtime, State, Task, cgroup_version, controllers, guests, systemd_runs, wait_until,
};
use containerd_shim_protos::api::UpdateTaskRequest;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::ttrpc;
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(10);
const MIB: u64 = 1 << 20;

fn has(controller: &str) -> bool {
    controllers().contains(controller)
}

fn v1() -> bool {
    cgroup_version() == CgroupVersion::V1
}

/// A running container with these `linux.resources`.
fn running<'n>(node: &'n Node, id: &str, runtime: Runtime, resources: Value) -> Task<'n> {
    let set = move |spec: &mut Value| spec["linux"]["resources"] = resources.clone();
    let task = node.container(id).runtime(runtime).image(&guests::image(runtime, "sleep")).spec(set).spawn();
    task.expect_stdout("ready\n");
    task
}

fn update(task: &Task<'_>, resources: &Value) {
    task.try_update(&resources.to_string()).unwrap_or_else(|status| panic!("{resources}: {status}"));
}

/// Checks that Update is refused with this.
fn refused(task: &Task<'_>, resources: &Value, code: Code, words: &[&str]) {
    let status = task.try_update(&resources.to_string()).expect_err(&format!("updated with {resources}"));
    assert_eq!(status.code, code, "{resources}: {status}");
    for word in words {
        assert!(status.message.contains(word), "{word:?} is missing in: {status}");
    }
}

/// Without a memory controller, a limit of memory is refused.
fn expect_no_memory() {
    let node = Node::start();
    let task = running(&node, "none", Runtime::Catamaran, json!({}));
    let words = ["Update: linux.resources.memory.limit", "no memory controller", "nothing was changed"];
    refused(&task, &json!({"memory": {"limit": MIB}}), Code::InvalidArgument, &words);
    task.discard();
    node.finish();
}

/// Checks the content of a file, of v1's name or v2's.
fn expect(task: &Task<'_>, [v1_name, v2_name]: [&str; 2], [on_v1, on_v2]: [&str; 2]) {
    let expected = if v1() { on_v1 } else { on_v2 };
    assert_eq!(task.cgroup_file(v1_name, v2_name), expected, "{v1_name}, {v2_name}");
}

const MEMORY: [&str; 2] = ["memory.limit_in_bytes", "memory.max"];
const SWAP: [&str; 2] = ["memory.memsw.limit_in_bytes", "memory.swap.max"];
const RESERVATION: [&str; 2] = ["memory.soft_limit_in_bytes", "memory.low"];
const SHARES: [&str; 2] = ["cpu.shares", "cpu.weight"];
const QUOTA: [&str; 2] = ["cpu.cfs_quota_us", "cpu.max"];
const PERIOD: [&str; 2] = ["cpu.cfs_period_us", "cpu.max"];
const PIDS: [&str; 2] = ["pids.max", "pids.max"];

/// A controller, a container's first value, its new value, and the kernel's files then, on v1 and v2.
type Change = (&'static str, Value, Value, Vec<([&'static str; 2], [&'static str; 2])>);

fn changes() -> Vec<Change> {
    vec![
        (
            "memory",
            json!({"memory": {"limit": 64 * MIB, "reservation": 32 * MIB}}),
            json!({"memory": {"limit": 128 * MIB}}),
            vec![(MEMORY, ["134217728", "134217728"]), (RESERVATION, ["33554432", "33554432"])],
        ),
        (
            "cpu",
            json!({"cpu": {"shares": 512, "quota": 50000, "period": 200_000}}),
            json!({"cpu": {"quota": 40000}}),
            vec![(SHARES, ["512", "59"]), (QUOTA, ["40000", "40000 200000"]), (PERIOD, ["200000", "40000 200000"])],
        ),
        (
            "cpu",
            json!({"cpu": {"shares": 512, "quota": 50000, "period": 200_000}}),
            json!({"cpu": {"shares": 2048, "period": 100_000}}),
            vec![(SHARES, ["2048", "174"]), (QUOTA, ["50000", "50000 100000"]), (PERIOD, ["100000", "50000 100000"])],
        ),
        (
            "cpu",
            json!({"cpu": {"quota": 50000, "period": 200_000}}),
            json!({"cpu": {"quota": -1}}),
            vec![(QUOTA, ["-1", "max 200000"]), (PERIOD, ["200000", "max 200000"])],
        ),
        (
            "cpuset",
            json!({"cpu": {"cpus": "0-1", "mems": "0"}}),
            json!({"cpu": {"cpus": "1"}}),
            vec![(["cpuset.cpus", "cpuset.cpus"], ["1", "1"]), (["cpuset.mems", "cpuset.mems"], ["0", "0"])],
        ),
        ("pids", json!({"pids": {"limit": 33}}), json!({"pids": {"limit": 44}}), vec![(PIDS, ["44", "44"])]),
        ("pids", json!({"pids": {"limit": 33}}), json!({"pids": {"limit": -1}}), vec![(PIDS, ["max", "max"])]),
        ("pids", json!({"pids": {"limit": 33}}), json!({"cpu": {}, "memory": {}}), vec![(PIDS, ["33", "33"])]),
    ]
}

#[test]
fn an_update_changes_the_named_limits_and_keeps_the_rest() {
    let node = Node::start();
    for (number, (controller, first, then, files)) in changes().into_iter().enumerate() {
        if !has(controller) {
            continue;
        }
        // On runc too: all runtimes must agree on these expectations.
        for runtime in [Runtime::Catamaran, Runtime::Runc] {
            let task = running(&node, &format!("{controller}-{number}"), runtime, first.clone());
            update(&task, &then);
            for (names, values) in &files {
                expect(&task, *names, *values);
            }
            assert_eq!(task.state(), State::Running);
            if runtime == Runtime::Catamaran {
                let shim = parent(task.pid());
                // The driver of its compilation may end a moment later too.
                wait_until(SOON, "the child that wrote to be gone", || (children(shim) == [task.pid()]).then_some(()));
                assert_eq!(status(shim)["Threads"], "1");
            }
            task.discard();
        }
    }
    node.finish();
}

#[test]
fn limits_that_runc_ignores_change_too() {
    let node = Node::start();
    let pages = |limit: u64| json!({"hugepageLimits": [{"pageSize": "2MB", "limit": limit}]});
    if has("hugetlb") {
        let task = running(&node, "pages", Runtime::Catamaran, pages(2 * MIB));
        update(&task, &pages(8 * MIB));
        expect(&task, ["hugetlb.2MB.limit_in_bytes", "hugetlb.2MB.max"], ["8388608", "8388608"]);
        // Of several values for one file the last one counts, even if the file has it already: containerd sends such lists.
        let both =
            json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 4 * MIB}, {"pageSize": "2MB", "limit": 8 * MIB}]});
        update(&task, &both);
        expect(&task, ["hugetlb.2MB.limit_in_bytes", "hugetlb.2MB.max"], ["8388608", "8388608"]);
        task.discard();
    }
    if has("cpu") {
        let task = running(&node, "burst", Runtime::Catamaran, json!({"cpu": {"quota": 50000, "burst": 20000}}));
        // Each prevents the other, in either order.
        update(&task, &json!({"cpu": {"quota": 10000, "burst": 5000}}));
        expect(&task, ["cpu.cfs_burst_us", "cpu.max.burst"], ["5000", "5000"]);
        update(&task, &json!({"cpu": {"quota": 90000, "burst": 40000}}));
        expect(&task, ["cpu.cfs_burst_us", "cpu.max.burst"], ["40000", "40000"]);
        // An idle cgroup takes no weight, and gets one again with the next value that is not idle.
        let idle = json!({"cpu": {"shares": 2048, "idle": 1}});
        for _ in 0..2 {
            update(&task, &idle);
            assert_eq!(task.cgroup_file("cpu.idle", "cpu.idle"), "1");
        }
        refused(
            &task,
            &json!({"cpu": {"shares": 512}}),
            Code::InvalidArgument,
            &["cpu.shares: ", "none beside cpu.idle 1"],
        );
        update(&task, &json!({"cpu": {"shares": 2048, "idle": 0}}));
        expect(&task, SHARES, ["2048", "174"]);
        task.discard();
    }
    if v1() && has("memory") {
        let task = running(&node, "old", Runtime::Catamaran, json!({"memory": {"disableOOMKiller": true}}));
        let killer = || task.cgroup_file("memory.oom_control", "").lines().next().unwrap().to_owned();
        assert_eq!(killer(), "oom_kill_disable 1");
        update(&task, &json!({"memory": {"disableOOMKiller": false, "swappiness": 7}}));
        assert_eq!(killer(), "oom_kill_disable 0");
        assert_eq!(task.cgroup_file("memory.swappiness", ""), "7");
        task.discard();
    }
    if !v1() {
        let task = running(&node, "unified", Runtime::Catamaran, json!({}));
        update(&task, &json!({"unified": {"cgroup.max.descendants": "3"}}));
        assert_eq!(task.cgroup_file("", "cgroup.max.descendants"), "3");
        task.discard();
    }
    node.finish();
}

#[test]
fn a_quota_above_the_parent_cgroups_is_refused() {
    let node = Node::start();
    let task = running(&node, "quota", Runtime::Catamaran, json!({"cpu": {"quota": 40000}, "pids": {"limit": 33}}));
    if v1() && has("cpu") {
        let above = task.cgroup_folder("cpu").parent().unwrap().join("cpu.cfs_quota_us");
        fs::write(&above, "50000").unwrap();
        let more = json!({"cpu": {"shares": 512, "quota": 60000, "period": 100_000}, "pids": {"limit": 44}});
        let words =
            ["Update: linux.resources.cpu.quota: 60000: ", "no more than 50000 in 100000", "nothing was changed"];
        refused(&task, &more, Code::InvalidArgument, &words);
        expect(&task, QUOTA, ["40000", ""]);
        expect(&task, SHARES, ["1024", ""]);
        expect(&task, PIDS, ["33", ""]);
        // As much as the quota itself.
        update(&task, &json!({"cpu": {"quota": 100_000, "period": 200_000}}));
        expect(&task, QUOTA, ["100000", ""]);
        fs::write(&above, "-1").unwrap();
    }
    if has("cpu") {
        refused(
            &task,
            &json!({"cpu": {"quota": 1}}),
            Code::InvalidArgument,
            &["linux.resources.cpu.quota: 1", "1000 or more"],
        );
    }
    task.discard();
    node.finish();
}

#[test]
fn an_update_with_an_invalid_value_changes_nothing() {
    let node = Node::start();
    let task = running(&node, "values", Runtime::Catamaran, json!({"pids": {"limit": 33}}));
    let all = [
        (json!({"pids": {"limit": 44}, "memory": {"limit": -7}}), ["memory.limit: -7", "-1 for no limit"]),
        (json!({"pids": {"limit": 44}, "cpu": {"idle": 7}}), ["cpu.idle: 7", "0 or 1"]),
        (
            json!({"pids": {"limit": 44}, "hugepageLimits": [{"pageSize": "../2MB", "limit": 1}]}),
            ["pageSize", "../2MB"],
        ),
        (json!({"pids": {"limit": -7}}), ["pids.limit: -7", "-1 for no limit"]),
    ];
    for (resources, words) in &all {
        refused(
            &task,
            resources,
            Code::InvalidArgument,
            &[&words[..], &["Update: linux.resources.", "nothing was changed"]].concat(),
        );
    }
    let other_version = match cgroup_version() {
        CgroupVersion::V1 => json!({"pids": {"limit": 44}, "unified": {"memory.high": "1"}}),
        CgroupVersion::V2 => json!({"pids": {"limit": 44}, "memory": {"swappiness": 7}}),
    };
    let words = if v1() { ["unified", "cgroup v1"] } else { ["memory.swappiness", "cgroup v2"] };
    refused(&task, &other_version, Code::InvalidArgument, &words);
    if !has("net_cls") {
        refused(
            &task,
            &json!({"network": {"classID": 7}}),
            Code::InvalidArgument,
            &["Update: linux.resources.network.classID"],
        );
    }
    if has("cpuset") {
        // A value that the kernel refuses, after one that it took.
        let beyond = json!({"pids": {"limit": 44}, "cpu": {"cpus": "4096"}});
        refused(&task, &beyond, Code::InvalidArgument, &["cpu.cpus: 4096", "nothing was changed"]);
    }
    if has("pids") {
        expect(&task, PIDS, ["33", "33"]);
        assert_eq!(task.try_update("null").unwrap_err().code, Code::InvalidArgument);
        // As on runc, rules for devices are no limit to widen: the five devices stay the only ones.
        let devices = json!({"devices": [{"allow": true, "access": "rwm"}], "pids": {"limit": 44}});
        update(&task, &devices);
        expect(&task, PIDS, ["44", "44"]);
        let controller = if has("devices") { "devices" } else { "" };
        assert!(!task.in_cgroup(controller, "exec 3<> /dev/ptmx").status.success());
    }
    task.discard();
    node.finish();
}

#[test]
fn resources_of_another_type_are_refused() {
    let node = Node::start();
    let shim = catamaran_harness::direct::Shim::start(&node, Runtime::Catamaran, catamaran_harness::Engine::Wasmtime);
    let case = shim.case();
    case.bring(catamaran_harness::direct::Standing::Running);
    let any = |kind: &str| Any { type_url: kind.to_owned(), value: b"{}".to_vec(), ..Default::default() };
    let windows = "types.containerd.io/opencontainers/runtime-spec/1/WindowsResources";
    for (resources, words) in [(None, "Update: resources: missing"), (Some(any(windows)), "WindowsResources")] {
        let request = UpdateTaskRequest { id: case.id.clone(), resources: resources.into(), ..Default::default() };
        let e = shim.task.update(ttrpc::context::with_timeout(10_000_000_000), &request).unwrap_err();
        let ttrpc::Error::RpcStatus(status) = e else { panic!("{e}") };
        assert_eq!(status.code(), ttrpc::Code::INVALID_ARGUMENT, "{status:?}");
        assert!(status.message().contains(words), "{status:?}");
    }
    case.discard();
    shim.end();
    node.finish();
}

#[test]
fn updating_an_existing_container_never_says_not_found() {
    let node = Node::start();
    let task = running(&node, "ends", Runtime::Catamaran, json!({}));
    let pids = json!({"pids": {"limit": 44}});
    task.try_pause().unwrap();
    update(&task, &pids);
    expect(&task, PIDS, ["44", "44"]);
    task.kill("KILL");
    task.wait(SOON);
    refused(&task, &pids, Code::FailedPrecondition, &["container ends is stopped: it cannot be updated"]);
    task.try_delete().unwrap();
    refused(&task, &pids, Code::NotFound, &["ends"]);
    task.remove_container();
    node.finish();
}

/// The container may end at any moment of the Update.
#[test]
fn an_update_races_with_the_containers_end() {
    let node = Node::start();
    for delay in 0..12 {
        let task = running(&node, "ends", Runtime::Catamaran, json!({}));
        let answers = std::thread::scope(|scope| {
            let killed = scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(delay));
                task.kill("KILL");
            });
            let mut answers = Vec::new();
            for n in 0..8 {
                answers
                    .push(task.try_update(&json!({"pids": {"limit": 40 + n}, "cpu": {"shares": 500 + n}}).to_string()));
            }
            killed.join().unwrap();
            answers
        });
        for status in answers.into_iter().filter_map(Result::err) {
            assert_eq!(status.code, Code::FailedPrecondition, "{status}");
            assert!(status.message.contains("it cannot be updated"), "{status}");
        }
        task.wait(SOON);
        task.delete();
    }
    node.finish();
}

/// A resize in place by the kubelet: the CRI sends all of the container's resources each time, rules for devices too.
#[test]
fn a_container_of_a_pod_is_resized_in_place() {
    if !has("memory") || !has("cpu") {
        return expect_no_memory();
    }
    let node = Node::start_with(cri::options());
    let pod = Pod::run(&node, "pod", Shape { handler: "catamaran".to_owned(), ..Shape::default() });
    let order = pod.order("sleep", &guests::image(Runtime::Catamaran, "sleep")).limits(64 * MIB, 512, 50000);
    let order = if has("hugetlb") { order.hugepages("2MB", 0) } else { order };
    let sleep = order.start();
    sleep.expect_line("ready");
    let path = fs::read_to_string(format!("/proc/{}/cgroup", sleep.status().pid)).unwrap();
    let read = |controller: &str, v1_name: &str, v2_name: &str| {
        let line = path.lines().find(|line| line.starts_with("0::") || line.split(':').nth(1) == Some(controller));
        let line = path.lines().find(|line| line.split(':').nth(1) == Some(controller)).or(line).unwrap();
        let below = line.splitn(3, ':').nth(2).unwrap();
        let file = if v1() {
            format!("/sys/fs/cgroup/{controller}{below}/{v1_name}")
        } else {
            format!("/sys/fs/cgroup{below}/{v2_name}")
        };
        fs::read_to_string(&file).unwrap_or_else(|e| panic!("{file}: {e}")).trim().to_owned()
    };
    for (memory, shares, quota) in [(128 * MIB, 1024, 100_000), (96 * MIB, 256, 25000), (96 * MIB, 256, 25000)] {
        sleep.update(memory, shares, quota).unwrap();
        assert_eq!(read("memory", MEMORY[0], MEMORY[1]), memory.to_string());
        let max = format!("{quota} 100000");
        assert_eq!(read("cpu", QUOTA[0], QUOTA[1]), if v1() { quota.to_string() } else { max });
    }
    if v1() {
        let refused = sleep.update(4096, 256, 25000).unwrap_err();
        assert!(
            refused.message.contains("more than the ") && refused.message.contains("nothing was changed"),
            "{refused}"
        );
        assert_eq!(read("memory", MEMORY[0], MEMORY[1]), (96 * MIB).to_string());
    }
    assert_eq!(sleep.status().reason, "");
    pod.remove();
    node.finish();
}

/// A property of a unit, as systemctl shows it.
fn property(unit: &str, name: &str) -> String {
    let output = Command::new("systemctl").args(["show", unit, "--value", "-p", name]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// systemd rewrites a scope's limits whenever it likes, so it must know the new ones. On v1 there are no scopes, and `resources.rs` has a
/// test for that.
#[test]
fn limits_of_a_scope_are_told_to_systemd() {
    let node = Node::start();
    let path = format!("catamaran-tests.slice:{}:scoped", node.namespace());
    let resources = json!({"memory": {"limit": 64 * MIB, "swap": 64 * MIB}, "cpu": {"quota": 50000}});
    let order = node.container("scoped").image(&guests::image(Runtime::Catamaran, "sleep")).spec(move |spec| {
        spec["linux"]["cgroupsPath"] = json!(path);
        spec["linux"]["resources"] = resources.clone();
    });
    if v1() || !systemd_runs() {
        assert!(order.try_create().is_err());
        return node.finish();
    }
    let task = order.spawn();
    task.expect_stdout("ready\n");
    let unit = format!("{}-scoped.scope", node.namespace());
    let more = json!({"memory": {"limit": 128 * MIB, "swap": 128 * MIB}, "cpu": {"quota": 12345, "shares": 512},
        "pids": {"limit": 44}});
    update(&task, &more);
    let told = || {
        let files = ["memory.max", "memory.swap.max", "cpu.max", "cpu.weight", "pids.max"];
        files.map(|file| task.cgroup_file("", file))
    };
    // Whole percents of a processor, because systemd keeps only those.
    let expected = ["134217728", "0", "13000 100000", "59", "44"];
    assert_eq!(told(), expected);
    for (name, value) in [
        ("MemoryMax", "134217728"),
        ("MemorySwapMax", "0"),
        ("CPUQuotaPerSecUSec", "130ms"),
        ("CPUWeight", "59"),
        ("TasksMax", "44"),
    ] {
        assert_eq!(property(&unit, name), value, "{name}");
    }
    assert!(Command::new("systemctl").arg("daemon-reload").status().unwrap().success());
    wait_until(SOON, "the files to say what they said", || (told() == expected).then_some(()));
    // systemd does not get refused values either.
    refused(
        &task,
        &json!({"pids": {"limit": 55}, "cpu": {"cpus": "4096"}}),
        Code::InvalidArgument,
        &["nothing was changed"],
    );
    assert_eq!(property(&unit, "TasksMax"), "44");
    assert_eq!(told(), expected);
    task.discard();
    node.finish();
}
