//! One tenant's share of the node's cache and compiles, and what waiting clients hold: a tenant is a Kubernetes namespace.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;

use catamaran_harness::{Code, Container, Engine, Image, Node, Options, Runtime, Task, guests, wait_until};
use catamaran_integration::compiles::{all_slots, counter, creations, entries, image, lane, locked, processes, quiet};
use catamaran_integration::{adapted, component};

const SOON: Duration = Duration::from_secs(20);
const LATER: Duration = Duration::from_secs(120);
/// The annotation that the CRI writes for the pod's namespace.
const NAMESPACE: &str = "io.kubernetes.cri.sandbox-namespace";

/// A module that keeps running, with this many kilobytes of code, and bytes of its own. Below 512 it is compiled once.
fn idle(name: &str, kilobytes: usize) -> Image {
    // A custom section: "catamaran", and the name.
    let mut module = guests::idle_of_size(kilobytes << 10);
    let body = [&[9][..], b"catamaran", name.as_bytes()].concat();
    module.extend([0, u8::try_from(body.len()).unwrap()]);
    module.extend(body);
    image(name, module)
}

fn started<'n>(order: &Container<'n>) -> Task<'n> {
    let task = order.spawn();
    task.expect_stdout("ready\n");
    task
}

fn count(folder: &Path) -> usize {
    fs::read_dir(folder).map_or(0, Iterator::count)
}

/// The file name of the one namespace that compiled a small module here.
fn tenant(node: &Node) -> String {
    let mut served = fs::read_dir(lane(node, "short").join("served")).unwrap();
    let name = served.next().unwrap().unwrap().file_name().into_string().unwrap();
    assert!(served.next().is_none(), "several have compiled");
    name
}

/// The size of all entries on the disk.
fn bytes(node: &Node) -> u64 {
    let folders = fs::read_dir(node.catamaran_root().join("cache")).unwrap().flatten();
    let files = folders.flat_map(|folder| fs::read_dir(folder.path()).unwrap().flatten());
    files.map(|file| std::os::unix::fs::MetadataExt::blocks(&file.metadata().unwrap()) * 512).sum()
}

/// The size of one artifact of [`idle`] on the disk, with its checksum.
fn size(engine: Engine, kilobytes: usize) -> u64 {
    let node = Node::start().engine(engine);
    started(&node.container("size").image(&idle("size", kilobytes)).limit(LATER)).discard();
    quiet(&node);
    let size = bytes(&node);
    node.finish();
    size
}

#[test]
fn waiting_for_the_optimiser_keeps_no_module_in_memory() {
    for engine in Engine::ALL {
        let node = Node::start().engine(engine);
        let later = lane(&node, "later");
        let slot = locked(&later.join("0"));
        let tasks: Vec<_> = (0..3)
            .map(|n| started(&node.container(&format!("c{n}")).image(&idle(&format!("c{n}"), 1500)).limit(LATER)))
            .collect();
        wait_until(SOON, "the optimiser's queue", || (count(&later.join("queue")) == 3).then_some(()));
        let drivers = processes(&node, "driver");
        assert_eq!(drivers.len(), 3);
        for driver in drivers {
            let open = fs::read_dir(format!("/proc/{driver}/fd")).unwrap().flatten();
            let open: Vec<_> = open.filter_map(|fd| fs::read_link(fd.path()).ok()).collect();
            let memory = open.iter().find(|path| path.to_string_lossy().contains("memfd:"));
            assert_eq!(memory, None, "{engine:?}: {open:?}");
            let rollup = fs::read_to_string(format!("/proc/{driver}/smaps_rollup")).unwrap();
            let own = |key: &str| -> u64 {
                let line = rollup.lines().find_map(|line| line.strip_prefix(key)).unwrap();
                line.trim().trim_end_matches(" kB").parse().unwrap()
            };
            let own = own("Private_Dirty:") + own("Private_Clean:");
            assert!(own < 4096, "{engine:?}: a driver that waits has {own} kB of its own");
        }
        drop(slot);
        quiet(&node);
        // The fast code of a container that maps it stays beside the best.
        let all = entries(&node);
        assert_eq!(all.iter().filter(|name| name.len() == 64).count(), 3, "{engine:?}: {all:?}");
        tasks.into_iter().for_each(|task| drop(task.discard()));
        node.finish();
    }
}

