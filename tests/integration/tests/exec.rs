//! Further processes of a container: how their program is found, their properties, and their end.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use catamaran_harness::{Code, Engine, Image, Node, State, Task, guests, procfs, wait_until};
use serde_json::json;

const SOON: Duration = Duration::from_secs(10);

/// A container's image with programs of all kinds; its own sleeps.
fn tools() -> Image {
    let mut image = Image::new("tools").file("/sleep", guests::wat("sleep")).entrypoint(["/sleep"]);
    for name in ["hello", "args", "exit", "env", "cat", "spin", "trap", "sleep"] {
        image = image.file(&format!("/bin/{name}"), guests::wat(name));
    }
    let imports = wat::parse_str("(module (import \"env\" \"nothing\" (func)) (func (export \"_start\")))").unwrap();
    image
        .env(["PATH=/bin"])
        .file("/bin/kitchen", guests::go("kitchen"))
        .file("/bin/imports", imports)
        .file("/bin/elf", guests::peer())
        .file("/bin/script", "#!/bin/hello\n")
        .file("/bin/cwasm", b"\x7fELF\x02\x01\x01\xc8and more")
        .file("/bin/text", "(module)")
        .file("/bin/empty", "")
        .dir("/bin/folder", 0o755, 0, 0)
        .link("/bin/link", "/bin/hello")
        .link("/bin/out", "../../../../../../../../bin/sh")
        .link("/bin/loop", "loop")
        .dir("/tmp", 0o777, 0, 0)
}

fn sleeping<'n>(node: &'n Node, id: &str) -> Task<'n> {
    let task = node.container(id).image(&tools()).spawn();
    task.expect_stdout("ready\n");
    task
}

#[test]
fn an_exec_runs_another_module_of_the_containers_files() {
    for engine in Engine::ALL {
        let node = Node::start().engine(engine);
        let task = sleeping(&node, "c");
        // By ctr, as an administrator does it.
        let hello = task.exec("e", ["/bin/hello"]);
        assert_eq!((hello.code, hello.stdout.as_str(), hello.stderr.as_str()), (0, "hello from wasm\n", ""));
        assert_eq!(task.exec("e", ["/bin/exit", "42"]).code, 42, "the exec's id is free again");
        let args = task.exec("e", ["args", "a b", "", "ü"]);
        assert_eq!((args.code, args.stdout.as_str()), (0, "args\na b\n\nü\n"), "by PATH, with its own words");
        assert_eq!(task.exec("e", ["/bin/link"]).stdout, "hello from wasm\n");
        assert_eq!(task.exec("e", ["/bin/trap"]).code, 134);
        let env = task.further("env").args(["env"]).process(|p| p["env"] = json!(["PATH=/bin", "OWN=1"])).run();
        assert_eq!((env.code, env.stdout.contains("OWN=1\n")), (0, true), "{env:?}");
        assert_eq!(task.state(), State::Running);
        assert!(task.exec("e", ["kitchen", "write", "/tmp/a", "text"]).code == 0);
        assert_eq!(task.exec("e", ["kitchen", "read", "/tmp/a"]).stdout.trim_end(), "text");
        task.discard();
        node.finish();
    }
}

