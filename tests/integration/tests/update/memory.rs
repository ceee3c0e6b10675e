//! Memory and swap: up and down, below the present usage, and the usage reported then.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use catamaran_harness::procfs::{self, children, parent};
use catamaran_harness::{Code, Node, Runtime, State, Task, guests};
use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::{cgroups, cgroups_v2};
use serde_json::{Value, json};

use super::{MEMORY, MIB, PIDS, SHARES, SOON, SWAP, expect, expect_no_memory, has, refused, running, update, v1};

/// Whether the kernel counts swap.
fn counts_swap(task: &Task<'_>) -> bool {
    has("memory") && task.cgroup_folder("memory").join(if v1() { SWAP[0] } else { SWAP[1] }).exists()
}

#[test]
fn memory_and_swap_go_up_and_down_together() {
    if !has("memory") {
        return expect_no_memory();
    }
    let node = Node::start();
    let of = |memory: u64, both: u64| json!({"memory": {"limit": memory * MIB, "swap": both * MIB}});
    for runtime in [Runtime::Catamaran, Runtime::Runc] {
        let task = running(&node, "swap", runtime, json!({"memory": {"limit": 64 * MIB}}));
        if !counts_swap(&task) {
            task.discard();
            continue;
        }
        for (memory, both) in [(64, 64), (128, 256), (256, 256), (48, 96), (48, 48), (512, 512)] {
            update(&task, &of(memory, both));
            let bytes = |n: u64| (n * MIB).to_string();
            expect(&task, MEMORY, [&bytes(memory), &bytes(memory)]);
            expect(&task, SWAP, [&bytes(both), &bytes(both - memory)]);
        }
        // The sum of both stays when the memory alone goes down.
        update(&task, &json!({"memory": {"limit": 500 * MIB}}));
        expect(&task, SWAP, [&(512 * MIB).to_string(), if runtime == Runtime::Catamaran { "0" } else { "12582912" }]);
        update(&task, &json!({"memory": {"limit": -1}}));
        expect(&task, SWAP, ["9223372036854771712", "max"]);
        task.discard();
    }
    let task = running(&node, "more", Runtime::Catamaran, of(64, 96));
    if counts_swap(&task) {
        let more = json!({"memory": {"limit": 128 * MIB}, "pids": {"limit": 7}});
        let words = [
            "Update: linux.resources.memory.limit: 134217728: 100663296 or less",
            "memory.swap beside it",
            "nothing was changed",
        ];
        refused(&task, &more, Code::InvalidArgument, &words);
        expect(&task, MEMORY, ["67108864", "67108864"]);
        if has("pids") {
            expect(&task, PIDS, ["max", "max"]);
        }
        update(&task, &json!({"memory": {"limit": 32 * MIB}}));
        expect(&task, SWAP, ["100663296", "67108864"]);
        update(&task, &json!({"memory": {"swap": 40 * MIB}}));
        expect(&task, SWAP, ["41943040", "8388608"]);
    }
    task.discard();
    node.finish();
}

#[test]
fn the_limit_that_was_set_last_is_the_one_that_holds() {
    if !has("memory") {
        return expect_no_memory();
    }
    let node = Node::start();
    for (first, then, code) in [(64, 512, 0), (512, 64, 137)] {
        let task = node.container("hog").image(&guests::wasm("hog")).memory(first * MIB).create();
        // A container that is created but not started takes it too.
        update(&task, &json!({"memory": {"limit": then * MIB}}));
        task.start();
        assert_eq!(task.wait(Duration::from_secs(60)).code, code, "from {first} to {then}");
        task.delete();
    }
    node.finish();
}

/// A guest that writes to 64 MiB and sleeps.
fn holds_memory<'n>(node: &'n Node, id: &str, resources: Value) -> Task<'n> {
    let text = include_str!("../../../guests/sleep.wat");
    let fill = "(memory.fill (i32.const 65536) (i32.const 1) (i32.const 67108864))\n(drop (call $fd_write";
    let text = text.replace("(memory (export \"memory\") 1)", "(memory (export \"memory\") 1026)");
    let module = wat::parse_str(text.replacen("(drop (call $fd_write", fill, 1)).unwrap();
    let set = move |spec: &mut Value| spec["linux"]["resources"] = resources.clone();
    let task = node.container(id).image(&guests::of("holds", module)).spec(set).spawn();
    task.expect_stdout("ready\n");
    task
}

