//! Usage of containers and pods, as the CRI tells the kubelet: compared with the cgroup's own files, on both engines, and on runc for what
//! containerd itself does.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use catamaran_harness::cri::{self, ContainerFilter, ContainerStats, Pod, PodFilter, Running, Shape};
use catamaran_harness::guests::wasm;
use catamaran_harness::{
    CgroupVersion, Engine, Image, Node, Runtime, cgroup_folder, cgroup_version, guests, wait_until,
};

const SOON: Duration = Duration::from_secs(20);
const MIB: u64 = 1 << 20;
/// The kernel charges memory in batches, and a worker may still be freeing memory that its start needed.
const SLACK: u64 = MIB;

fn node() -> Node {
    // The default measures writable layers only every ten seconds.
    Node::start_with(
        cri::options().network().config("[plugins.'io.containerd.cri.v1.images']\n  stats_collect_period = 1"),
    )
}

/// A guest that writes to 32 MiB, computes for a while, says "ready" and sleeps.
fn busy() -> Image {
    let module = wat::parse_str(
        r#"(module
             (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
             (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
             (memory (export "memory") 514)
             (data (i32.const 0) "\10\00\00\00\06\00\00\00") (data (i32.const 16) "ready\n")
             (func (export "_start") (local $n i32)
               (memory.fill (i32.const 65536) (i32.const 1) (i32.const 33554432))
               (loop $next
                 (local.set $n (i32.add (local.get $n) (i32.const 1)))
                 (i32.store (i32.const 512) (local.get $n))
                 (br_if $next (i32.lt_u (local.get $n) (i32.const 50000000))))
               (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
               (i32.store (i32.const 80) (i32.const 1))
               (i64.store (i32.const 88) (i64.const 3600000000000))
               (drop (call $poll (i32.const 64) (i32.const 128) (i32.const 1) (i32.const 192)))))"#,
    );
    guests::of("busy", module.unwrap())
}

fn number(folder: &Path, file: &str) -> u64 {
    let path = folder.join(file);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display())).trim().parse().unwrap()
}

/// Processor time of a cgroup in nanoseconds.
fn cpu(pid: u32) -> u64 {
    match cgroup_version() {
        CgroupVersion::V1 => number(&cgroup_folder(pid, "cpuacct"), "cpuacct.usage"),
        CgroupVersion::V2 => {
            let text = fs::read_to_string(cgroup_folder(pid, "cpu").join("cpu.stat")).unwrap();
            let value = text.lines().find_map(|line| line.strip_prefix("usage_usec ")).unwrap();
            value.parse::<u64>().unwrap() * 1000
        }
    }
}

/// Memory of a cgroup in bytes.
fn memory(pid: u32) -> u64 {
    let file = if cgroup_version() == CgroupVersion::V1 { "memory.usage_in_bytes" } else { "memory.current" };
    number(&cgroup_folder(pid, "memory"), file)
}

fn ready<'n>(order: cri::Order<'n, '_>) -> (Running<'n>, u32) {
    let container = order.start();
    container.expect_line("ready");
    let pid = container.status().pid;
    (container, pid)
}

