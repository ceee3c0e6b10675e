//! A guest's view of its container: arguments, environment, streams, files, its end; on each engine.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use std::fs;
use std::time::Duration;

use catamaran_harness::guests::wasm;
use catamaran_harness::{Image, Node, guests, procfs};

const SOON: Duration = Duration::from_secs(10);

/// Makes a test of each row for each engine.
macro_rules! table {
    ($($row:ident)*) => { table! { @ wasmtime Wasmtime $($row)* } table! { @ wasmer Wasmer $($row)* } };
    (@ $module:ident $engine:ident $($row:ident)*) => {
        mod $module {
            $(#[test]
            fn $row() {
                let node = catamaran_harness::Node::start().engine(catamaran_harness::Engine::$engine);
                super::$row(&node);
                node.finish();
            })*
        }
    };
}

table! {
    hello
    arguments_and_environment_arrive
    an_environment_larger_than_a_socket_message_arrives
    exit_codes_are_kept
    stdin_is_copied_to_its_end
    stdin_stays_open_until_it_is_closed
    a_bind_mount_is_written_and_read_back
    a_file_is_bound_over_a_file
    layers_links_and_owners_of_an_image_count
    the_image_is_written_to_and_not_when_read_only
    an_image_of_many_layers_is_mounted
    a_module_in_a_volume_runs
    a_bare_name_is_found_in_path_and_in_the_working_directory
    a_go_program_has_arguments_files_streams_and_a_directory
    a_go_program_waits_for_its_stdin
    what_a_go_program_does_with_files_is_what_comes_of_them
    a_c_program_has_arguments_files_streams_and_memory
    default_devices_work_and_others_are_not_there
    a_trap_is_134_with_a_backtrace_on_stderr
}

fn hello(node: &Node) {
    let hello = node.container("hello").image(&wasm("hello")).run();
    assert_eq!((hello.code, hello.stdout.as_str(), hello.stderr.as_str()), (0, "hello from wasm\n", ""));
}

fn arguments_and_environment_arrive(node: &Node) {
    let args = node.container("args").image(&wasm("args")).args(["/args", "a b", "", "-c", "ü"]).run();
    assert_eq!(args.stdout, "/args\na b\n\n-c\nü\n");
    let env = node.container("env").image(&wasm("env").env(["FROM=image"])).env("MORE", "a=b").run();
    assert!(env.stdout.contains("FROM=image\n") && env.stdout.contains("MORE=a=b\n"), "{env:?}");
}

fn an_environment_larger_than_a_socket_message_arrives(node: &Node) {
    // 120 KiB is near the limit of one word of ctr's own command line.
    let long = "x".repeat(120 << 10);
    let container = node.container("env").image(&wasm("env")).env("ONE", &long).env("TWO", &long).env("THREE", &long);
    let env = container.run();
    assert!(env.stdout.contains(&format!("THREE={long}\n")), "{} bytes came", env.stdout.len());
}

fn exit_codes_are_kept(node: &Node) {
    for code in [0, 1, 42, 125, 126, 134, 255] {
        let exit = node.container("exit").image(&wasm("exit")).args(["/exit", &code.to_string()]).run();
        assert_eq!((exit.code, exit.stderr.as_str()), (code, ""));
    }
}

fn stdin_is_copied_to_its_end(node: &Node) {
    let text = "one line\n".repeat(50_000);
    let cat = node.container("cat").image(&wasm("cat")).stdin(&text).to_its_end();
    assert!(cat.stdout == text, "{} bytes came back of {}", cat.stdout.len(), text.len());
    // Without any stdin the end comes at once.
    let cat = node.container("cat").image(&wasm("cat")).to_its_end();
    assert_eq!((cat.code, cat.stdout.as_str()), (0, ""));
}

fn stdin_stays_open_until_it_is_closed(node: &Node) {
    let task = node.container("cat").image(&wasm("cat")).hold_stdin().spawn();
    task.write("first\n");
    task.expect_stdout("first\n");
    task.write("second\n");
    task.close_stdin();
    assert_eq!(task.wait(SOON).code, 0);
    assert_eq!(task.delete().stdout, "first\nsecond\n");
}

fn a_go_program_waits_for_its_stdin(node: &Node) {
    let order = node.container("kitchen").image(&guests::kitchen()).args(["/kitchen.wasm", "stdin"]);
    let task = order.hold_stdin().spawn();
    // It reaches its read, and there is no input.
    std::thread::sleep(Duration::from_secs(1));
    let before = procfs::ticks(task.pid());
    std::thread::sleep(Duration::from_secs(1));
    let spent = procfs::ticks(task.pid()) - before;
    assert!(spent < 20, "waiting took {spent} of some 100 ticks");
    task.write("some ");
    std::thread::sleep(Duration::from_millis(200));
    task.write("text");
    task.close_stdin();
    let code = task.wait(SOON).code;
    let output = task.delete();
    assert_eq!((code, output.stdout.as_str()), (0, "9\nsome text"), "{output:?}");
}