#[test]
fn a_limit_below_the_present_use_is_refused_or_kills() {
    if !has("memory") {
        return expect_no_memory();
    }
    let node = Node::start();
    let task = holds_memory(&node, "holds", json!({"memory": {"limit": 256 * MIB}, "pids": {"limit": 33}}));
    // Other values of the same Update are restored.
    let less = |check: bool| json!({"memory": {"limit": 8 * MIB, "checkBeforeUpdate": check}, "pids": {"limit": 44}, "cpu": {"shares": 512}});
    let files = ["memory.usage_in_bytes", "memory.current"][usize::from(!v1())];
    let words = ["Update: linux.resources.memory.limit: 8388608: more than the ", files, "nothing was changed"];
    for check in if v1() { vec![true, false] } else { vec![true] } {
        refused(&task, &less(check), Code::FailedPrecondition, &words);
        expect(&task, MEMORY, ["268435456", "268435456"]);
        if has("pids") {
            expect(&task, PIDS, ["33", "33"]);
        }
        if has("cpu") {
            expect(&task, SHARES, ["1024", "100"]);
        }
        assert_eq!(task.state(), State::Running);
    }
    if !v1() {
        // The kernel's own behaviour, and runc's.
        update(&task, &json!({"memory": {"limit": 8 * MIB, "swap": 8 * MIB}}));
        assert_eq!(task.wait(SOON).code, 137);
        task.delete();
        return node.finish();
    }
    task.discard();
    // runc refuses it too.
    let task = running(&node, "runc", Runtime::Runc, json!({"memory": {"limit": 256 * MIB}}));
    assert!(task.try_update(r#"{"memory":{"limit":4096}}"#).is_err());
    expect(&task, MEMORY, ["268435456", "268435456"]);
    task.discard();
    node.finish();
}

/// The kernel takes its time for this limit, and the test kills the process that waits for it.
#[test]
fn an_update_that_breaks_off_is_set_back() {
    if !has("memory") || !has("pids") {
        return expect_no_memory();
    }
    let node = Node::start();
    let resources = json!({"memory": {"limit": 512 * MIB}, "pids": {"limit": 33}});
    let task = running(&node, "broken", Runtime::Catamaran, resources);
    let shim = parent(task.pid());
    let file = node.dir().join("pages");
    let less = json!({"memory": {"limit": 32 * MIB}, "pids": {"limit": 44}}).to_string();
    let mut killed = false;
    for _ in 0..10 {
        // Files in its page cache, written to the disk too, so that the kernel can drop them, and on v2 need not kill.
        let fill = format!("dd if=/dev/zero of={} bs=1M count=300 conv=notrunc,fsync", file.display());
        assert!(task.in_cgroup("memory", &fill).status.success());
        let answer = std::thread::scope(|scope| {
            let update = scope.spawn(|| task.try_update(&less));
            // The first of these processes; the second restores what the first has written.
            let writes =
                |child: &u32| fs::read(procfs::file(*child, "cmdline")).is_ok_and(|w| w.ends_with(b"\0limits\0"));
            while !update.is_finished() {
                if let Some(child) = children(shim).into_iter().find(writes) {
                    // It may have ended.
                    let _ = Command::new("kill").args(["-9", &child.to_string()]).stderr(Stdio::null()).status();
                    break;
                }
            }
            update.join().unwrap()
        });
        let Err(status) = answer else {
            // The test met no process in time.
            update(&task, &json!({"memory": {"limit": 512 * MIB}, "pids": {"limit": 33}}));
            continue;
        };
        assert_eq!(status.code, Code::Internal, "{status}");
        assert!(status.message.ends_with("; nothing was changed"), "{status}");
        expect(&task, MEMORY, ["536870912"; 2]);
        expect(&task, PIDS, ["33"; 2]);
        killed = true;
        break;
    }
    assert!(killed, "the test needs a slower kernel, or more pages");
    assert_eq!(task.state(), State::Running);
    update(&task, &json!({"memory": {"limit": 256 * MIB}}));
    task.discard();
    node.finish();
}

#[test]
fn metrics_show_the_new_limit() {
    if !has("memory") {
        return expect_no_memory();
    }
    let node = Node::start();
    let task = running(&node, "figures", Runtime::Catamaran, json!({"memory": {"limit": 64 * MIB}}));
    for limit in [128 * MIB, 96 * MIB] {
        update(&task, &json!({"memory": {"limit": limit}, "pids": {"limit": 44}}));
        let (_, figures) = task.try_metrics().unwrap();
        let told = if v1() {
            let metrics: cgroups::metrics::Metrics = Message::parse_from_bytes(&figures).unwrap();
            (metrics.memory.usage.limit, metrics.pids.limit)
        } else {
            let metrics: cgroups_v2::metrics::Metrics = Message::parse_from_bytes(&figures).unwrap();
            (metrics.memory.usage_limit, metrics.pids.limit)
        };
        assert_eq!(told, (limit, 44));
    }
    task.discard();
    node.finish();
}
