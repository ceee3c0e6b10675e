//! From module to artifact: compiled once, remembered, bounded; and the effect on a start when a step of that fails.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use catamaran_harness::guests::wasm;
use catamaran_harness::{Code, Image, Node, guests, wait_until};
use catamaran_integration::compiles::{
    counter, creations, entries, image, kill, lane, locked, processes, quiet, tickets,
};

const SOON: Duration = Duration::from_secs(10);
const LATER: Duration = Duration::from_secs(90);

/// The one artifact of the cache.
fn artifact(node: &Node) -> PathBuf {
    let folder = fs::read_dir(node.catamaran_root().join("cache")).unwrap().next().unwrap().unwrap().path();
    let [name] = &entries(node)[..] else { panic!("not one entry: {:?}", entries(node)) };
    folder.join(name)
}

fn is_unified() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

/// The processor weight of one of the node's cgroups.
fn weight(name: &str) -> u64 {
    let file = match is_unified() {
        true => format!("/sys/fs/cgroup/{name}/cpu.weight"),
        false => format!("/sys/fs/cgroup/cpu/{name}/cpu.shares"),
    };
    fs::read_to_string(&file).unwrap_or_else(|e| panic!("{file}: {e}")).trim().parse().unwrap()
}

#[test]
fn a_second_start_uses_the_cached_artifact() {
    let node = Node::start();
    for _ in 0..3 {
        assert_eq!(node.container("hello").image(&wasm("hello")).run().code, 0);
    }
    let all = creations(&node, "hello");
    assert!(all[0].contains("artifact=compiled compile_milliseconds=") && all[0].contains("tier=best"), "{all:?}");
    assert!(all[1].contains("artifact=hit") && all[2].contains("artifact=hit"), "{all:?}");
    assert!(all[0].contains("digest=sha256:") && all[0].contains("/hello"), "{all:?}");
    let counters = ["hits", "misses", "compiles", "refusals", "evictions"].map(|name| counter(&node, name));
    assert_eq!(counters, [2, 1, 1, 0, 0]);
    let by_kind = ["starts.wasmtime.command.best", "starts.wasmtime.command.fast", "compiled.wasmtime.best"];
    assert_eq!(by_kind.map(|name| counter(&node, name)), [3, 0, 1]);
    // A volume's module is known by its bytes, whatever its path.
    let folder = node.dir().join("volume");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("other.wasm"), guests::wat("hello")).unwrap();
    let volume = node.container("volume").image(&wasm("hello")).bind(&folder, "/v", ["rbind", "ro"]);
    assert_eq!(volume.args(["/v/other.wasm"]).run().code, 0);
    assert_eq!(counter(&node, "compiles"), 1);
    node.finish();
}

#[test]
fn ten_concurrent_first_starts_compile_once() {
    let node = Node::start();
    let image = image("large", guests::large(200));
    node.import(&image);
    std::thread::scope(|scope| {
        for n in 0..10 {
            let (node, image) = (&node, &image);
            scope.spawn(move || {
                let output = node.container(&format!("c{n}")).image(image).limit(LATER).run();
                assert_eq!(output.code, 0, "{output:?}");
            });
        }
    });
    quiet(&node);
    // One for the first start, one by the optimiser after it.
    assert_eq!(counter(&node, "compiles"), 2, "{:?}", entries(&node));
    node.finish();
}

#[test]
fn a_large_module_starts_on_fast_code_and_later_on_the_best() {
    let node = Node::start();
    let image = image("large", guests::large(300));
    let run = || assert_eq!(node.container("large").image(&image).limit(LATER).run().code, 0);
    run();
    wait_until(10 * LATER, "the best code", || {
        let entries = entries(&node);
        (entries.len() == 1 && entries[0].len() == 64).then_some(())
    });
    quiet(&node);
    run();
    let all = creations(&node, "large");
    assert!(all[0].contains("artifact=compiled") && all[0].contains("tier=fast"), "{all:?}");
    assert!(all[1].contains("artifact=hit") && all[1].contains("tier=best"), "{all:?}");
    node.finish();
}