fn a_bind_mount_is_written_and_read_back(node: &Node) {
    let data = node.dir().join("data");
    fs::create_dir(&data).unwrap();
    let container =
        |options| node.container("write").image(&wasm("write")).bind(&data, "/some/new/place", ["rbind", options]);
    let written = container("rw").args(["/write", "/some/new/place/file", "text"]).run();
    assert_eq!((written.code, written.stderr.as_str()), (0, ""));
    assert_eq!(fs::read_to_string(data.join("file")).unwrap(), "text");
    let read = node.container("read").image(&wasm("read")).bind(&data, "/d", ["rbind", "ro"]);
    assert_eq!(read.args(["/read", "/d/file"]).run().stdout, "text");
    let refused = container("ro").args(["/write", "/some/new/place/file", "other"]).run();
    assert!(refused.code != 0 && refused.stderr == "path_open failed\n", "{refused:?}");
    assert_eq!(fs::read_to_string(data.join("file")).unwrap(), "text");
}

fn a_file_is_bound_over_a_file(node: &Node) {
    let file = node.dir().join("settings");
    fs::write(&file, "from the host").unwrap();
    let image = wasm("read").file("/etc/settings", "from the image");
    let read = node.container("read").image(&image).bind(&file, "/etc/settings", ["bind", "ro"]);
    assert_eq!(read.args(["/read", "/etc/settings"]).run().stdout, "from the host");
}

fn layers_links_and_owners_of_an_image_count(node: &Node) {
    let image = wasm("read")
        .file_as("/secret", "for one", 0o600, 1000, 1000)
        .link("/link", "/dir/below")
        .layer()
        .dir("/dir", 0o755, 0, 0)
        .file("/dir/below", "from the upper layer");
    let read = |path, user| node.container("read").image(&image).args(["/read", path]).user(user).run();
    assert_eq!(read("/dir/below", "0").stdout, "from the upper layer");
    assert_eq!(read("/secret", "1000:1000").stdout, "for one");
    // WASI's numbers for "permission denied" (Wasmtime) and "not permitted": wasmer-wasix has one number for both.
    let refused = [2, 63];
    assert!(refused.contains(&read("/secret", "1001:1001").code));
    // Without CAP_DAC_OVERRIDE root has no special right to others' files.
    assert!(refused.contains(&read("/secret", "0").code));
}

fn the_image_is_written_to_and_not_when_read_only(node: &Node) {
    let image = wasm("write").dir("/work", 0o755, 0, 0);
    let write = || node.container("write").image(&image).args(["/write", "/work/new", "text"]);
    assert_eq!(write().run().code, 0);
    let refused = write().read_only().run();
    assert!(refused.code != 0 && refused.stderr == "path_open failed\n", "{refused:?}");
}

fn an_image_of_many_layers_is_mounted(node: &Node) {
    // Longer than fsconfig takes as one string, and more layers than most images have.
    let mut image = wasm("read");
    for n in 0..40 {
        image = image.layer().file(&format!("/file{n}"), format!("layer {n}"));
    }
    for n in [0, 20, 39] {
        let read = node.container("read").image(&image).args(["/read", &format!("/file{n}")]).run();
        assert_eq!(read.stdout, format!("layer {n}"), "{read:?}");
    }
}

fn a_module_in_a_volume_runs(node: &Node) {
    let data = node.dir().join("data");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("module.wasm"), guests::wat("hello")).unwrap();
    let image = Image::new("empty").file("/readme", "no module here").entrypoint(["/app/module.wasm"]);
    let hello = node.container("hello").image(&image).bind(&data, "/app", ["rbind", "ro"]).run();
    assert_eq!((hello.code, hello.stdout.as_str()), (0, "hello from wasm\n"), "{hello:?}");
    // Below folders that the image does not have.
    let deep = node.container("deep").image(&image).bind(&data, "/a/new/place", ["rbind", "ro"]);
    let hello = deep.args(["/a/new/place/module.wasm"]).run();
    assert_eq!((hello.code, hello.stdout.as_str()), (0, "hello from wasm\n"), "{hello:?}");
}

fn a_bare_name_is_found_in_path_and_in_the_working_directory(node: &Node) {
    let image = Image::new("names")
        .file("/opt/bin/hello", guests::wat("hello"))
        .file("/work/here.wasm", guests::wat("hello"))
        .workdir("/work")
        .env(["PATH=/usr/bin:/opt/bin"]);
    for name in ["hello", "here.wasm", "./here.wasm", "../opt/bin/hello"] {
        let hello = node.container("hello").image(&image).args([name]).run();
        assert_eq!(hello.stdout, "hello from wasm\n", "{name}: {hello:?}");
    }
}

