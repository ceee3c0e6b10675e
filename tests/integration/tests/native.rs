//! Native containers: a program that is not WebAssembly, run by runc beside Wasm containers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use std::fs;
use std::time::Duration;

use catamaran_harness::procfs::{children, parent, status};
use catamaran_harness::{Code, Engine, Image, Node, Options, Runtime, State, Task, guests, procfs, shim_folder};
use serde_json::json;

const SOON: Duration = Duration::from_secs(10);

/// One static program, whose first argument says what to do.
fn side() -> Image {
    Image::new("side").file("/bin/side", guests::native("side")).env(["PATH=/bin"]).entrypoint(["side"])
}

fn sleeping<'n>(node: &'n Node, id: &str) -> Task<'n> {
    let task = node.container(id).image(&side()).args(["side", "sleep"]).spawn();
    task.expect_stdout("ready 1\n");
    task
}

#[test]
fn a_native_program_runs_as_on_runcs_own_shim() {
    let node = Node::start();
    for runtime in [Runtime::Catamaran, Runtime::Runc] {
        let run = |words: &[&str]| {
            let words = ["side"].iter().chain(words);
            node.container("side").runtime(runtime).image(&side()).args(words).stdin("typed\n").to_its_end()
        };
        // The engine's annotation is for Wasm alone.
        let order = node.container("side").runtime(runtime).engine(Engine::Wasmer).image(&side());
        assert_eq!(order.args(["side", "echo", "native"]).to_its_end().stdout, "native\n");
        let both = run(&["both"]);
        assert_eq!((both.code, both.stdout.as_str(), both.stderr.as_str()), (0, "to stdout\n", "to stderr\n"));
        assert_eq!(run(&["cat"]).stdout, "typed\n", "{runtime:?}");
        assert_eq!(run(&["exit", "42"]).code, 42, "{runtime:?}");
        // The first process of a pid namespace does not get a signal that it does not handle.
        for (signal, code) in [(9, Some(137)), (15, Some(143)), (6, None)] {
            let task = node.container("side").runtime(runtime).image(&side()).args(["side", "sleep"]).spawn();
            task.expect_stdout("ready 1\n");
            task.try_kill(signal, false).unwrap();
            match code {
                Some(code) => assert_eq!(task.wait(SOON).code, code, "{runtime:?}"),
                None => assert_eq!(task.state(), State::Running, "{runtime:?}"),
            }
            task.discard();
        }
    }
    node.finish();
}

#[test]
fn events_of_a_native_container_come_in_order() {
    let node = Node::start();
    let events = node.events();
    for n in 0..8 {
        let id = format!("short-{n}");
        let output = node.container(&id).image(&side()).args(["side", "echo", "hello"]).to_its_end();
        assert_eq!((output.code, output.stdout.as_str()), (0, "hello\n"));
        events.expect(&id, &["create", "start", "exit", "delete"]);
    }
    let task = node.container("never").image(&side()).args(["side", "sleep"]).create();
    assert_eq!(task.state(), State::Created);
    assert_eq!(task.try_delete().unwrap().code, 137);
    task.remove_container();
    events.expect("never", &["create", "exit", "delete"]);
    let task = sleeping(&node, "refused");
    assert_eq!(task.try_delete().unwrap_err().code, Code::FailedPrecondition);
    assert_eq!(task.try_start().unwrap_err().code, Code::FailedPrecondition);
    assert_eq!(task.state(), State::Running);
    task.kill("KILL");
    assert_eq!(task.wait(SOON).code, 137);
    assert_eq!(task.try_kill(15, false).unwrap_err().code, Code::NotFound);
    task.delete();
    node.finish();
}