#[test]
fn a_missing_program_is_127_and_one_that_does_not_run_is_126() {
    let node = Node::start();
    let events = node.events();
    let task = sleeping(&node, "c");
    let advice = ["no shell", "/sleep", "kubectl debug"];
    for (words, code, said) in [
        (&["sh", "-c", "ls"][..], 127, &["\"sh\": no such file in the container (looked for /bin/sh, /sh)"][..]),
        (&["/bin/none"], 127, &["/bin/none"]),
        (&["bin/out"], 127, &["/bin/out"]),
        (&["\u{1b}[31m"], 127, &["\\u{1b}[31m"]),
        (&["/bin/folder"], 126, &["a directory"]),
        (&["/"], 126, &["a directory"]),
        (&["/bin/hello/more"], 126, &["below a file"]),
        (&["/bin/loop"], 126, &["symbolic links"]),
        (&["/dev/null"], 126, &["not a regular file"]),
        (&["/bin/elf"], 126, &["/bin/elf: an ELF file"]),
        (&["script"], 126, &["/bin/script: a script"]),
        (&["/bin/cwasm"], 126, &[".cwasm"]),
        (&["/bin/text"], 126, &["not a binary module", "wat2wasm"]),
        (&["/bin/empty"], 126, &["an empty file"]),
    ] {
        let ran = task.exec("e", words);
        assert_eq!((ran.code, ran.stdout.as_str()), (code, ""), "{words:?}: {ran:?}");
        assert!(ran.stderr.starts_with("catamaran: ") && ran.stderr.lines().count() == 1, "{words:?}: {ran:?}");
        assert!(!ran.stderr.contains('\u{1b}'), "{ran:?}");
        for said in said.iter().chain(&advice) {
            assert!(ran.stderr.contains(said), "{words:?}: {said:?} is missing in {ran:?}");
        }
    }
    let ran = task.exec("e", ["/bin/imports"]);
    assert_eq!(ran.code, 126, "{ran:?}");
    assert!(ran.stderr.contains("/bin/imports: ") && ran.stderr.contains("`env.nothing`"), "{ran:?}");
    // The exec starts, and ends with an error: the request itself succeeds.
    let missing = task.further("f").args(["none"]).add();
    assert_eq!(missing.try_state().unwrap(), (State::Created, 0));
    assert_eq!(missing.start(), 0);
    assert_eq!(missing.wait(SOON).code, 127);
    assert_eq!(missing.try_state().unwrap(), (State::Stopped, 0));
    assert_eq!(missing.try_kill(9).unwrap_err().code, Code::NotFound);
    assert_eq!(missing.try_start().unwrap_err().code, Code::FailedPrecondition);
    assert!(missing.delete().stderr.contains("none"));
    let seen = ["exec-added", "exec-started", "exit"];
    wait_until(SOON, "its last events", || events.of("c").ends_with(&seen.map(str::to_owned)).then_some(()));
    task.discard();
    node.finish();
}

#[test]
fn an_exec_of_the_containers_command_runs_its_own_module() {
    let node = Node::start();
    // By PATH and the working directory of the container's own process, whatever the exec's are.
    let image = Image::new("own").file("/app/args", guests::wat("args")).file("/bin/hello", guests::wat("hello"));
    let own = node.container("own").image(&image.file("/app/sleep", guests::wat("sleep"))).args(["sleep"]).cwd("/app");
    let task = own.spawn();
    task.expect_stdout("ready\n");
    let again = task.further("e").args(["sleep"]).process(|p| p["cwd"] = json!("/")).spawn();
    again.expect_stdout("ready\n");
    again.try_kill(15).unwrap();
    assert_eq!(again.wait(SOON).code, 143);
    again.delete();
    assert_eq!(task.further("e").args(["args", "x"]).run().stdout, "args\nx\n", "by the exec's working directory");
    // The file that is there now counts, even if the guest wrote it.
    fs::write(procfs::file(task.pid(), "root/app/new"), guests::wat("hello")).unwrap();
    assert_eq!(task.further("e").args(["new"]).run().stdout, "hello from wasm\n");
    task.discard();
    // The image's layer, by the words that name it.
    let layer = Image::new("layer").blob("application/wasm", guests::go("kitchen"));
    let task = node.container("layer").image(&layer).args(["/", "sleep", "1h"]).spawn();
    task.expect_stdout("ready\n");
    assert_eq!(task.further("e").args(["/", "args", "x"]).run().stdout, "/\nargs\nx\n");
    let other = task.further("e").args(["/dev"]).run();
    assert_eq!((other.code, other.stderr.contains("a directory")), (126, true), "{other:?}");
    task.discard();
    node.finish();
}

