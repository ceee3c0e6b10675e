//! `/dev/stdin`, `/dev/stdout`, `/dev/stderr` and `/dev/fd`: on both engines as under runc, where they are links into a procfs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use catamaran_harness::{Container, Engine, Image, Node, Output, Runtime, guests};
use catamaran_integration::adapted;

/// The program that opens them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Native,
    /// Preview 1 on Wasmtime.
    Module,
    Component,
    /// Preview 1 on Wasmer.
    OnWasmer,
    Wasix,
}

const WASM: [Who; 4] = [Who::Module, Who::Component, Who::OnWasmer, Who::Wasix];

/// An order for `streams.c`, in an image whose logs are links to the streams, as in many web servers' images.
fn order<'n>(node: &'n Node, who: Who, steps: &[&str]) -> Container<'n> {
    let (program, runtime, engine) = match who {
        Who::Native => (guests::native("streams"), Runtime::Runc, Engine::Wasmtime),
        Who::Module => (guests::c("streams"), Runtime::Catamaran, Engine::Wasmtime),
        Who::Component => (adapted(&guests::c("streams")), Runtime::Catamaran, Engine::Wasmtime),
        Who::OnWasmer => (guests::c("streams"), Runtime::Catamaran, Engine::Wasmer),
        Who::Wasix => (guests::wasix("streams"), Runtime::Catamaran, Engine::Wasmer),
    };
    let image = Image::new(&format!("streams-{who:?}").to_lowercase())
        .file_as("/streams", program, 0o755, 0, 0)
        .link("/var/log/access.log", "/dev/stdout")
        .link("/var/log/error.log", "../../dev/stderr")
        .link("/var/log/self.log", "/proc/self/fd/1")
        .dir("/tmp", 0o1777, 0, 0);
    let order = node.container("streams").image(&image).runtime(runtime).args([&["/streams"], steps].concat());
    if runtime == Runtime::Catamaran { order.engine(engine) } else { order }
}

fn run(node: &Node, who: Who, steps: &[&str], input: &str) -> Output {
    let task = order(node, who, steps).hold_stdin().spawn();
    task.write(input);
    task.close_stdin();
    task.wait(std::time::Duration::from_secs(30));
    task.delete()
}

/// Checks that the steps have the same outcome and output as natively.
fn as_natively(steps: &[&str], input: &str, whos: &[Who]) {
    let node = Node::start();
    let native = run(&node, Who::Native, steps, input);
    assert_eq!(native.code, 0, "{native:?}");
    for who in whos {
        let wasm = run(&node, *who, steps, input);
        assert_eq!(
            (wasm.code, &wasm.stdout, &wasm.stderr),
            (native.code, &native.stdout, &native.stderr),
            "{who:?}, and natively"
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
    as_natively(&steps, "", &WASM);
}

#[test]
fn reading_dev_stdin_reads_the_input() {
    as_natively(&["r/dev/stdin"], "a line\n", &WASM);
    as_natively(&["r/dev/fd/0"], "a line\n", &WASM);
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
    as_natively(&steps, "", &WASM);
}

#[test]
fn a_stream_name_cannot_be_seeked() {
    as_natively(&["p/dev/stdout"], "", &[Who::Module, Who::OnWasmer, Who::Wasix]);
}

/// A component's descriptors belong to its C library, and the host does not know them.
#[test]
fn stream_names_are_the_guests_own_descriptors() {
    let whos = [Who::Module, Who::OnWasmer, Who::Wasix];
    as_natively(&["5/tmp/file", ">/tmp/other"], "", &whos);
    as_natively(&["c"], "", &whos);
}

/// A stream that was opened by its name has no position: wasmtime-wasi reads and writes at one.
#[test]
fn a_fifo_is_written_and_read() {
    let node = Node::start();
    let volume = node.folder("fifo");
    let fifo = volume.join("fifo");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    for who in [Who::Native, Who::Module, Who::Component, Who::OnWasmer, Who::Wasix] {
        let output = order(&node, who, &["f/data/fifo"]).bind(&volume, "/data", ["rbind", "rw"]).to_its_end();
        assert_eq!((output.code, output.stderr.as_str()), (0, "f/data/fifo: ok\n"), "{who:?}");
    }
    node.finish();
}

#[test]
fn a_folder_of_devices_shows_them() {
    let node = Node::start();
    for who in WASM {
        let listed = run(&node, who, &["l/dev"], "").stderr;
        let mut names: Vec<&str> = listed.lines().collect();
        names.sort_unstable();
        for wanted in
            ["fd link", "full", "null", "random", "stderr link", "stdin link", "stdout link", "urandom", "zero"]
        {
            assert!(names.contains(&wanted), "{who:?}: {wanted} is missing: {names:?}");
        }
    }
    node.finish();
}

/// No other name below a procfs exists.
#[test]
fn no_other_name_of_a_procfs_exists() {
    let node = Node::start();
    for who in WASM {
        let steps = ["s/proc/self", "s/proc/self/mem", "r/proc/self/exe", "w/proc/self/mem", "r/proc/self/fd/0/x"];
        let said = run(&node, who, &steps, "").stderr;
        assert!(said.lines().count() == 5 && !said.contains(": ok"), "{who:?}: {said}");
    }
    node.finish();
}