#[test]
fn the_best_code_is_made_by_the_next_start_when_its_driver_was_killed() {
    let node = Node::start();
    let image = image("large", guests::large(400));
    let run = || assert_eq!(node.container("large").image(&image).limit(LATER).run().code, 0);
    run();
    for pid in processes(&node, "compile").into_iter().chain(processes(&node, "driver")) {
        kill(pid);
    }
    quiet(&node);
    let fast = entries(&node);
    assert!(fast.iter().any(|name| name.ends_with(".fast")), "it was too quick to be killed: {fast:?}");
    run();
    quiet(&node);
    let best = entries(&node);
    assert!(best.len() == 1 && best[0].len() == 64, "and what the dead wrote is swept: {best:?}");
    node.finish();
}

#[test]
fn a_killed_compile_or_driver_fails_one_start_and_leaves_the_next_alone() {
    let node = Node::start();
    for (n, what) in ["compile", "driver"].into_iter().enumerate() {
        let image = image(&format!("large{n}"), guests::large(800 + n));
        quiet(&node);
        let order = node.container(what).image(&image).limit(LATER);
        let (refused, compile) = std::thread::scope(|scope| {
            let created = scope.spawn(|| order.try_create().map(drop));
            let (victim, compile) = wait_until(SOON, what, || {
                // The driver exists before its compile: wait for both, and for the compile to be past its first steps.
                let compile = processes(&node, "compile").first().copied()?;
                let status = fs::read_to_string(format!("/proc/{compile}/status")).ok()?;
                let victim = processes(&node, what).first().copied()?;
                status.contains("Seccomp:\t2").then_some((victim, compile))
            });
            kill(victim);
            (created.join().unwrap().unwrap_err(), compile)
        });
        let state = || fs::read_to_string(format!("/proc/{compile}/stat")).unwrap_or_default();
        wait_until(SOON, "the compile to end with its driver", || {
            (state().is_empty() || state().contains(") Z")).then_some(())
        });
        assert_eq!(refused.code, Code::Internal, "{refused}");
        assert!(refused.message.contains("compil"), "{refused}");
        node.expect_nothing_left(SOON);
        assert_eq!(order.run().code, 0);
    }
    quiet(&node);
    assert!(entries(&node).iter().all(|name| !name.starts_with("new-")), "{:?}", entries(&node));
    node.finish();
}

#[test]
fn a_compile_goes_on_when_its_pod_is_gone() {
    let node = Node::start();
    let image = image("large", guests::large(1500));
    // On a busy machine the limit may pass before the shim has ordered the compile.
    wait_until(LATER, "a compile that was given up", || {
        let order = node.container("gone").image(&image).limit(Duration::from_millis(600));
        assert!(order.try_create().is_err(), "it was created in no time: the test needs a larger module");
        quiet(&node);
        (counter(&node, "compiles") > 0).then_some(())
    });
    node.expect_nothing_left(SOON);
    let compiles = counter(&node, "compiles");
    assert_eq!(node.container("gone").image(&image).limit(LATER).run().code, 0);
    assert_eq!(counter(&node, "compiles"), compiles, "the retry finds the result");
    node.finish();
}

#[test]
fn a_modules_refusal_is_cached() {
    let node = Node::start();
    let broken = [&b"\0asm\x01\0\0\0"[..], &[0x0a, 0x05, 0x01, 0x03, 0x00, 0x41, 0x2a, 0x0b]].concat();
    let image = image("broken", broken);
    let refuse = || node.container("broken").image(&image).try_create().map(drop).unwrap_err();
    let first = refuse();
    assert_eq!(first.code, Code::FailedPrecondition, "{first}");
    assert_eq!(refuse().message, first.message);
    assert_eq!((counter(&node, "compiles"), counter(&node, "refusals")), (1, 1));
    let counts = ["refused.module", "misses", "starts.wasmtime.command.best"].map(|name| counter(&node, name));
    assert_eq!(counts, [2, 0, 0], "each was refused, and none started");
    node.finish();
}