/// `/proc`'s facts about a process, without those that differ between any two processes.
fn about(pid: u32) -> Vec<(String, String)> {
    let status = procfs::status(pid);
    let keys = [
        "Umask",
        "Uid",
        "Gid",
        "Groups",
        "CapInh",
        "CapPrm",
        "CapEff",
        "CapBnd",
        "CapAmb",
        "NoNewPrivs",
        "Seccomp",
        "Seccomp_filters",
        "Threads",
    ];
    let mut about: Vec<_> = keys.iter().map(|key| ((*key).to_owned(), status[*key].clone())).collect();
    for file in ["cgroup", "mountinfo", "limits", "oom_score_adj"] {
        about.push((file.to_owned(), fs::read_to_string(procfs::file(pid, file)).unwrap()));
    }
    for kind in ["mnt", "pid", "ipc", "uts", "net", "cgroup", "user"] {
        let link = fs::read_link(procfs::file(pid, "ns").join(kind)).unwrap();
        about.push((kind.to_owned(), link.display().to_string()));
    }
    for link in ["root", "cwd", "exe"] {
        about.push((link.to_owned(), fs::read_link(procfs::file(pid, link)).unwrap().display().to_string()));
    }
    let owner = fs::metadata(procfs::file(pid, "mem")).unwrap();
    about.push(("owner of its files".to_owned(), owner.uid().to_string()));
    about.push(("parent".to_owned(), procfs::parent(pid).to_string()));
    about
}

