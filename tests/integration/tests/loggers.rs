//! Other destinations of a container's output than a FIFO: files and programs, as containerd's own shim has them. Tests that hold on runc's
//! shim too also run there, to test the test.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use catamaran_harness::{Code, Engine, Image, Node, Runtime, State, guests, kill9, procfs, wait_until};

const SOON: Duration = Duration::from_secs(10);
const BOTH: [Runtime; 2] = [Runtime::Catamaran, Runtime::Runc];

/// A logger that keeps its input, in the node's folder: `args`, `environ`, `out` and `err`.
const KEEPS: &str = r#"cd "${0%/*}"
printf '<%s>' "$@" >args
tr '\0' '\n' </proc/$$/environ >environ
standard=$(readlink /proc/$$/fd/0 /proc/$$/fd/1 /proc/$$/fd/2); echo "$standard" >standard
: >out; : >err
ready
cat <&3 >>out & cat <&4 >>err; wait"#;

/// Makes a program `name` of a shell script in the node's folder; `ready` in the script reports readiness.
fn script(node: &Node, name: &str, text: &str) -> PathBuf {
    let path = node.dir().join(name);
    let ready = "ready() { printf '\\0' >&5; exec 5>&-; }";
    fs::write(&path, format!("#!/bin/sh\n{ready}\n{text}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn text(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The processes that run this script.
fn running(path: &Path) -> Vec<u32> {
    let runs = |pid: &u32| {
        let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        words.split(|byte| *byte == 0).any(|word| word == path.as_os_str().as_encoded_bytes())
    };
    let names = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().file_name());
    names.filter_map(|name| name.to_str()?.parse().ok()).filter(runs).collect()
}

#[test]
fn a_file_is_made_and_appended_to() {
    for runtime in BOTH {
        let node = Node::start().runtime(runtime);
        let file = node.dir().join("made/on the way/out.log");
        let uri = format!("file://{}", file.display().to_string().replace(' ', "%20"));
        // runc's shim copies, and may lose the last output of a short program ("error copying stderr"): once in four runs here.
        let whole = |text: &str, lines| text.lines().count() == lines || runtime == Runtime::Runc && !text.is_empty();
        for round in 1..=2 {
            let task = node.container("both").image(&guests::image(runtime, "both")).log_uri(&uri).spawn();
            assert_eq!(task.wait(SOON).code, 0);
            task.delete();
            let lines = wait_until(SOON, "all lines", || {
                let text = text(&file);
                whole(&text, 2 * round).then_some(text)
            });
            for line in ["to stdout\n", "to stderr\n"] {
                let count = lines.matches(line).count();
                assert!(count == round || runtime == Runtime::Runc && count < round, "{runtime:?}: {lines}");
            }
        }
        // By the option of ctr.
        let ran = node.container("both").image(&guests::image(runtime, "both")).flag(["--log-uri", &uri]).run();
        assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (0, "", ""), "{runtime:?}");
        wait_until(SOON, "ctr's lines", || whole(&text(&file), 6).then_some(()));
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o644);
        assert_eq!(fs::metadata(file.parent().unwrap()).unwrap().permissions().mode() & 0o7777, 0o755);
        node.finish();
    }
}