#[test]
fn a_native_container_has_what_its_spec_gives_it() {
    let node = Node::start();
    let task = sleeping(&node, "side");
    let (pid, shim) = (task.pid(), parent(task.pid()));
    assert_eq!(fs::read_link(procfs::file(shim, "exe")).unwrap(), shim_folder().join("containerd-shim-catamaran-v1"));
    assert_eq!(children(shim), [pid], "neither runc nor anything else stays");
    assert_eq!(status(shim)["Threads"], "1");
    assert!(procfs::file(pid, "root/proc/1/stat").exists(), "it has a procfs");
    assert_ne!(status(pid)["CapBnd"], "0000000000000000", "its capabilities are the spec's");
    let theirs = node.container("theirs").runtime(Runtime::Runc).image(&side()).args(["side", "sleep"]).spawn();
    theirs.expect_stdout("ready 1\n");
    // Signals 32 and 33 are a C library's own: glibc leaves them ignored in processes that it spawns.
    let ignored = |pid: u32| u64::from_str_radix(&status(pid)["SigIgn"], 16).unwrap() & !(0b11 << 31);
    assert_eq!(ignored(pid), ignored(theirs.pid()));
    for set in ["SigBlk", "SigCgt", "CapEff", "CapBnd", "CapInh", "NoNewPrivs", "Seccomp", "Groups"] {
        assert_eq!(status(pid)[set], status(theirs.pid())[set], "{set}: as runc's own shim has it");
    }
    theirs.discard();
    let cgroups = fs::read_to_string(procfs::file(pid, "cgroup")).unwrap();
    assert!(cgroups.lines().any(|line| line.ends_with(&format!("/{}/side", node.namespace()))), "{cgroups}");
    assert_eq!(task.try_pids().unwrap(), [pid]);
    let (kind, metrics) = task.try_metrics().unwrap();
    assert!(kind.ends_with("Metrics") && !metrics.is_empty(), "{kind}");
    task.discard();
    // Specs for which a Wasm container would be refused are runc's to judge: a device, an effective set-user-id bit.
    let task = node
        .container("mighty")
        .image(&side())
        .args(["side", "sleep"])
        .spec(|spec| {
            let device = json!({"path": "/dev/again", "type": "c", "major": 1, "minor": 3, "fileMode": 438});
            spec["linux"]["devices"] = json!([device]);
            spec["process"]["noNewPrivileges"] = json!(false);
        })
        .spawn();
    task.expect_stdout("ready 1\n");
    assert!(procfs::file(task.pid(), "root/dev/again").exists());
    let mounts = fs::read_to_string(procfs::file(task.pid(), "mountinfo")).unwrap();
    let root = mounts.lines().find(|line| line.split(' ').nth(4) == Some("/")).unwrap();
    assert!(!root.contains("nosuid") && !root.contains("nodev"), "{root}");
    task.discard();
    node.finish();
}

#[test]
fn an_idle_native_container_wakes_nobody() {
    let node = Node::start();
    let task = sleeping(&node, "side");
    let shim = parent(task.pid());
    std::thread::sleep(Duration::from_secs(1));
    let before = procfs::switches(shim);
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(procfs::switches(shim), before);
    task.discard();
    node.finish();
}

#[test]
fn a_script_and_a_program_of_a_volume_are_native_too() {
    let node = Node::start();
    let image = side().file("/run.sh", "#!/bin/side echo\n");
    let script = node.container("script").image(&image).args(["/run.sh"]).to_its_end();
    assert_eq!((script.code, script.stdout.as_str()), (0, "/run.sh\n"), "{script:?}");
    let volume = node.folder("volume");
    fs::write(volume.join("tool"), guests::native("side")).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(volume.join("tool"), mode).unwrap();
    let order = node.container("volume").image(&Image::new("empty")).args(["/tools/tool", "echo", "from a volume"]);
    let output = order.bind(&volume, "/tools", ["rbind", "ro"]).to_its_end();
    assert_eq!((output.code, output.stdout.as_str()), (0, "from a volume\n"), "{output:?}");
    node.finish();
}