fn a_go_program_has_arguments_files_streams_and_a_directory(node: &Node) {
    let image = guests::kitchen().workdir("/work").file("/work/file", "in the image").env(["COLOUR=blue"]);
    let run = |args: &[&str], stdin: &str| {
        let all = ["/kitchen.wasm"].iter().chain(args).copied().collect::<Vec<_>>();
        node.container("kitchen").image(&image).args(all).stdin(stdin).to_its_end()
    };
    assert_eq!(run(&["args", "a", "b c"], "").stdout, "/kitchen.wasm\nargs\na\nb c\n");
    assert_eq!(run(&["env", "COLOUR"], "").stdout, "blue\n");
    assert_eq!(run(&["cwd"], "").stdout, "/work\n");
    assert_eq!(run(&["read", "file"], "").stdout, "in the image");
    assert_eq!(run(&["read", "/work/file"], "").stdout, "in the image");
    let copied = run(&["stdin"], "some text");
    assert_eq!(copied.stdout, "9\nsome text", "{copied:?}");
    assert_eq!(run(&["stderr", "a complaint"], "").stderr, "a complaint\n");
    assert_eq!(run(&["exit", "42"], "").code, 42);
    let panicked = run(&["panic"], "");
    assert!(panicked.code == 2 && panicked.stderr.contains("panic: as asked"), "{panicked:?}");
}

fn what_a_go_program_does_with_files_is_what_comes_of_them(node: &Node) {
    let data = node.dir().join("data");
    fs::create_dir(&data).unwrap();
    let kitchen = |words: &[&str]| {
        let words: Vec<_> = ["/kitchen.wasm"].iter().chain(words).copied().collect();
        node.container("files").image(&guests::kitchen()).args(words).bind(&data, "/data", ["rbind", "rw"]).run()
    };
    let files = kitchen(&["files", "/data"]);
    let expected = "truncated: 0\nappended: one,two,three\nlink: 1\nlink renamed over: 2\nfile renamed over: 2\n\
                    folder: moved\nnot empty: true\nremoved: 2000 true\n";
    assert_eq!((files.code, files.stdout.as_str()), (0, expected), "{files:?}");
    assert!(!data.join("folder").exists() && !data.join("elsewhere").exists());
    assert!(kitchen(&["ls", "/"]).stdout.contains("data\n"), "the root directory");
    assert_eq!(kitchen(&["write", "/new", "text"]).stderr, "");
}

fn a_c_program_has_arguments_files_streams_and_memory(node: &Node) {
    let image =
        guests::of("kitchen-c", guests::c("kitchen")).file("/work/file", "in the image").dir("/tmp", 0o777, 0, 0);
    let run = |args: &[&str], stdin: &str| {
        let all = [&["/kitchen-c.wasm"], args].concat();
        node.container("kitchen").image(&image).args(all).stdin(stdin).to_its_end()
    };
    assert_eq!(run(&["args", "a", "b c"], "").stdout, "/kitchen-c.wasm\nargs\na\nb c\n");
    assert_eq!(run(&["read", "/work/file"], "").stdout, "in the image");
    assert_eq!(run(&["ls", "/work"], "").stdout, "file\n");
    assert_eq!(run(&["write", "/tmp/new", "text"], "").code, 0);
    assert_eq!(run(&["cat"], "some text").stdout, "some text");
    assert_eq!(run(&["stderr", "a complaint"], "").stderr, "a complaint\n");
    assert_eq!(run(&["exit", "42"], "").code, 42);
    assert_eq!(run(&["abort"], "").code, 134);
    assert_eq!(run(&["hoard", "64"], "").stdout, "64 MiB\n");
}

fn default_devices_work_and_others_are_not_there(node: &Node) {
    let read =
        |path: &str| node.container("kitchen").image(&guests::kitchen()).args(["/kitchen.wasm", "read", path]).run();
    assert_eq!((read("/dev/null").code, read("/dev/null").stdout.as_str()), (0, ""));
    let listed = node.container("kitchen").image(&guests::kitchen()).args(["/kitchen.wasm", "ls", "/dev"]).run().stdout;
    let names: Vec<_> = listed.lines().collect();
    for wanted in ["full", "null", "random", "urandom", "zero"] {
        assert!(names.contains(&wanted), "{wanted} is missing: {names:?}");
    }
    for unwanted in ["mem", "kmsg", "vda", "kvm"] {
        assert!(!names.contains(&unwanted), "{unwanted} is there: {names:?}");
    }
}

fn a_trap_is_134_with_a_backtrace_on_stderr(node: &Node) {
    let trap = node.container("trap").image(&wasm("trap")).run();
    assert_eq!((trap.code, trap.stdout.as_str()), (134, "about to trap\n"));
    // The engines' own words: "wasm `unreachable` instruction executed", "unreachable".
    for wanted in ["wasm trap: ", "unreachable", "inner", "outer"] {
        assert!(trap.stderr.contains(wanted), "{wanted} is missing:\n{}", trap.stderr);
    }
    let inner = trap.stderr.find("inner").unwrap();
    assert!(inner < trap.stderr.find("outer").unwrap(), "the innermost frame comes first:\n{}", trap.stderr);
}
