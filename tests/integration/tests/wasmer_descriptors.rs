//! Open files on Wasmer: the answers about descriptors, beside the same program as a native one.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use std::fs;
use std::path::Path;

use catamaran_harness::{Container, Engine, Image, Node, Output, Runtime, guests};
use rustix::fs::{CWD, FileType, Mode, mknodat};

/// Runs a program in a folder of the host that contains only a pipe called `fifo`.
fn said(folder: &Path, order: Container<'_>, name: &str, program: &[u8]) -> Output {
    fs::remove_dir_all(folder).ok();
    fs::create_dir(folder).unwrap();
    mknodat(CWD, folder.join("fifo"), FileType::Fifo, Mode::from_raw_mode(0o666), 0).unwrap();
    let image = Image::new(name).file_as("/program", program, 0o755, 0, 0).entrypoint(["/program"]);
    order.image(&image).bind(folder, "/data", ["rbind", "rw"]).to_its_end()
}

/// Checks that a C program prints the same on Wasmer, for preview 1 and for WASIX, as under runc. Skips lines with one of these words for
/// preview 1.
fn same(program: &str, without: &[&str]) {
    let node = Node::start();
    let folder = node.folder("data");
    let native = said(&folder, node.container("native").runtime(Runtime::Runc), "native", &guests::native(program));
    assert_eq!((native.code, native.stderr.as_str()), (3, ""), "{native:?}");
    let mut differences = Vec::new();
    for (name, module) in [("wasi", guests::c(program)), ("wasix", guests::wasix(program))] {
        let ours = said(&folder, node.container(name).engine(Engine::Wasmer), name, &module);
        let is_asked = |line: &&str| name == "wasix" || !without.iter().any(|word| line.contains(word));
        let expected: Vec<_> = native.stdout.lines().filter(is_asked).collect();
        let lines = expected.iter().zip(ours.stdout.lines()).filter(|(native, ours)| *native != ours);
        differences.extend(lines.map(|(native, ours)| format!("natively {native}, for {name} {ours}")));
        assert_eq!((ours.stdout.lines().count(), ours.code), (expected.len(), 3), "{name}: {ours:?}");
    }
    assert!(differences.is_empty(), "{differences:#?}");
    node.finish();
}

/// wasmer-wasix has rights in place of modes, keeps a file's metadata from its opening, and syncs no folder.
#[test]
fn descriptors_answer_as_the_kernels_do() {
    // Preview 1 has no pipes and makes no sockets.
    same("descriptors", &["ends[", "(one"]);
}

/// wasmer-wasix hid the connected peer of a datagram socket, and an accepted socket did not wait if its listener did not.
#[test]
fn sockets_answer_as_the_kernels_do() {
    let node = Node::start();
    let image =
        |name: &str, program| Image::new(name).file_as("/sockets", program, 0o755, 0, 0).entrypoint(["/sockets"]);
    let native = image("sockets-native", guests::native("sockets"));
    let native = node.container("native").runtime(Runtime::Runc).image(&native).to_its_end();
    let wasix = image("sockets-wasix", guests::wasix("sockets"));
    let wasix = node.container("wasix").engine(Engine::Wasmer).image(&wasix).to_its_end();
    assert_eq!((native.code, native.stderr.as_str()), (3, ""), "{native:?}");
    let other: Vec<_> =
        native.stdout.lines().zip(wasix.stdout.lines()).filter(|(native, ours)| native != ours).collect();
    assert!(other.is_empty(), "the native answer first: {other:#?}");
    assert_eq!((wasix.stdout.lines().count(), wasix.code), (native.stdout.lines().count(), 3), "{wasix:?}");
    node.finish();
}

#[test]
fn several_buffers_are_read_and_written_in_one_call() {
    same("vectors", &[]);
}

/// wasmer-wasix accepts no other names.
#[test]
fn file_names_that_are_not_utf_8_work() {
    same("bytes", &[]);
}

/// wasmer-wasix opens each pipe for reading and writing, so that none ever ends, or is missed by its other end.
#[test]
fn a_fifo_is_opened_for_reading_or_writing_without_waiting() {
    same("fifo", &[]);
}

#[test]
fn a_write_that_nobody_reads_ends_the_guest_as_sigpipe_does() {
    let node = Node::start();
    let image = guests::of("broken", guests::wasix("broken"));
    for (how, code, said) in
        [("default", 128 + 13, ""), ("ignored", 3, "EPIPE\n"), ("handled", 3, "signal 13\nEPIPE\n")]
    {
        let output = node.container(how).image(&image).args(["/broken.wasm", how]).to_its_end();
        assert_eq!((output.code, output.stdout.as_str(), output.stderr.as_str()), (code, said, ""), "{how}");
    }
    node.finish();
}