#[test]
fn a_program_that_cannot_be_executed_ends_as_on_runcs_own_shim() {
    let node = Node::start();
    for (name, bytes) in
        [("broken", &b"\x7fELF\x02\x01\x01\0 and no more"[..]), ("script", b"#!/no/such/interpreter\n")]
    {
        let image = Image::new(name).file("/app", bytes).entrypoint(["/app"]);
        let outcome = [Runtime::Catamaran, Runtime::Runc].map(|runtime| {
            let created = node.container(name).runtime(runtime).image(&image).try_create();
            let task = created.map_err(|status| (status.code, status.message))?;
            let started = task.try_start().map(drop).map_err(|status| (status.code, status.message));
            let exit = task.wait(SOON).code;
            let output = task.delete();
            Ok::<_, (Code, String)>((started, exit, output.stdout, output.stderr))
        });
        assert_eq!(outcome[0], outcome[1], "{name}");
    }
    node.finish();
}

#[test]
fn a_refusal_of_runc_is_reported_in_its_words_and_leaves_nothing() {
    let node = Node::start();
    let bad = node.container("bad").image(&side()).args(["side", "sleep"]).spec(|spec| {
        spec["process"]["cwd"] = json!("/bin/side/none");
    });
    let refused = bad.try_create().map(drop).unwrap_err();
    assert!(refused.message.contains("OCI runtime create failed: "), "{refused}");
    assert!(refused.message.contains("/bin/side: not a directory"), "{refused}");
    node.expect_nothing_left(SOON);
    // Neither native nor Wasm: the shim looks for the image's layer.
    let none = node.container("none").image(&side()).args(["none"]).try_create().map(drop).unwrap_err();
    assert!(none.message.contains("\"none\": no such file in the container"), "{none}");
    let cwasm = Image::new("cwasm").file("/a.cwasm", b"\x7fELF\x02\x01\x01\xc8 machine code").entrypoint(["/a.cwasm"]);
    let cwasm = node.container("cwasm").image(&cwasm).try_create().map(drop).unwrap_err();
    assert!(cwasm.message.contains(".cwasm") && cwasm.message.contains("never run from an image"), "{cwasm}");
    let again = node.container("bad").image(&side()).args(["side", "exit", "3"]).to_its_end();
    assert_eq!(again.code, 3, "the id is free");
    node.finish();
}

/// A node whose handler has these options.
fn with_options(toml: &str) -> (Node, std::path::PathBuf) {
    let node = Node::start_with(Options::new());
    let file = node.dir().join("options.toml");
    fs::write(&file, toml).unwrap();
    (node, file)
}

#[test]
fn options_forbid_native_containers_or_name_their_runtime() {
    let (node, file) = with_options("native_containers = false\n");
    let run = || {
        let order = node.container("side").image(&side()).args(["side", "echo", "native"]);
        order.flag(["--runtime-config-path", file.to_str().unwrap()]).run()
    };
    let forbidden = run();
    for words in ["native_containers: false", "/bin/side, an ELF file", file.to_str().unwrap()] {
        assert!(forbidden.stderr.contains(words), "{words}: {forbidden:?}");
    }
    node.expect_nothing_left(SOON);
    let hello = node.container("hello").image(&guests::image(Runtime::Catamaran, "hello"));
    let hello = hello.flag(["--runtime-config-path", file.to_str().unwrap()]).run();
    assert_eq!(hello.stdout, "hello from wasm\n", "{hello:?}");
    fs::write(&file, "native_runtime = 'no-such-runc'\n").unwrap();
    let missing = run();
    for words in ["native_runtime: \"no-such-runc\"", "PATH", file.to_str().unwrap()] {
        assert!(missing.stderr.contains(words), "{words}: {missing:?}");
    }
    // A program that is not runc: its error text is passed on.
    let program = node.dir().join("strange-runc");
    fs::write(&program, "#!/bin/sh\necho this is no runc >&2\nexit 3\n").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&program, mode).unwrap();
    fs::write(&file, format!("native_runtime = '{}'\n", program.display())).unwrap();
    let strange = run();
    assert!(strange.stderr.contains("OCI runtime create failed: "), "{strange:?}");
    fs::write(&file, format!("native_runtime = '{}'\n", node.programs().runc.display())).unwrap();
    assert_eq!(run().stdout, "native\n");
    node.finish();
}