#[test]
fn without_a_usable_cache_containers_run_uncached() {
    let node = Node::start();
    let root = node.catamaran_root();
    // A file in place of the folder.
    fs::create_dir_all(&root).unwrap();
    fs::write(root.join("cache"), "").unwrap();
    assert_eq!(node.container("file").image(&wasm("hello")).run().code, 0);
    assert!(node.log().contains("the artifact cache cannot be used"), "{}", node.log());
    fs::remove_file(root.join("cache")).unwrap();
    // Read-only; full; noexec, which does not matter.
    for (n, (options, words)) in
        [("ro", "cannot be used"), ("size=16k", "runs uncached"), ("noexec", "")].into_iter().enumerate()
    {
        let options_of_mount = format!("mode=700,{options}");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &options_of_mount, "tmpfs"]).arg(&root);
        assert!(mount.status().unwrap().success());
        let id = format!("c{n}");
        let output = node.container(&id).image(&wasm("hello")).run();
        let log = node.log();
        let unmounted = Command::new("umount").arg(&root).status().unwrap();
        assert_eq!((output.code, output.stdout.as_str()), (0, "hello from wasm\n"), "{options}: {output:?}");
        assert!(log.contains(words), "{options}: {log}");
        assert!(unmounted.success());
    }
    node.finish();
}

#[test]
fn a_burst_of_one_namespace_delays_no_other_namespace() {
    const BURST: usize = 10;
    let node = Node::start();
    let annotation = "io.kubernetes.cri.sandbox-namespace";
    let waiting = || tickets(&lane(&node, "fast")).len();
    // Of the same kind as the others: a module that compiles faster does not wait for them anyway.
    let quiet_one = image("quiet", guests::large(150));
    let quiet_one = node.container("quiet").image(&quiet_one).annotation(annotation, "quiet").limit(LATER);
    let burst: Vec<_> = (0..BURST).map(|n| image(&format!("noisy{n}"), guests::large(1000 + n))).collect();
    burst.iter().for_each(|image| node.import(image));
    std::thread::scope(|scope| {
        for (n, image) in burst.iter().enumerate() {
            let order = node.container(&format!("noisy{n}")).image(image).annotation(annotation, "noisy");
            scope.spawn(move || drop(order.limit(10 * LATER).create().discard()));
        }
        wait_until(LATER, "the queue", || (waiting() >= BURST - 3).then_some(()));
        let before = waiting();
        let task = quiet_one.create();
        // Only compiles under way pass it, and at most one more that came to its turn meanwhile.
        let after = waiting();
        assert!(before.saturating_sub(after) <= 2, "{before} others waited when it came, {after} when it was there");
        task.discard();
    });
    for pid in processes(&node, "compile").into_iter().chain(processes(&node, "driver")) {
        kill(pid);
    }
    assert_eq!(waiting(), 0, "tickets go with their holders");
    node.finish();
}

#[test]
fn a_module_in_another_namespaces_burst_delays_nobody() {
    const BURST: usize = 8;
    let node = Node::start();
    let annotation = "io.kubernetes.cri.sandbox-namespace";
    let tickets = || tickets(&lane(&node, "fast"));
    let waiting = || tickets().len();
    let order = |name: &str, image: &Image, tenant: &str| {
        node.container(name).image(image).annotation(annotation, tenant).limit(10 * LATER)
    };
    let wanted = image("wanted", guests::large(150));
    let burst: Vec<_> = (0..BURST).map(|n| image(&format!("noisy{n}"), guests::large(1000 + n))).collect();
    burst.iter().chain([&wanted]).for_each(|image| node.import(image));
    std::thread::scope(|scope| {
        let noise = |name: String, image: &Image| {
            let order = order(&name, image, "noisy");
            scope.spawn(move || drop(order.create().discard()));
        };
        burst.iter().enumerate().for_each(|(n, image)| noise(format!("noisy{n}"), image));
        wait_until(LATER, "the queue", || (waiting() >= BURST - 3).then_some(()));
        // Others leave the queue meanwhile, so the queue need not grow.
        let newest = tickets().last().cloned();
        noise("last".to_owned(), &wanted);
        wait_until(LATER, "the last of it", || (tickets().last() > newest.as_ref()).then_some(()));
        let before = waiting();
        let task = order("quiet", &wanted, "quiet").create();
        let after = waiting();
        assert!(before.saturating_sub(after) <= 2, "{before} others waited when it came, {after} when it was there");
        task.discard();
    });
    for pid in processes(&node, "compile").into_iter().chain(processes(&node, "driver")) {
        kill(pid);
    }
    node.finish();
}

