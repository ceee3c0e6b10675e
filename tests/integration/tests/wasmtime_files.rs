//! Rare uses of files on Wasmtime: folders that are synced, names that are no text or end in a slash, FIFOs. A module and a component get
//! the same answers as the native program.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use catamaran_harness::{Code, Container, Image, Node, Output};
use catamaran_integration::builds::Build;
use rustix::fs::{CWD, FileType, Mode, mknodat};

/// A folder for the guest, with files that it cannot make itself.
fn data(node: &Node) -> PathBuf {
    let data = node.folder("data");
    fs::remove_dir_all(&data).ok();
    fs::create_dir_all(data.join("work/mixed")).unwrap();
    fs::set_permissions(data.join("work"), fs::Permissions::from_mode(0o777)).unwrap();
    for name in [b"one".as_slice(), b"tw\xff", "drei\u{e9}".as_bytes(), b"\xc3("] {
        fs::write(data.join("work/mixed").join(OsStr::from_bytes(name)), "").unwrap();
    }
    mknodat(CWD, data.join("work/fifo"), FileType::Fifo, Mode::from_raw_mode(0o666), 0).unwrap();
    fs::create_dir_all(data.join("ro/folder")).unwrap();
    fs::write(data.join("ro/file"), "text").unwrap();
    data
}

fn order<'n>(node: &'n Node, data: &Path, build: Build, program: &str, words: &[&str]) -> Container<'n> {
    let image = Image::new(&format!("{program}-{build:?}").to_lowercase())
        .file_as("/program", build.program(program), 0o755, 0, 0)
        .dir("/run", 0o755, 0, 0)
        .dir("/var", 0o755, 0, 0)
        .link("/var/run", "../run");
    build
        .chosen(node.container(program))
        .image(&image)
        .args([&["/program"], words].concat())
        .bind(&data.join("work"), "/data", ["rbind", "rw"])
        .bind(&data.join("ro"), "/ro", ["rbind", "ro"])
}

/// The exit code: a component can only report that it failed.
fn end(build: Build) -> u8 {
    if build == Build::Component { 1 } else { 3 }
}

fn said(node: &Node, build: Build, program: &str, words: &[&str]) -> Output {
    let data = data(node);
    let output = order(node, &data, build, program, words).limit(Duration::from_secs(30)).to_its_end();
    assert_eq!(
        (output.code, output.stderr.as_str()),
        (end(build).into(), ""),
        "{build:?} {words:?}: {}",
        output.stdout
    );
    output
}

/// Checks that each prints what the native program prints, except in the lines that begin like this, whose rest is given.
fn as_natively(program: &str, words: &[&str], all: &[(Build, &[(&str, &str)])]) {
    let node = Node::start();
    let native = said(&node, Build::Native, program, words).stdout;
    assert!(native.lines().count() > 10 && native.contains(": 0\n") | native.contains(": ok\n"), "{native}");
    for (build, others) in all {
        let ours = said(&node, *build, program, words).stdout;
        let expected: Vec<_> = native.lines().map(|line| expected(line, others)).collect();
        let wrong: Vec<_> = expected.iter().zip(ours.lines()).filter(|(native, ours)| native != ours).collect();
        assert!(wrong.is_empty(), "natively, and {build:?}:\n{wrong:#?}");
        assert_eq!(ours.lines().count(), expected.len(), "{build:?}: {ours}");
    }
    node.finish();
}

fn expected(native: &str, others: &[(&str, &str)]) -> String {
    match others.iter().find(|(begin, _)| native.starts_with(begin)) {
        Some((begin, rest)) => format!("{begin}{rest}"),
        None => native.to_owned(),
    }
}

/// The last step of a program that replaces a file durably.
#[test]
fn a_module_syncs_folders_files_and_streams_as_a_native_program() {
    as_natively("unusual", &["sync"], &[(Build::Module, &[])]);
}

#[test]
fn a_module_can_use_file_names_that_are_not_utf_8() {
    as_natively("unusual", &["foreign"], &[(Build::Module, &[])]);
}

/// A component's names are UTF-8: it does not see others.
#[test]
fn a_name_that_is_not_utf_8_makes_no_folder_unreadable() {
    let node = Node::start();
    let (native, module) =
        (said(&node, Build::Native, "unusual", &["listed"]), said(&node, Build::Module, "unusual", &["listed"]));
    assert_eq!(native.stdout, "readdir: 4\n drei\\c3\\a9\n one\n tw\\ff\n \\c3(\n");
    assert_eq!(module.stdout, native.stdout);
    let component = said(&node, Build::Component, "unusual", &["listed"]);
    assert_eq!(component.stdout, "readdir: 2\n drei\\c3\\a9\n one\n");
    node.finish();
}

/// wasmtime-wasi uses only the first of several buffers.
#[test]
fn a_module_reads_and_writes_all_of_several_buffers() {
    as_natively("vectors", &[], &[(Build::Module, &[])]);
}

/// wasmtime-wasi sets none aside.
#[test]
fn a_module_sets_room_aside_for_a_file() {
    as_natively("room", &[], &[(Build::Module, &[])]);
}

#[test]
fn a_module_opens_fifos_without_waiting() {
    as_natively("unusual", &["fifo"], &[(Build::Module, &[])]);
}

/// An open that waits for a FIFO's other end.
#[test]
fn a_guest_that_opens_a_fifo_can_be_ended() {
    let node = Node::start();
    for build in [Build::Module, Build::Component] {
        let data = data(&node);
        let task = order(&node, &data, build, "unusual", &["fifo-waits"]).spawn();
        task.expect_stdout("opens\n");
        assert_eq!(task.try_wait(Duration::from_millis(300)).unwrap_err().code, Code::DeadlineExceeded, "{build:?}");
        task.kill("TERM");
        assert_eq!(task.wait(Duration::from_secs(5)).code, 143, "{build:?}");
        task.delete();
        // The other end comes.
        let task = order(&node, &data, build, "unusual", &["fifo-waits"]).spawn();
        task.expect_stdout("opens\n");
        drop(fs::OpenOptions::new().write(true).open(data.join("work/fifo")).unwrap());
        assert_eq!(task.wait(Duration::from_secs(5)).code, u32::from(end(build)), "{build:?}");
        assert_eq!(task.delete().stdout, "opens\nopen(\"fifo\", O_RDONLY): 0\n", "{build:?}");
    }
    node.finish();
}

#[test]
fn files_of_a_read_only_mount_are_not_emptied() {
    as_natively("unusual", &["emptied"], &[(Build::Module, &[]), (Build::Component, &[])]);
}

/// A name that ends in a slash, below a link and of an open folder, beside the same program as a native one.
#[test]
fn names_with_slashes_are_made_moved_and_removed_as_in_the_kernel() {
    // An open folder gives access only to what is below it.
    let others: &[(&str, &str)] = &[("fstatat(folder, \"../z/k\", &is, 0): ", "EPERM")];
    as_natively("names", &[], &[(Build::Module, others), (Build::Component, others)]);
}
