//! `/dev/stdin`, `/dev/stdout`, `/dev/stderr` and `/dev/fd`: on both engines as under runc, where they are links into a procfs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use catamaran_harness::{Container, Image, Node, Output};
use catamaran_integration::builds::Build;

/// An order for `streams.c`, in an image whose logs are links to the streams, as in many web servers' images.
fn order<'n>(node: &'n Node, build: Build, steps: &[&str]) -> Container<'n> {
    let image = Image::new(&format!("streams-{build:?}").to_lowercase())
        .file_as("/streams", build.program("streams"), 0o755, 0, 0)
        .link("/var/log/access.log", "/dev/stdout")
        .link("/var/log/error.log", "../../dev/stderr")
        .link("/var/log/self.log", "/proc/self/fd/1")
        .dir("/tmp", 0o1777, 0, 0);
    build.chosen(node.container("streams").image(&image).args([&["/streams"], steps].concat()))
}

fn run(node: &Node, build: Build, steps: &[&str], input: &str) -> Output {
    let task = order(node, build, steps).hold_stdin().spawn();
    task.write(input);
    task.close_stdin();
    task.wait(std::time::Duration::from_secs(30));
    task.delete()
}

/// Checks that the steps have the same outcome and output as natively.
fn as_natively(steps: &[&str], input: &str, builds: &[Build]) {
    let node = Node::start();
    let native = run(&node, Build::Native, steps, input);
    assert_eq!(native.code, 0, "{native:?}");
    for build in builds {
        let wasm = run(&node, *build, steps, input);
        assert_eq!(
            (wasm.code, &wasm.stdout, &wasm.stderr),
            (native.code, &native.stdout, &native.stderr),
            "{build:?}, and natively"
        );
    }
    node.finish();
}

#[test]
fn writing_to_dev_stdout_reaches_the_stream() {
    let steps = [
        "a/dev/stdout",
        "a/dev/stderr",
        "w/dev/stdout",
        "w/dev/fd/1",
        "w/dev/fd/2",
        "w/proc/self/fd/1",
        "a/var/log/access.log",
        "a/var/log/error.log",
        "w/var/log/self.log",
    ];
    as_natively(&steps, "", &Build::WASM);
}

#[test]
fn reading_dev_stdin_reads_the_input() {
    as_natively(&["r/dev/stdin"], "a line\n", &Build::WASM);
    as_natively(&["r/dev/fd/0"], "a line\n", &Build::WASM);
}

#[test]
fn stream_names_look_as_they_do_to_a_native_program() {
    let steps = [
        "s/dev/stdout",
        "s/dev/stdin",
        "s/dev/fd/2",
        "s/var/log/access.log",
        "s/dev/fd/44",
        "w/dev/fd/44",
        "x/dev/stdout",
        "d/dev/stdout",
        "d/dev/fd/1",
        "k/dev/stdin",
        "k/dev/stdout",
        "k/dev/stderr",
        "k/dev/fd",
    ];
    as_natively(&steps, "", &Build::WASM);
}

#[test]
fn a_stream_name_cannot_be_seeked() {
    as_natively(&["p/dev/stdout"], "", &[Build::Module, Build::OnWasmer, Build::Wasix]);
}

/// A component's descriptors belong to its C library, and the host does not know them.
#[test]
fn stream_names_are_the_guests_own_descriptors() {
    let builds = [Build::Module, Build::OnWasmer, Build::Wasix];
    as_natively(&["5/tmp/file", ">/tmp/other"], "", &builds);
    as_natively(&["c"], "", &builds);
}

/// A stream that was opened by its name has no position: wasmtime-wasi reads and writes at one.
#[test]
fn a_fifo_is_written_and_read() {
    let node = Node::start();
    let volume = node.folder("fifo");
    let fifo = volume.join("fifo");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    for build in [Build::Native, Build::Module, Build::Component, Build::OnWasmer, Build::Wasix] {
        let output = order(&node, build, &["f/data/fifo"]).bind(&volume, "/data", ["rbind", "rw"]).to_its_end();
        assert_eq!((output.code, output.stderr.as_str()), (0, "f/data/fifo: ok\n"), "{build:?}");
    }
    node.finish();
}

#[test]
fn a_folder_of_devices_shows_them() {
    let node = Node::start();
    for build in Build::WASM {
        let listed = run(&node, build, &["l/dev"], "").stderr;
        let mut names: Vec<&str> = listed.lines().collect();
        names.sort_unstable();
        for wanted in
            ["fd link", "full", "null", "random", "stderr link", "stdin link", "stdout link", "urandom", "zero"]
        {
            assert!(names.contains(&wanted), "{build:?}: {wanted} is missing: {names:?}");
        }
    }
    node.finish();
}

/// No other name below a procfs exists.
#[test]
fn no_other_name_of_a_procfs_exists() {
    let node = Node::start();
    for build in Build::WASM {
        let steps = ["s/proc/self", "s/proc/self/mem", "r/proc/self/exe", "w/proc/self/mem", "r/proc/self/fd/0/x"];
        let said = run(&node, build, &steps, "").stderr;
        assert!(said.lines().count() == 5 && !said.contains(": ok"), "{build:?}: {said}");
    }
    node.finish();
}