/// Runs `work` in a pod on each engine, and in one of runc's.
fn on_each_runtime(node: &Node, work: impl Fn(&Pod<'_>, &str, Runtime)) {
    let in_pod = |name: &str, shape: Shape, runtime| {
        let pod = Pod::run(node, name, shape);
        work(&pod, name, runtime);
        pod.remove();
    };
    for engine in Engine::ALL {
        in_pod(engine.name(), Shape::on(engine), Runtime::Catamaran);
    }
    in_pod("runc", Shape { network: true, ..Shape::default() }, Runtime::Runc);
}

fn of(container: &Running<'_>) -> ContainerStats {
    container.stats().unwrap_or_else(|status| panic!("{status}"))
}

#[test]
fn a_containers_statistics_match_its_cgroup() {
    let node = node();
    on_each_runtime(&node, |pod, name, runtime| {
        let image = guests::image(runtime, "sleep");
        let (container, pid) = ready(pod.order("limited", &image).limits(64 * MIB, 1024, 100_000));
        let before = (cpu(pid), memory(pid));
        let stats = of(&container);
        let after = (cpu(pid), memory(pid));
        assert_eq!(stats.id, container.id(), "{name}");
        let (used, held) = (stats.cpu.unwrap(), stats.memory.unwrap());
        assert!(used.nanoseconds > 0 && used.at > 0, "{name}: {used:?}");
        assert!((before.0..=after.0).contains(&used.nanoseconds), "{name}: {used:?}, {before:?} to {after:?}");
        let (least, most) = (before.1.min(after.1).saturating_sub(SLACK), before.1.max(after.1) + SLACK);
        assert!(held.usage > 0 && (least..=most).contains(&held.usage), "{name}: {held:?}, {before:?} to {after:?}");
        assert!(held.working_set > 0 && held.working_set <= held.usage, "{name}: {held:?}");
        assert_eq!(held.available, 64 * MIB - held.working_set, "{name}");
        assert!(held.rss > 0 && held.rss <= held.usage + SLACK && held.faults > 0, "{name}: {held:?}");
    });
    node.finish();
}

#[test]
fn a_guests_use_is_counted_for_its_container() {
    let node = node();
    for engine in Engine::ALL {
        let pod = Pod::run(&node, engine.name(), Shape::on(engine));
        let (idle, _) = ready(pod.order("idle", &wasm("sleep")));
        let (busy, _) = ready(pod.order("busy", &busy()));
        let (idle, busy) = (of(&idle), of(&busy));
        let memory = |stats: &ContainerStats| stats.memory.unwrap();
        assert!(memory(&busy).rss >= 32 * MIB && memory(&busy).working_set >= 32 * MIB, "{engine:?}: {busy:?}");
        assert!(memory(&idle).working_set < 32 * MIB, "{engine:?}: {idle:?}");
        let spent = |stats: &ContainerStats| stats.cpu.unwrap().nanoseconds;
        // 50 million turns: no machine does two of them in a nanosecond.
        assert!(spent(&busy) >= 25_000_000 && spent(&busy) > spent(&idle), "{engine:?}: {busy:?} and {idle:?}");
        pod.remove();
    }
    node.finish();
}

#[test]
fn the_rate_of_processor_use_is_reported() {
    let node = node();
    for engine in Engine::ALL {
        let pod = Pod::run(&node, engine.name(), Shape::on(engine));
        let (spin, _) = ready(pod.order("spin", &wasm("spin")));
        let (sleep, _) = ready(pod.order("sleep", &wasm("sleep")));
        let filter = ContainerFilter { pod: pod.id().to_owned(), ..ContainerFilter::default() };
        let speeds = || {
            let all = cri::container_stats(&node, &filter);
            [&spin, &sleep].map(|wanted| {
                let stats = all.iter().find(|stats| stats.id == wanted.id()).unwrap();
                // containerd 2.4 omits it until there are two samples to compare; older ones report 0.
                stats.cpu.unwrap().nano_cores.unwrap_or(0)
            })
        };
        assert_eq!(speeds(), [0, 0], "{engine:?}: there is nothing to compare with yet");
        let [spinning, sleeping] = wait_until(SOON, "a rate", || {
            std::thread::sleep(Duration::from_secs(1));
            Some(speeds()).filter(|speeds| speeds[0] > 0)
        });
        // One core at most, and part of one on a busy machine.
        assert!((50_000_000..1_100_000_000).contains(&spinning), "{engine:?}: {spinning}");
        assert!(sleeping < 20_000_000, "{engine:?}: {sleeping}");
        pod.remove();
    }
    node.finish();
}

struct Made<'p> {
    id: String,
    pod: &'p str,
    engine: &'static str,
    name: &'static str,
}

#[test]
fn statistics_are_listed_by_id_pod_and_labels() {
    let node = node();
    let pods = Engine::ALL.map(|engine| Pod::run(&node, engine.name(), Shape::on(engine)));
    let mut all = Vec::new();
    for (pod, engine) in pods.iter().zip(Engine::ALL) {
        for name in ["one", "two"] {
            let order = pod.order(name, &wasm("sleep")).label("engine", engine.name()).label("name", name);
            all.push(Made { id: ready(order).0.id().to_owned(), pod: pod.id(), engine: engine.name(), name });
        }
    }
    let label = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let listed = |filter: &ContainerFilter| {
        let mut ids: Vec<String> = cri::container_stats(&node, filter).into_iter().map(|stats| stats.id).collect();
        ids.sort();
        ids
    };
    let expected = |wanted: &dyn Fn(&Made<'_>) -> bool| {
        let mut ids: Vec<String> = all.iter().filter(|one| wanted(one)).map(|one| one.id.clone()).collect();
        ids.sort();
        ids
    };
    assert_eq!(listed(&ContainerFilter::default()), expected(&|_| true));
    for Made { id, pod, engine, name } in &all {
        let by_id = ContainerFilter { id: id.clone(), ..ContainerFilter::default() };
        assert_eq!(listed(&by_id), std::slice::from_ref(id));
        let by_pod = ContainerFilter { pod: (*pod).to_owned(), ..ContainerFilter::default() };
        assert_eq!(listed(&by_pod), expected(&|one| one.pod == *pod));
        let by_label = ContainerFilter { labels: vec![label("name", name)], ..ContainerFilter::default() };
        assert_eq!(listed(&by_label), expected(&|one| one.name == *name));
        let labels = vec![label("name", name), label("engine", engine)];
        assert_eq!(listed(&ContainerFilter { labels, ..ContainerFilter::default() }), std::slice::from_ref(id));
    }
    let labels = vec![label("name", "three")];
    assert!(listed(&ContainerFilter { labels, ..ContainerFilter::default() }).is_empty());
    pods.into_iter().for_each(Pod::remove);
    assert!(listed(&ContainerFilter::default()).is_empty());
    node.finish();
}