#[test]
fn a_module_that_changed_before_it_is_optimised_is_refused() {
    let node = Node::start();
    let slot = locked(&lane(&node, "later").join("0"));
    let folder = node.dir().join("volume");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("m.wasm"), guests::idle_of_size(1 << 20)).unwrap();
    let order = node.container("c").image(&idle("other", 100)).bind(&folder, "/v", ["rbind", "ro"]);
    let task = started(&order.args(["/v/m.wasm"]).limit(LATER));
    let queue = lane(&node, "later").join("queue");
    wait_until(SOON, "the optimiser's queue", || (count(&queue) == 1).then_some(()));
    let before = entries(&node);
    assert!(before.len() == 1 && before[0].ends_with(".fast"), "{before:?}");
    fs::write(folder.join("m.wasm"), guests::idle_of_size(2 << 20)).unwrap();
    drop(slot);
    quiet(&node);
    assert_eq!(entries(&node), before);
    wait_until(SOON, "the reason", || node.log().contains("changed between two compiles").then_some(()));
    task.discard();
    node.finish();
}

#[test]
fn a_cancelled_compile_order_ends_and_its_retry_keeps_its_place() {
    let node = Node::start();
    let tools = Image::new("tools").file("/sleep", guests::wat("sleep")).file("/big", guests::large(200));
    let task = node.container("c").image(&tools.entrypoint(["/sleep"])).spawn();
    task.expect_stdout("ready\n");
    quiet(&node);
    let fast = lane(&node, "fast");
    let slots = all_slots(&fast);
    let (queue, left) = (fast.join("queue"), fast.join("left"));
    // A probe that took too long.
    let exec = task.further("probe").args(["/big"]).add();
    std::thread::scope(|scope| {
        let starting = scope.spawn(|| exec.try_start());
        wait_until(SOON, "the exec's order", || (count(&queue) == 1).then_some(()));
        exec.try_kill(9).unwrap();
        drop(starting.join().unwrap());
    });
    wait_until(SOON, "the exec's driver to end", || processes(&node, "driver").is_empty().then_some(()));
    assert_eq!((count(&queue), count(&left)), (0, 1));
    // And a Create whose client gave up.
    let order = node.container("gone").image(&image("large", guests::large(210))).limit(Duration::from_secs(2));
    assert!(order.try_create().is_err());
    wait_until(SOON, "the Create's driver to end", || processes(&node, "driver").is_empty().then_some(()));
    assert_eq!((count(&queue), count(&left)), (0, 2));
    assert_eq!(counter(&node, "compiles"), 1, "nothing but the first container's");
    drop(slots);
    assert_eq!(task.exec("again", ["/big"]).code, 0);
    assert_eq!(node.container("gone").image(&image("large", guests::large(210))).limit(LATER).run().code, 0);
    task.discard();
    quiet(&node);
    node.finish();
}

#[test]
fn compile_orders_are_limited_per_namespace() {
    let node = Node::start();
    let of = |tenant: &str, name: &str| {
        node.container(name).image(&guests::image(Runtime::Catamaran, name)).annotation(NAMESPACE, tenant)
    };
    assert_eq!(of("greedy", "hello").run().code, 0);
    let tenant = tenant(&node);
    let orders = node.catamaran_root().join("orders");
    let mut waiting: Vec<_> = (0..256).map(|n| locked(&orders.join(format!("1.{n}-1-{tenant}")))).collect();
    let refused = of("greedy", "args").try_create().map(drop).unwrap_err();
    assert_eq!(refused.code, Code::Internal, "{refused}");
    assert!(
        refused.message.contains("256 other starts of this namespace wait for the compiler: try again"),
        "{refused}"
    );
    assert_eq!(of("greedy", "hello").run().code, 0, "what has its artifact starts");
    assert_eq!(of("modest", "args").args(["/args"]).run().code, 0, "and so do others");
    // Three tenants use all of the node's orders, and a fourth still gets its own.
    waiting.extend((0..2).flat_map(|k| {
        let orders = &orders;
        (0..256).map(move |n| locked(&orders.join(format!("1.{n}-1-{k:016x}"))))
    }));
    assert_eq!(of("fourth", "env").run().code, 0);
    drop(waiting);
    // Orders of dead processes do not count.
    assert_eq!(of("greedy", "exit").args(["/exit", "0"]).run().code, 0);
    node.expect_nothing_left(SOON);
    node.finish();
}

