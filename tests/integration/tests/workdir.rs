//! The working directory of a container and of an exec, on both engines as under runc: made if the image lacks it, and named if it cannot
//! be entered.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use catamaran_harness::{Engine, Image, Node, Runtime, guests, procfs};
use catamaran_integration::everywhere;
use serde_json::json;

const SOON: Duration = Duration::from_secs(20);

/// An image with `sleep`, and with folders for a working directory.
fn image(runtime: Runtime) -> Image {
    guests::image(runtime, "sleep")
        .dir("/etc/there", 0o755, 0, 0)
        .dir("/closed", 0o700, 0, 0)
        .dir("/closed/there", 0o700, 0, 0)
        .file("/file", "a file")
        .link("/link", "/etc/there")
        .link("/up", "../../../../../../etc/there")
        .link("/dangling", "/nowhere/at/all")
        .link("/loop", "loop")
}

#[test]
fn a_working_directory_that_the_image_lacks_is_made_for_root() {
    everywhere(|node, runtime| {
        for (at, cwd, made) in [
            ("several-levels", "/new/deep/er", vec!["new", "new/deep", "new/deep/er"]),
            ("below-a-link", "/link/a/b", vec!["etc/there/a", "etc/there/a/b"]),
            ("below-a-link-that-goes-up", "/up/a", vec!["etc/there/a"]),
            ("not-straight", "/a/../b/./c/", vec!["a", "b", "b/c"]),
            ("in-a-closed-folder", "/closed/new", vec!["closed/new"]),
            ("in-a-volume", "/volume/a/b", vec!["volume/a", "volume/a/b"]),
            ("in-a-read-only-tmpfs", "/scratch/a", vec!["scratch/a"]),
        ] {
            for readonly in [false, true] {
                let order = node.container(at).image(&image(runtime)).cwd(cwd).user("1000:1000");
                let volume = node.folder(&format!("{at}-{readonly}"));
                let order = order.bind(&volume, "/volume", ["rbind", "rw"]).mount("tmpfs", "tmpfs", "/scratch", ["ro"]);
                let task = if readonly { order.read_only() } else { order }.spawn();
                task.expect_stdout("ready\n");
                for folder in &made {
                    let seen = fs::metadata(procfs::file(task.pid(), "root").join(folder)).unwrap();
                    let is = (seen.is_dir(), seen.mode() & 0o7777, seen.uid(), seen.gid());
                    assert_eq!(is, (true, 0o755, 0, 0), "{runtime:?}: {at}: {folder}");
                }
                // The exec's own working directory is the same one, and exists.
                let exec = task.further("again").args(["/sleep"]).spawn();
                exec.expect_stdout("ready\n");
                exec.try_kill(9).unwrap();
                exec.wait(SOON);
                exec.delete();
                task.discard();
            }
        }
    });
}

#[test]
fn a_working_directory_that_is_there_stays_as_it_is() {
    everywhere(|node, runtime| {
        // Root may enter it, but the user may not: a native program begins like this, too.
        let task = node.container("c").image(&image(runtime)).cwd("/closed/there").user("1000:1000").spawn();
        task.expect_stdout("ready\n");
        let seen = fs::metadata(procfs::file(task.pid(), "root/closed/there")).unwrap();
        assert_eq!((seen.mode() & 0o7777, seen.uid()), (0o700, 0), "{runtime:?}");
        task.discard();
    });
}

#[test]
fn a_working_directory_that_cannot_be_made_is_named() {
    everywhere(|node, runtime| {
        let volume = node.folder("volume");
        for (cwd, why) in [
            ("/file", "Not a directory"),
            ("/file/below", "Not a directory"),
            ("/link/../../file", "Not a directory"),
            ("/dangling", "a link on the way leads to what is not there"),
            ("/dangling/below", "a link on the way leads to what is not there"),
            ("/loop/below", "Too many levels of symbolic links"),
            ("/volume/new", "Read-only file system"),
        ] {
            let order = node.container("c").image(&image(runtime)).cwd(cwd).bind(&volume, "/volume", ["rbind", "ro"]);
            let refused = order.try_create().err().unwrap_or_else(|| panic!("{runtime:?}: {cwd}: it was created"));
            let named = format!("making the working directory {cwd:?} (workingDir, process.cwd): {why}");
            assert!(runtime == Runtime::Runc || refused.message.contains(&named), "{cwd}: {refused}");
        }
        assert_eq!(fs::read_dir(volume).unwrap().count(), 0);
    });
}

/// The runtime does not make it for an exec.
#[test]
fn an_exec_in_a_working_directory_that_is_missing_fails_with_its_name() {
    everywhere(|node, runtime| {
        let task = node.container("c").image(&image(runtime)).spawn();
        task.expect_stdout("ready\n");
        for (cwd, why) in [("/none/such", "No such file or directory"), ("/file", "Not a directory")] {
            let exec = task.further("e").args(["/sleep"]).process(|process| process["cwd"] = json!(cwd)).add();
            let refused = exec.try_start().expect_err(cwd);
            let named = format!("entering the working directory {cwd:?} (workingDir, process.cwd): {why}");
            assert!(runtime == Runtime::Runc || refused.message.contains(&named), "{cwd}: {refused}");
            exec.try_delete().unwrap();
        }
        assert!(!procfs::file(task.pid(), "root/none").exists(), "{runtime:?}");
        task.discard();
    });
}

/// The promise in README.md.
#[test]
fn go_and_wasix_programs_start_in_the_working_directory_and_c_programs_of_preview_1_in_the_root() {
    let native = |program: Vec<u8>| (program, Runtime::Runc, Engine::Wasmtime);
    let wasm = |program: Vec<u8>, engine| (program, Runtime::Catamaran, engine);
    let node = Node::start();
    for (name, (program, runtime, engine), here) in [
        ("native-go", native(guests::go_native("kitchen")), true),
        ("native-c", native(guests::native("kitchen")), true),
        ("go", wasm(guests::go("kitchen"), Engine::Wasmtime), true),
        ("go-on-wasmer", wasm(guests::go("kitchen"), Engine::Wasmer), true),
        ("wasix", wasm(guests::wasix("kitchen"), Engine::Wasmer), true),
        ("c", wasm(guests::c("kitchen"), Engine::Wasmtime), false),
        ("c-on-wasmer", wasm(guests::c("kitchen"), Engine::Wasmer), false),
    ] {
        let image = Image::new(name).file_as("/kitchen", program, 0o755, 0, 0);
        let order = node.container(name).image(&image).runtime(runtime).cwd("/new/deep");
        let order = if runtime == Runtime::Catamaran { order.engine(engine) } else { order };
        let listed = order.args(["/kitchen", "ls", "."]).to_its_end();
        let expected = if here { listed.stdout.is_empty() } else { listed.stdout.contains("kitchen\n") };
        assert!(listed.code == 0 && expected, "{name}: {listed:?}");
    }
    node.finish();
}