#[test]
fn written_bytes_are_counted_for_the_containers_layer() {
    let node = node();
    for engine in Engine::ALL {
        let pod = Pod::run(&node, engine.name(), Shape::on(engine));
        let text = "x".repeat(100_000);
        let kitchen = guests::of("kitchen", guests::c("kitchen"));
        let container = pod.order("write", &kitchen).args(["write", "/new", text.as_str()]).start();
        assert_eq!(container.wait(SOON).exit_code, 0, "{:?}", container.log());
        let filter = ContainerFilter { id: container.id().to_owned(), ..ContainerFilter::default() };
        let layer = wait_until(SOON, "the layer to be measured", || {
            let [stats] = &cri::container_stats(&node, &filter)[..] else { panic!("one container") };
            // The layer may have been measured before the file existed.
            (stats.layer.bytes >= 100_000).then(|| stats.layer.clone())
        });
        assert!(layer.bytes < 300_000 && layer.inodes >= 2, "{engine:?}: {layer:?}");
        assert!(Path::new(&layer.mountpoint).is_dir(), "{engine:?}: {layer:?}");
        pod.remove();
    }
    node.finish();
}

/// The CRI deletes a task when it has ended, and its cgroup goes too: only the layer is left to report.
#[test]
fn a_container_that_does_not_run_is_listed_and_uses_nothing() {
    let node = node();
    on_each_runtime(&node, |pod, name, runtime| {
        let created = pod.order("created", &guests::image(runtime, "sleep")).ready();
        let ended = pod.order("ended", &guests::image(runtime, "hello")).start();
        ended.wait(SOON);
        let (stopped, _) = ready(pod.order("stopped", &guests::image(runtime, "sleep")));
        assert!(of(&stopped).cpu.is_some(), "{name}");
        stopped.stop(Duration::from_secs(10));
        let filter = ContainerFilter { pod: pod.id().to_owned(), ..ContainerFilter::default() };
        let all = cri::container_stats(&node, &filter);
        assert_eq!(all.len(), 3, "{name}: {all:?}");
        for container in [&created, &ended, &stopped] {
            let stats = all.iter().find(|stats| stats.id == container.id()).unwrap();
            assert_eq!((stats.cpu, stats.memory), (None, None), "{name}: {stats:?}");
            let refused = container.stats().expect_err("there is no task to ask");
            assert!(refused.message.contains("metrics"), "{name}: {refused}");
        }
        ended.remove();
        assert_eq!(cri::container_stats(&node, &filter).len(), 2, "{name}");
    });
    assert!(cri::container_stats(&node, &ContainerFilter::default()).is_empty());
    node.finish();
}

#[test]
fn a_pods_statistics_sum_its_containers_and_network() {
    let node = node();
    on_each_runtime(&node, |pod, name, runtime| {
        let image = guests::image(runtime, "sleep");
        let both = ["one", "two"].map(|container| ready(pod.order(container, &image)));
        // Nothing listens there: the answer is a refusal, and both packets go through the pod's interface.
        let status = pod.status();
        TcpStream::connect((status.ip.as_str(), 9)).expect_err("somebody listens");
        let stats = pod.stats().unwrap_or_else(|status| panic!("{name}: {status}"));
        assert_eq!(stats.id, pod.id(), "{name}");
        let ids: Vec<&str> = stats.containers.iter().map(|one| one.id.as_str()).collect();
        assert!(ids.len() == 2 && both.iter().all(|(one, _)| ids.contains(&one.id())), "{name}: {stats:?}");
        let sum = |figure: &dyn Fn(&ContainerStats) -> u64| stats.containers.iter().map(figure).sum::<u64>();
        // The cgroup above the containers', which includes the sandbox's; it was read a moment before theirs, so that theirs may be
        // slightly ahead.
        let (used, held) = (stats.cpu.unwrap(), stats.memory.unwrap());
        assert!(used.nanoseconds + 10_000_000 > sum(&|one| one.cpu.unwrap().nanoseconds), "{name}: {stats:?}");
        assert!(held.usage + SLACK > sum(&|one| one.memory.unwrap().usage), "{name}: {stats:?}");
        assert!(held.working_set > 0 && held.working_set <= held.usage, "{name}: {stats:?}");
        let tasks: u64 = both.iter().map(|(_, pid)| number(&cgroup_folder(*pid, "pids"), "pids.current")).sum();
        assert_eq!(stats.processes, tasks, "{name}");
        let (interface, received, sent) = stats.network.clone().unwrap();
        assert!(interface == "eth0" && received > 0 && sent > 0, "{name}: {:?}", stats.network);

        let filter = PodFilter { id: pod.id().to_owned(), ..PodFilter::default() };
        let listed = cri::pod_stats(&node, &filter);
        assert!(listed.len() == 1 && listed[0].id == pod.id(), "{name}: {listed:?}");
        assert_eq!(listed[0].containers.len(), 2, "{name}");
        pod.stop();
        let refused = pod.stats().expect_err("it is stopped");
        assert!(refused.message.contains("not in ready state"), "{name}: {refused}");
        assert!(cri::pod_stats(&node, &filter).is_empty(), "{name}");
    });
    assert!(cri::pod_stats(&node, &PodFilter::default()).is_empty());
    node.finish();
}