#[test]
fn each_stream_has_a_log_target_of_its_own() {
    let node = Node::start();
    let place = |name: &str| node.dir().join(name);
    let uri = |name: &str| format!("file://{}", place(name).display());
    let both = guests::image(Runtime::Catamaran, "both");
    let run = |stdout: &str, stderr: &str| {
        let task = node.container("both").image(&both).stream("stdout", stdout).stream("stderr", stderr).spawn();
        task.wait(SOON);
        assert_eq!(task.delete().code, 0);
    };
    run(&uri("one"), &uri("two"));
    assert_eq!((text(place("one")), text(place("two"))), ("to stdout\n".to_owned(), "to stderr\n".to_owned()));
    run("", &uri("three"));
    assert_eq!(text(place("three")), "to stderr\n");
    run(&uri("four"), "");
    assert_eq!(text(place("four")), "to stdout\n");
    run("", "");
    // A URI of a FIFO, and a file beside it.
    let fifo = place("a-fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let reader = Command::new("cat").arg(&fifo).stdout(fs::File::create(place("read")).unwrap()).spawn().unwrap();
    run(&format!("fifo://{}", fifo.display()), &uri("five"));
    assert!(reader.wait_with_output().unwrap().status.success());
    assert_eq!((text(place("read")), text(place("five"))), ("to stdout\n".to_owned(), "to stderr\n".to_owned()));
    node.finish();
}

#[test]
fn a_full_disk_costs_output_and_not_the_guest() {
    for engine in Engine::ALL {
        let node = Node::start().engine(engine);
        let both = guests::image(Runtime::Catamaran, "both");
        let task = node.container("both").image(&both).log_uri("file:///dev/full").spawn();
        assert_eq!(task.wait(SOON).code, 0, "{engine:?}");
        task.delete();
        let log = wait_until(SOON, "a line in the log", || {
            let log = node.log();
            log.lines().find(|line| line.contains("the logger /dev/full of container both")).map(str::to_owned)
        });
        assert!(log.contains("level=warning") && log.contains("output may be lost"), "{log}");
        node.finish();
    }
}

#[test]
fn a_logger_is_given_what_containerd_gives_it() {
    for runtime in BOTH {
        let node = Node::start().runtime(runtime);
        let logger = script(&node, "keeps", KEEPS);
        let uri = format!("binary://{}?key=a+%2F%26b", logger.display());
        let task = node.container("both").image(&guests::image(runtime, "both")).log_uri(&uri).create();
        assert_eq!(running(&logger).len(), 1, "it is ready before Create answers");
        task.start();
        assert_eq!(task.wait(SOON).code, 0);
        task.delete();
        let of = |name: &str| text(node.dir().join(name));
        wait_until(SOON, "its output", || (!of("out").is_empty() && !of("err").is_empty()).then_some(()));
        assert_eq!((of("out"), of("err")), ("to stdout\n".to_owned(), "to stderr\n".to_owned()), "{runtime:?}");
        assert_eq!(of("args"), "<key><a /&b>", "{runtime:?}");
        let environ = of("environ");
        let mut environ: Vec<_> = environ.lines().collect();
        environ.sort_unstable();
        assert_eq!(environ, ["CONTAINER_ID=both", &format!("CONTAINER_NAMESPACE={}", node.namespace())], "{runtime:?}");
        assert_eq!(of("standard"), "/dev/null\n/dev/null\n/dev/null\n", "{runtime:?}");
        node.finish();
    }
}

#[test]
fn a_logger_writes_its_last_words_before_delete_answers() {
    let node = Node::start();
    let late = script(&node, "late", r#"cd "${0%/*}"; ready; text=$(cat <&3); sleep 2; echo "$text" >late.out"#);
    let uri = format!("binary-v2://{}", late.display());
    for engine in Engine::ALL {
        let both = guests::image(Runtime::Catamaran, "both");
        let task = node.container("both").engine(engine).image(&both).log_uri(&uri).spawn();
        let begin = Instant::now();
        task.wait(SOON);
        assert!(begin.elapsed() < Duration::from_secs(1), "the exit waits for nobody: {:?}", begin.elapsed());
        task.delete();
        assert_eq!(text(node.dir().join("late.out")), "to stdout\n");
        fs::remove_file(node.dir().join("late.out")).unwrap();
    }
    node.finish();
}

#[test]
fn a_logger_that_does_not_end_is_ended() {
    let node = Node::start();
    let stays = script(&node, "stays", "trap '' TERM; ready; sleep 4711 & wait; sleep 4711");
    let uri = format!("binary://{}", stays.display());
    let hello = guests::image(Runtime::Catamaran, "hello");
    let task = node.container("hello").image(&hello).log_uri(&uri).spawn();
    let begin = Instant::now();
    assert_eq!(task.wait(SOON).code, 0);
    task.delete();
    let lasted = begin.elapsed();
    assert!(lasted > Duration::from_secs(9) && lasted < Duration::from_secs(20), "{lasted:?}");
    assert_eq!(running(&stays), [0; 0]);
    let sleeps = Command::new("pgrep").args(["-fx", "sleep 4711"]).status().unwrap();
    assert!(!sleeps.success(), "its children are still there");
    assert!(node.log().contains("did not end within 10s"), "the log says so");
    node.finish();
}

#[test]
fn a_logger_ends_with_a_shim_that_was_killed() {
    let node = Node::start();
    let sleep = guests::image(Runtime::Catamaran, "sleep");
    for (name, body) in [("reads", KEEPS), ("stays", "trap '' TERM; ready; while :; do sleep 1; done")] {
        let logger = script(&node, name, body);
        let task = node.container("victim").image(&sleep).log_uri(&format!("binary://{}", logger.display())).spawn();
        assert!(!running(&logger).is_empty());
        if name == "reads" {
            wait_until(SOON, "the first line", || (text(node.dir().join("out")) == "ready\n").then_some(()));
        }
        kill9(procfs::parent(task.pid()));
        wait_until(SOON, "containerd to forget the task", || task.try_state().is_err().then_some(()));
        wait_until(SOON, "the logger to end", || running(&logger).is_empty().then_some(()));
        task.remove_container();
        node.expect_nothing_left(SOON);
    }
    node.finish();
}

#[test]
fn a_logger_that_dies_is_an_error_to_the_guest_and_a_line_in_the_log() {
    // Writes a line each tenth of a second, and exits with the error of the first write that fails.
    let ticks = r#"(module
      (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
      (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
      (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
      (memory (export "memory") 1) (data (i32.const 200) "tick\n")
      (func (export "_start") (local $errno i32)
        (i32.store (i32.const 0) (i32.const 200)) (i32.store (i32.const 4) (i32.const 5))
        (i32.store (i32.const 80) (i32.const 1)) (i64.store (i32.const 88) (i64.const 100000000))
        (loop $next
          (local.set $errno (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
          (if (local.get $errno) (then (call $exit (local.get $errno))))
          (drop (call $poll (i32.const 64) (i32.const 128) (i32.const 1) (i32.const 192)))
          (br $next))))"#;
    let image = guests::of("ticks", wat::parse_str(ticks).unwrap());
    for engine in Engine::ALL {
        let node = Node::start().engine(engine);
        let logger = script(&node, "dies", r#"cd "${0%/*}"; ready; head -n 2 <&3 >out; exit 3"#);
        let task = node.container("ticks").image(&image).log_uri(&format!("binary://{}", logger.display())).spawn();
        // EPIPE, without a signal.
        assert_eq!(task.wait(SOON).code, 64, "{engine:?}");
        let said = wait_until(SOON, "a line in the log", || {
            let log = node.log();
            let line = log.lines().find(|line| line.contains("of container ticks"));
            line.map(str::to_owned)
        });
        assert!(said.contains("level=warning") && said.contains("ended with 3"), "{said}");
        task.delete();
        assert_eq!(text(node.dir().join("out")), "tick\ntick\n");
        node.finish();
    }
}

/// Checks that Create is refused with these words, and that the id is free then.
fn refused(node: &Node, runtime: Runtime, stdout: &str, stderr: &str, words: &[&str]) {
    let hello = guests::image(runtime, "hello");
    let order = node.container("same").image(&hello).stream("stdout", stdout).stream("stderr", stderr);
    let status = order.try_create().err().unwrap_or_else(|| panic!("{stdout} was accepted on {runtime:?}"));
    if runtime == Runtime::Catamaran {
        assert!(matches!(status.code, Code::InvalidArgument | Code::FailedPrecondition), "{status}");
        for word in words {
            assert!(status.message.contains(word), "{word:?} is missing in: {status}");
        }
    }
    node.expect_nothing_left(SOON);
    assert_eq!(node.container("same").image(&hello).run().code, 0, "the id is free");
}

#[test]
fn a_log_target_that_cannot_be_opened_refuses_the_container() {
    for runtime in BOTH {
        let node = Node::start().runtime(runtime);
        let dir = node.dir().display().to_string();
        fs::write(node.dir().join("plain"), "").unwrap();
        for (uri, words) in [
            (format!("{dir}/missing"), vec!["the request's stdout", "missing", "No such file", "FIFO"]),
            (dir.clone(), vec!["the request's stdout", "a directory"]),
            (format!("file://{dir}"), vec![dir.as_str(), "a directory"]),
            (format!("file://{dir}/plain/below"), vec!["making the folder", "plain"]),
            (format!("binary://{dir}/missing"), vec!["the logger", "missing", "No such file"]),
            (format!("binary://{dir}/plain"), vec!["the logger", "plain", "Permission denied"]),
            (format!("binary://{dir}"), vec!["the logger", "Permission denied"]),
            ("npipe:////./pipe/out".to_owned(), vec!["npipe", "the absolute path of a FIFO"]),
            ("relative".to_owned(), vec!["relative", "absolute path"]),
        ] {
            refused(&node, runtime, &uri, &uri, &words);
        }
        node.finish();
    }
}

#[test]
fn log_uris_that_other_shims_read_differently_are_refused() {
    let node = Node::start();
    let dir = node.dir().display().to_string();
    let (keeps, fails) = (script(&node, "keeps", KEEPS), script(&node, "fails", "exit 3"));
    let silent = script(&node, "silent", "exec 5>&-; sleep 4712");
    fs::write(node.dir().join("plain"), "").unwrap();
    let logger = |path: &Path| format!("binary://{}", path.display());
    for (stdout, stderr, words) in [
        (format!("{dir}/plain"), String::new(), vec!["the request's stdout", "not a FIFO", "file:///path"]),
        (format!("file:/{dir}"), String::new(), vec!["three slashes"]),
        (logger(&keeps), logger(&fails), vec!["the request's stdout", "the same URI"]),
        (String::new(), logger(&keeps), vec!["the request's stderr", "the same URI"]),
        (logger(&fails), logger(&fails), vec!["fails", "ended with 3 before it was ready"]),
        (logger(Path::new("/bin/true")), logger(Path::new("/bin/true")), vec!["ended with 0 before it was ready"]),
        (
            format!("binary-v2://{}", silent.display()),
            format!("binary-v2://{}", silent.display()),
            vec!["without the byte"],
        ),
    ] {
        refused(&node, Runtime::Catamaran, &stdout, &stderr, &words);
        assert!(running(&keeps).is_empty() && running(&silent).is_empty(), "{stdout}");
    }
    let task =
        node.container("same").image(&guests::image(Runtime::Catamaran, "cat")).stream("stdin", "file:///etc/passwd");
    assert!(task.try_create().err().unwrap().message.contains("the request's stdin"));
    node.finish();
}

#[test]
fn a_logger_that_is_never_ready_is_killed() {
    let node = Node::start();
    let hangs = script(&node, "hangs", "sleep 4713 & sleep 4713");
    let uri = format!("binary://{}", hangs.display());
    let hello = guests::image(Runtime::Catamaran, "hello");
    let order = node.container("hello").image(&hello).limit(Duration::from_secs(60)).log_uri(&uri);
    let status = order.try_create().err().unwrap();
    assert!(status.message.contains("not ready after 30s"), "{status}");
    node.expect_nothing_left(SOON);
    wait_until(SOON, "what the logger has started to end", || {
        let found = Command::new("pgrep").args(["-fx", "sleep 4713"]).status().unwrap();
        (!found.success()).then_some(())
    });
    node.finish();
}

/// In a pod that goes on, nothing else ends such a creation: it waited for its logger, and then compiled.
#[test]
fn a_creation_that_was_given_up_went_on_with_its_logger() {
    let node = Node::start();
    let hello = guests::image(Runtime::Catamaran, "hello");
    let pod = node.container("pod").image(&guests::image(Runtime::Catamaran, "sleep")).spawn();
    pod.expect_stdout("ready\n");
    let shim = procfs::parent(pod.pid());
    let hangs = script(&node, "hangs", "cat <&3 >/dev/null");
    let uri = format!("binary://{}", hangs.display());
    let member = || node.container("member").image(&hello).in_pod("pod");
    assert!(member().limit(Duration::from_secs(2)).log_uri(&uri).try_create().is_err());
    // A logger that is never ready is killed after 30 s.
    let left = || running(&hangs).len() + node.leftovers().iter().filter(|line| line.contains("/member.json")).count();
    wait_until(SOON, "the creation to end", || (left() == 0).then_some(()));
    let again = member().create();
    assert_eq!(procfs::parent(again.pid()), shim, "the id is free");
    again.discard();
    pod.discard();
    node.finish();
}

/// A container's resources in a shim: streams or a logger, its state, its cgroup and the watch for kills in it.
#[test]
fn a_shim_keeps_nothing_of_a_container_that_is_gone() {
    let node = Node::start();
    let sleep = guests::image(Runtime::Catamaran, "sleep");
    let pod = node.container("pod").image(&sleep).spawn();
    pod.expect_stdout("ready\n");
    let shim = procfs::parent(pod.pid());
    let uris = [
        format!("binary://{}", script(&node, "keeps", KEEPS).display()),
        format!("file://{}/log", node.dir().display()),
    ];
    let round = |number: usize| {
        let member = node.container(&format!("m.{number}")).image(&sleep).in_pod("pod").memory(64 << 20);
        let task = match number % 3 {
            2 => member.create(),
            uri => member.log_uri(&uris[uri]).create(),
        };
        if number.is_multiple_of(2) {
            task.start();
        }
        task.discard();
    };
    let descriptors = || fs::read_dir(format!("/proc/{shim}/fd")).unwrap().count();
    (0..6).for_each(round);
    // A task of the shim may end after the answer.
    wait_until(SOON, "the first ones' tasks", || (descriptors() < 40).then_some(()));
    let before = descriptors();
    (6..42).for_each(round);
    wait_until(SOON, "the shim to let go", || (descriptors() <= before).then_some(()));
    pod.discard();
    node.finish();
}

#[test]
fn a_container_that_cannot_run_ends_its_logger() {
    let node = Node::start();
    let logger = script(&node, "keeps", KEEPS);
    let broken = Image::new("broken").file("/app.wasm", &guests::wat("hello")[..60]).entrypoint(["/app.wasm"]);
    for uri in [format!("binary://{}", logger.display()), format!("file://{}/log", node.dir().display())] {
        let order = node.container("broken").image(&broken).log_uri(&uri);
        assert_eq!(order.try_create().err().unwrap().code, Code::FailedPrecondition);
        node.expect_nothing_left(SOON);
    }
    node.finish();
}

#[test]
fn a_log_file_costs_an_idle_process_and_no_wake_ups() {
    let node = Node::start();
    let file = node.dir().join("log");
    let sleep = guests::image(Runtime::Catamaran, "sleep");
    let task = node.container("sleep").image(&sleep).log_uri(&format!("file://{}", file.display())).spawn();
    wait_until(SOON, "the first line", || (text(&file) == "ready\n").then_some(()));
    // The driver of the first start still writes its artifact to the disk.
    node.await_compiles();
    let (worker, shim) = (task.pid(), procfs::parent(task.pid()));
    let children = text(format!("/proc/{shim}/task/{shim}/children"));
    let children: Vec<u32> = children.split_whitespace().map(|pid| pid.parse().unwrap()).collect();
    let appends: Vec<_> = children.iter().copied().filter(|pid| *pid != worker).collect();
    assert_eq!(appends.len(), 1, "{children:?}");
    let switches = || {
        [shim, worker, appends[0]].map(|pid| {
            let status = text(format!("/proc/{pid}/status"));
            let count =
                |line: &str| line.split_once("ctxt_switches:\t").map(|(_, count)| count.parse::<u64>().unwrap());
            status.lines().filter_map(count).sum::<u64>()
        })
    };
    std::thread::sleep(Duration::from_secs(1));
    let before = switches();
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(switches(), before);
    // The worker holds pipes, and no file of the host.
    for fd in [1, 2] {
        assert!(fs::read_link(format!("/proc/{worker}/fd/{fd}")).unwrap().to_string_lossy().starts_with("pipe:"));
    }
    // A signal that kills the logger alone leaves the container running.
    assert_eq!(task.state(), State::Running);
    task.discard();
    node.finish();
}

#[test]
fn a_logger_of_an_exec_ends_with_its_deletion_and_with_its_shim() {
    let node = Node::start();
    let keeps = script(&node, "keeps", KEEPS);
    // The logger does not end with its input.
    let stays = script(&node, "stays", "ready; trap '' TERM; while :; do sleep 1; done");
    let image = guests::of("sleep", guests::wat("sleep")).file("/both", guests::wat("both"));
    let task = node.container("c").image(&image).spawn();
    task.expect_stdout("ready\n");
    let by = |id: &str, logger: &Path| {
        let uri = format!("binary://{}", logger.display());
        node.ctr(["tasks", "exec", "--detach", "--log-uri", &uri, "--exec-id", id, "c", "/both"])
    };
    assert_eq!(by("kept", &keeps).code, 0);
    wait_until(SOON, "its lines", || (text(node.dir().join("out")) == "to stdout\n").then_some(()));
    wait_until(SOON, "the logger to end with its input", || running(&keeps).is_empty().then_some(()));
    assert_eq!(by("stays", &stays).code, 0);
    assert_eq!(running(&stays).len(), 1);
    kill9(procfs::parent(task.pid()));
    wait_until(SOON, "containerd to forget the task", || task.try_state().is_err().then_some(()));
    wait_until(SOON, "the logger to go with its shim", || running(&stays).is_empty().then_some(()));
    task.remove_container();
    node.finish();
}

#[test]
fn a_logger_of_a_native_containers_exec_ends_with_the_shim_too() {
    let node = Node::start();
    let stays = script(&node, "stays", "ready; trap '' TERM; while :; do sleep 1; done");
    let image = Image::new("side").file("/bin/side", guests::native("side")).env(["PATH=/bin"]).entrypoint(["side"]);
    let task = node.container("c").image(&image).args(["side", "sleep"]).spawn();
    task.expect_stdout("ready");
    let uri = format!("binary://{}", stays.display());
    let ran = node.ctr(["tasks", "exec", "--detach", "--log-uri", &uri, "--exec-id", "e", "c", "side", "both"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let loggers = running(&stays);
    assert_eq!(loggers.len(), 1);
    kill9(procfs::parent(task.pid()));
    wait_until(SOON, "containerd to forget the task", || task.try_state().is_err().then_some(()));
    wait_until(SOON, "the logger to go with its shim", || running(&stays).is_empty().then_some(()));
    task.remove_container();
    node.finish();
}