#[test]
fn the_cache_bound_includes_entries_in_use() {
    const KILOBYTES: usize = 400;
    let size = size(Engine::Wasmtime, KILOBYTES);
    let bound = size * 5 / 2;
    let node = Node::start_with(Options::default().env("CATAMARAN_CACHE_BYTES", &bound.to_string()));
    let start = |name: &str| started(&node.container(name).image(&idle(name, KILOBYTES)).limit(LATER));
    let memory = |task: &Task<'_>| {
        let text = fs::read_to_string(format!("/proc/{}/cgroup", task.pid())).unwrap();
        let v1 = text.lines().find_map(|line| line.split_once(":memory:").map(|(_, path)| path.to_owned()));
        let file = match v1 {
            Some(path) => format!("/sys/fs/cgroup/memory{path}/memory.usage_in_bytes"),
            None => format!("/sys/fs/cgroup{}/memory.current", text.trim().strip_prefix("0::").unwrap()),
        };
        fs::read_to_string(&file).unwrap_or_else(|e| panic!("{file}: {e}")).trim().parse::<u64>().unwrap()
    };
    let (first, second) = (start("first"), start("second"));
    let third = start("third");
    assert!(bytes(&node) <= bound, "{} bytes of {bound}", bytes(&node));
    assert_eq!(entries(&node).len(), 2);
    assert!(node.log().contains("third.wasm runs uncached: all that its namespace may have"), "{}", node.log());
    // From then on the uncached artifact is the container's own, and no process waits for it.
    quiet(&node);
    assert_eq!(count(&node.catamaran_root().join("uncached")), 0);
    let (cached, own) = (memory(&second), memory(&third));
    assert!(own > cached + size / 2, "{own} bytes of its own, {cached} with an artifact of {size} in the cache");
    first.discard();
    let fourth = start("fourth");
    assert!(creations(&node, "fourth")[0].contains("artifact=compiled"));
    assert_eq!((entries(&node).len(), counter(&node, "evictions")), (2, 1), "in the place of the one that ended");
    assert!(bytes(&node) <= bound);
    let compiles = counter(&node, "compiles");
    let again = started(&node.container("again").image(&idle("second", KILOBYTES)).limit(LATER));
    assert_eq!(counter(&node, "compiles"), compiles, "what runs is still there for the next");
    for task in [second, third, fourth, again] {
        task.discard();
    }
    node.finish();
}

#[test]
fn a_namespace_that_fills_its_share_evicts_only_its_own_entries() {
    const KILOBYTES: usize = 200;
    for engine in Engine::ALL {
        let share = size(engine, KILOBYTES) * 5 / 2;
        let node = Node::start_with(Options::default().env("CATAMARAN_CACHE_NAMESPACE_BYTES", &share.to_string()));
        let node = node.engine(engine);
        let run = |name: &str, tenant: &str| {
            let order = node.container(name).image(&idle(name, KILOBYTES)).annotation(NAMESPACE, tenant);
            started(&order.limit(LATER)).discard();
        };
        run("victim", "quiet");
        (0..5).for_each(|n| run(&format!("greedy{n}"), "greedy"));
        assert_eq!((entries(&node).len(), counter(&node, "evictions")), (3, 3), "{engine:?}");
        run("victim", "quiet");
        assert!(creations(&node, "victim")[1].contains("artifact=hit"), "{engine:?}: {:?}", creations(&node, "victim"));
        node.finish();
    }
}

/// The kinds of the entries, by the ends of their names: the best code has none.
fn kinds(node: &Node) -> Vec<String> {
    entries(node).iter().map(|name| name.get(64..).unwrap_or(name).to_owned()).collect()
}