#[test]
fn an_execs_worker_is_confined_as_the_containers_own() {
    for engine in Engine::ALL {
        let node = Node::start().engine(engine);
        let order = node.container("c").image(&tools()).user("1000:1001").spec(|spec| {
            spec["process"]["user"]["umask"] = json!(0o077);
            spec["process"]["user"]["additionalGids"] = json!([1001, 3000]);
            spec["process"]["oomScoreAdj"] = json!(777);
            spec["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "cgroup"}));
        });
        let task = order.spawn();
        task.expect_stdout("ready\n");
        let exec = task.further("e").args(["/bin/sleep"]).add();
        let pid = exec.start();
        exec.expect_stdout("ready\n");
        for (own, further) in about(task.pid()).into_iter().zip(about(pid)) {
            assert_eq!(own, further);
        }
        let status = procfs::status(pid);
        assert_eq!(status["CapBnd"], "0000000000000000");
        assert_ne!(status["NSpid"].split_whitespace().last(), Some("1"), "the first is the namespace's first");
        // No file of the host's is open: only the streams, the artifact, the engine's own descriptors, and the container's root.
        let open = |pid: u32| {
            let links = fs::read_dir(procfs::file(pid, "fd")).unwrap().map(|entry| {
                let text = fs::read_link(entry.unwrap().path()).unwrap().display().to_string();
                text.split(':').next().unwrap().replace(&format!("c-{}", "e"), "c")
            });
            links.collect::<BTreeSet<_>>()
        };
        assert_eq!(open(pid), open(task.pid()));
        // Another user, if the exec's own spec asks for it.
        let other = task.further("o").args(["/bin/sleep"]).process(|p| p["user"] = json!({"uid": 7, "gid": 8})).add();
        let status = procfs::status(other.start());
        assert_eq!((status["Uid"].as_str(), status["Gid"].as_str()), ("7\t7\t7\t7", "8\t8\t8\t8"));
        assert_eq!((status["CapEff"].as_str(), status["Umask"].as_str()), ("0000000000000000", "0022"));
        task.discard();
        node.finish();
    }
}

#[test]
fn an_exec_has_streams_and_signals_of_its_own() {
    let node = Node::start();
    let task = sleeping(&node, "c");
    let cat = task.further("cat").args(["cat"]).hold_stdin().spawn();
    cat.write("one\n");
    cat.expect_stdout("one\n");
    cat.write("two\n");
    cat.close_stdin();
    assert_eq!(cat.wait(SOON).code, 0);
    assert_eq!(cat.delete().stdout, "one\ntwo\n");
    assert_eq!(task.further("cat").args(["cat"]).run().stdout, "", "no stdin is an empty one");
    let both = task.further("b").args(["kitchen", "stderr", "words"]).run();
    assert_eq!((both.stdout.as_str(), both.stderr.trim_end()), ("", "words"));
    for (signal, guest, code) in [(15, "sleep", 143), (9, "sleep", 137), (15, "spin", 143), (2, "sleep", 130)] {
        let exec = task.further("e").args([guest]).spawn();
        exec.expect_stdout("ready\n");
        assert_eq!(exec.try_delete().unwrap_err().code, Code::FailedPrecondition, "it runs");
        exec.try_kill(signal).unwrap();
        assert_eq!(exec.wait(SOON).code, code, "{guest} by {signal}");
        assert_eq!(exec.delete().code, code as i32);
    }
    assert_eq!(task.state(), State::Running, "the container goes on");
    task.discard();
    node.finish();
}

#[test]
fn an_exec_can_have_a_terminal() {
    let node = Node::start();
    let task = sleeping(&node, "c");
    let cat = task.further("t").args(["cat"]).terminal().hold_stdin().add();
    let pid = cat.start();
    cat.try_resize(100, 40).unwrap();
    let stat = fs::read_to_string(procfs::file(pid, "stat")).unwrap();
    let fields: Vec<_> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    assert_ne!(fields[4], "0", "a controlling terminal: {stat}");
    cat.write("word\n");
    cat.expect_stdout("word\r\nword\r\n");
    cat.write("\u{4}");
    assert_eq!(cat.wait(SOON).code, 0);
    cat.delete();
    let none = task.further("t").args(["none"]).terminal().run();
    assert_eq!(none.code, 127);
    assert!(none.stdout.contains("\"none\": no such file") && none.stdout.ends_with("\r\n"), "{none:?}");
    // Request and spec must agree on a terminal.
    let status = task
        .further("t")
        .args(["cat"])
        .process(|p| p["consoleSize"] = json!({"width": 80, "height": 99_999}))
        .terminal();
    assert_eq!(status.add().try_start().unwrap_err().code, Code::InvalidArgument);
    task.discard();
    node.finish();
}

#[test]
fn an_exec_is_refused_for_what_create_refuses() {
    let node = Node::start();
    let task = sleeping(&node, "c");
    for (edit, word) in [
        (json!({"selinuxLabel": "a:b:c:d"}), "the request's spec: selinuxLabel: set: no label"),
        (json!({"ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 4}}), "the request's spec: ioPriority"),
        (json!({"execCPUAffinity": {"initial": "0"}}), "the request's spec: execCPUAffinity: set: no affinity"),
        (json!({"user": {"uid": u32::MAX, "gid": 0}}), "the request's spec: user"),
        (json!({"args": []}), "the request's spec: args: empty"),
        (json!({"cwd": "here"}), "the request's spec: cwd"),
        (json!({"env": ["SECRET"]}), "the request's spec: env[0]: no \"=\" in it"),
    ] {
        let order = task.further("e").args(["hello"]).process(|process| {
            process.as_object_mut().unwrap().extend(edit.as_object().unwrap().clone());
        });
        let exec = order.add();
        let status = exec.try_start().unwrap_err();
        assert!(status.code == Code::InvalidArgument && status.message.contains(word), "{status}");
        assert!(!status.message.contains("SECRET"), "{status}");
        exec.try_delete().unwrap();
    }
    let status = task.further("a/b").args(["hello"]).try_add().err().unwrap();
    assert_eq!(status.code, Code::InvalidArgument, "{status}");
    let one = task.further("e").args(["hello"]).add();
    assert_eq!(task.further("e").args(["hello"]).try_add().err().unwrap().code, Code::AlreadyExists);
    one.start();
    one.wait(SOON);
    one.delete();
    task.discard();
    node.finish();
}

#[test]
fn digests_of_image_files_are_remembered_but_not_of_changed_files() {
    let node = Node::start();
    let task = sleeping(&node, "c");
    // A file that was unpacked just now could change within the clock's tick, so it is not remembered.
    std::thread::sleep(Duration::from_secs(4));
    let remembered = || fs::read_dir(node.catamaran_root().join("memo")).map_or(0, Iterator::count);
    let before = remembered();
    assert_eq!(task.further("e").args(["/bin/hello"]).run().stdout, "hello from wasm\n");
    assert_eq!(remembered(), before + 1, "it is the image's");
    assert_eq!(task.further("e").args(["/bin/link"]).run().stdout, "hello from wasm\n");
    assert_eq!(remembered(), before + 1, "by another name");
    // The guest writes over the image's own file: same name, same size or not.
    fs::write(procfs::file(task.pid(), "root/bin/hello"), guests::wat("exit")).unwrap();
    assert_eq!(task.further("e").args(["/bin/hello", "9"]).run().code, 9);
    assert_eq!(remembered(), before + 1);
    task.discard();
    node.finish();
}