#[test]
fn a_module_that_changes_during_its_compile_changes_nothing() {
    let node = Node::start();
    let folder = node.dir().join("volume");
    fs::create_dir(&folder).unwrap();
    let path: PathBuf = folder.join("app.wasm");
    fs::write(&path, guests::large(300)).unwrap();
    let order = node.container("change").image(&wasm("hello")).bind(&folder, "/v", ["rbind", "ro"]);
    let order = order.args(["/v/app.wasm"]).limit(LATER);
    let task = std::thread::scope(|scope| {
        let created = scope.spawn(|| order.create());
        wait_until(SOON, "the compile", || (!processes(&node, "compile").is_empty()).then_some(()));
        fs::write(&path, guests::wat("hello")).unwrap();
        created.join().unwrap()
    });
    task.start();
    task.wait(SOON);
    assert_eq!(task.delete().stdout, "", "what was read first is what runs");
    assert_eq!(order.run().stdout, "hello from wasm\n", "and the next start reads anew");
    quiet(&node);
    node.finish();
}

#[test]
fn compiles_share_a_cgroup_and_have_no_rights() {
    let node = Node::start();
    let order = node.container("watched").image(&image("large", guests::large(300))).limit(LATER);
    std::thread::scope(|scope| {
        let created = scope.spawn(|| order.create());
        let pid = wait_until(SOON, "the compile", || processes(&node, "compile").first().copied());
        let read = |what: &str| fs::read_to_string(Path::new("/proc").join(pid.to_string()).join(what)).unwrap();
        let cgroups = read("cgroup");
        assert!(cgroups.lines().any(|line| line.ends_with("/catamaran-compile")), "{cgroups}");
        assert_eq!(weight("catamaran-compile"), [1024, 100][usize::from(is_unified())], "a pod's");
        wait_until(SOON, "the compile process to confine itself", || {
            read("status").contains("Seccomp:\t2").then_some(())
        });
        let status = read("status");
        for set in ["CapPrm", "CapEff", "CapBnd"] {
            assert!(status.contains(&format!("{set}:\t0000000000000000")), "{status}");
        }
        assert_eq!(read("oom_score_adj").trim(), "1000");
        created.join().unwrap().discard();
    });
    quiet(&node);
    node.finish();
}

/// The names of this process's cgroups that are compile cgroups.
fn cgroups(pid: u32) -> BTreeSet<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let names = text.lines().filter_map(|line| Some(line.rsplit_once('/')?.1.to_owned()));
    names.filter(|name| name.starts_with("catamaran-compile")).collect()
}

/// A lock held by a process of the least weight is held for minutes on a busy machine.
#[test]
fn better_code_is_made_with_the_least_weight_by_a_driver_that_has_a_pods() {
    let node = Node::start();
    let slot = locked(&lane(&node, "later").join("0"));
    let task = node.container("c").image(&image("large", guests::idle_of_size(4 << 20))).limit(LATER).spawn();
    task.expect_stdout("ready\n");
    wait_until(SOON, "the better code's turn", || (tickets(&lane(&node, "later")).len() == 1).then_some(()));
    let [driver] = processes(&node, "driver")[..] else { panic!("not one driver") };
    assert_eq!(cgroups(driver), ["catamaran-compile".to_owned()].into(), "while it waits");
    drop(slot);
    let later = BTreeSet::from(["catamaran-compile-later".to_owned()]);
    wait_until(LATER, "the compile with the least weight", || {
        processes(&node, "compile").iter().any(|pid| cgroups(*pid) == later).then_some(())
    });
    assert_eq!(weight("catamaran-compile-later"), [2, 1][usize::from(is_unified())], "the least that there is");
    assert_eq!(cgroups(driver), ["catamaran-compile".to_owned()].into(), "while it is compiled");
    quiet(&node);
    assert!(entries(&node).iter().any(|name| name.len() == 64), "{:?}", entries(&node));
    task.discard();
    node.finish();
}

#[test]
fn a_broken_entry_fails_one_start_with_the_reason() {
    let node = Node::start();
    let order = node.container("broken").image(&wasm("hello"));
    assert_eq!(order.run().code, 0);
    // Of the same length: the next test covers files that a look at the metadata tells apart.
    let entry = artifact(&node);
    let length = fs::metadata(&entry).unwrap().len() as usize;
    fs::write(&entry, vec![b'x'; length]).unwrap();
    let refused = order.try_create().map(drop).unwrap_err();
    assert!(refused.message.contains("create the container again"), "{refused}");
    node.expect_nothing_left(SOON);
    assert_eq!(order.run().stdout, "hello from wasm\n");
    node.finish();
}