#[test]
fn fast_code_is_removed_when_the_best_is_there_and_counts_while_a_pod_runs_it() {
    for engine in Engine::ALL {
        let node = Node::start().engine(engine);
        let run = |name: &str, module: &str, kilobytes: usize| {
            started(&node.container(name).image(&idle(module, kilobytes)).limit(LATER))
        };
        let first = run("first", "large", 600);
        quiet(&node);
        // A worker on Wasmer copies the code, and maps the module's data.
        assert_eq!(kinds(&node), ["", ".fast"], "{engine:?}");
        let second = run("second", "large", 600);
        let tier = |name: &str| creations(&node, name)[0].contains("tier=fast");
        assert_eq!((tier("first"), tier("second")), (true, false), "{engine:?}");
        // Blocks of a file without a name are on the disk, and in nobody's count.
        for task in [&first, &second] {
            let maps = fs::read_to_string(format!("/proc/{}/maps", task.pid())).unwrap();
            let nameless: Vec<_> = maps.lines().filter(|line| line.ends_with(" (deleted)")).collect();
            assert!(nameless.iter().all(|line| !line.contains(&entries(&node)[0][..64])), "{engine:?}: {nameless:?}");
        }
        first.discard();
        run("other", "other", 100).discard();
        quiet(&node);
        assert_eq!(
            kinds(&node),
            ["", ""],
            "{engine:?}: the next entry that is made finds that nobody runs it any more"
        );
        second.discard();
        node.finish();
    }
}

#[test]
fn uncached_code_is_limited_per_namespace() {
    for engine in Engine::ALL {
        let node = Node::start_with(Options::default().env("CATAMARAN_CACHE_BYTES", "1")).engine(engine);
        let hello = node.container("hello").image(&guests::image(Runtime::Catamaran, "hello"));
        assert_eq!(hello.run().stdout, "hello from wasm\n", "{engine:?}: uncached");
        if engine == Engine::Wasmtime {
            // The worker opens its artifact by name, as the container's user.
            let component = component("hello", adapted(&guests::wat("hello")));
            let hello = node.container("component").image(&component).user("1000:1000").run();
            assert_eq!(hello.stdout, "hello from wasm\n", "{hello:?}");
        }
        let tenant = tenant(&node);
        let uncached = node.catamaran_root().join("uncached");
        let much = locked(&uncached.join(format!("1.0-{}-{tenant}", 1_u64 << 50)));
        let refused = hello.try_create().map(drop).unwrap_err();
        assert_eq!(refused.code, Code::Internal, "{engine:?}: {refused}");
        for words in ["no room in the cache", "use up the memory for uncached code: try again"] {
            assert!(refused.message.contains(words), "{engine:?}: {words:?} is missing in: {refused}");
        }
        node.expect_nothing_left(SOON);
        drop(much);
        assert_eq!(hello.run().stdout, "hello from wasm\n", "{engine:?}: the dead do not count");
        assert_eq!(entries(&node), Vec::<String>::new());
        node.finish();
    }
}

#[test]
fn a_module_above_the_size_limit_is_refused_in_every_form() {
    let node = Node::start();
    let file = node.dir().join("options.toml");
    fs::write(&file, "max_module_bytes = 100000\n").unwrap();
    let options = ["--runtime-config-path", file.to_str().unwrap()];
    let large = guests::large(40);
    let words = ["bytes or more, and at most 100000 are compiled", "max_module_bytes"];
    for engine in Engine::ALL {
        let order = node.container("file").image(&image("large", &large)).engine(engine).flag(options);
        let refused = order.try_create().map(drop).unwrap_err();
        assert_eq!(refused.code, Code::FailedPrecondition, "{engine:?}: {refused}");
        assert!(words.iter().all(|word| refused.message.contains(word)), "{engine:?}: {refused}");
    }
    let tools = Image::new("tools").file("/sleep", guests::wat("sleep")).file("/large", &large);
    let task = node.container("exec").image(&tools.entrypoint(["/sleep"])).flag(options).spawn();
    task.expect_stdout("ready\n");
    let ran = task.exec("e", ["/large"]);
    assert!(ran.code == 126 && words.iter().all(|word| ran.stderr.contains(word)), "{ran:?}");
    task.discard();
    assert_eq!(counter(&node, "compiles"), 1, "what is too large is not compiled");
    // Without the option: a sparse file costs nothing to make, and nothing to refuse.
    let folder = node.dir().join("volume");
    fs::create_dir(&folder).unwrap();
    let mut hole = guests::wat("hello");
    hole.extend([0; 8]);
    fs::write(folder.join("hole.wasm"), hole).unwrap();
    File::options().write(true).open(folder.join("hole.wasm")).unwrap().set_len((128 << 20) + 1).unwrap();
    let order = node.container("hole").image(&image("large", &large)).bind(&folder, "/v", ["rbind", "ro"]);
    let refused = order.args(["/v/hole.wasm"]).try_create().map(drop).unwrap_err();
    assert!(refused.message.contains("134217729 bytes or more, and at most 134217728"), "{refused}");
    node.finish();
}