#[test]
fn a_damaged_artifact_is_compiled_again_after_a_boot() {
    let node = Node::start();
    let order = node.container("damaged").image(&wasm("hello"));
    let run = || assert_eq!(order.run().stdout, "hello from wasm\n");
    run();
    let entry = artifact(&node);
    let sum = entry.with_extension("sum");
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let reboot = || {
        let text = fs::read_to_string(&sum).unwrap();
        assert!(text.contains(boot.trim_end()), "{text}");
        fs::write(&sum, text.replace(boot.trim_end(), "00000000-0000-0000-0000-000000000000")).unwrap();
    };
    let counts = || ["hits", "misses", "compiles"].map(|name| counter(&node, name));
    reboot();
    run();
    assert_eq!(counts(), [1, 1, 1], "it is what was published");
    run();
    assert_eq!(counts(), [2, 1, 1]);
    // In the last page of the code, where no loader looks.
    let mut bytes = fs::read(&entry).unwrap();
    let (whole, middle) = (bytes.clone(), bytes.len() / 2);
    bytes[middle] ^= 0x10;
    fs::write(&entry, &bytes).unwrap();
    reboot();
    run();
    assert_eq!(counts(), [2, 2, 2], "compiled anew");
    assert!(node.log().contains("is damaged or gone: it is compiled anew"), "{}", node.log());
    assert_eq!(fs::read(&entry).unwrap(), whole, "the same module, the same code");
    run();
    assert_eq!(counts(), [3, 2, 2]);
    // Without its checksum a file cannot be verified, and a file of another length is not the one that was verified.
    fs::remove_file(&sum).unwrap();
    run();
    fs::write(&entry, "short").unwrap();
    run();
    assert_eq!(counts(), [3, 4, 4]);
    node.finish();
}

#[test]
fn a_locked_counter_or_a_read_only_cache_delays_nobody() {
    let node = Node::start();
    assert_eq!(node.container("first").image(&wasm("hello")).run().code, 0);
    let root = node.catamaran_root();
    let held = fs::File::open(root.join("counters")).unwrap();
    held.lock().unwrap();
    let begin = std::time::Instant::now();
    assert_eq!(node.container("held").image(&wasm("hello")).run().code, 0);
    assert!(begin.elapsed() < SOON, "a shim waited for a lock that anybody can hold");
    drop(held);
    // As a file system that met an error: the cache is there, and nothing can be written to it.
    let mount = |words: &[&str]| assert!(Command::new("mount").args(words).arg(&root).status().unwrap().success());
    mount(&["--bind", root.to_str().unwrap()]);
    mount(&["-o", "remount,bind,ro"]);
    let hit = node.container("hit").image(&wasm("hello")).run();
    let miss = node.container("miss").image(&wasm("args")).args(["/args", "a"]).run();
    assert!(Command::new("umount").arg(&root).status().unwrap().success());
    assert_eq!((hit.code, miss.code, miss.stdout.as_str()), (0, 0, "/args\na\n"), "{miss:?}");
    node.finish();
}

#[test]
fn a_start_does_not_wait_for_the_optimised_code() {
    let node = Node::start();
    let later = lane(&node, "later");
    let slot = locked(&later.join("0"));
    let image = image("large", guests::idle_of_size(1 << 20));
    let start = |id: &str| {
        let task = node.container(id).image(&image).limit(LATER).spawn();
        task.expect_stdout("ready\n");
        task
    };
    let first = start("first");
    let fast = wait_until(SOON, "the driver of the better code in its queue", || {
        (tickets(&later).len() == 1).then(|| artifact(&node))
    });
    fs::remove_file(&fast).unwrap();
    let second = start("second");
    let all = creations(&node, "second");
    assert!(all.len() == 1 && all[0].contains("artifact=compiled") && all[0].contains("tier=fast"), "{all:?}");
    drop(slot);
    quiet(&node);
    assert!(entries(&node).iter().any(|name| name.len() == 64), "{:?}", entries(&node));
    first.discard();
    second.discard();
    node.finish();
}
