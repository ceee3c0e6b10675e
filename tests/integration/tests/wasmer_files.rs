//! Files on Wasmer: the guest's answers and the true state, beside the same program as a native one.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::time::Duration;

use catamaran_harness::{Container, Engine, Image, Node, Runtime, guests};
use serde_json::json;

/// The times that `errors` sets, in seconds: read, written.
const TIMES: (i64, i64) = (1_000_000_000, 1_100_000_000);
const LONG: usize = 300;

/// An image with `errors` and files that cause errors.
fn errors(name: &str, program: &[u8]) -> Image {
    Image::new(name)
        .file_as("/errors", program, 0o755, 0, 0)
        .dir("/work", 0o777, 0, 0)
        .dir("/closed", 0o700, 0, 0)
        .file("/closed/file", "closed")
        .file("/foreign", "root's")
        .link("/loop", "loop")
}

/// Takes the steps as a user without rights over others' files, with a small `/other`, a read-only `/ro` and `/data`, the host's folder.
fn expect_answers(order: Container<'_>, image: &Image, folder: &Path) {
    let (steps, expected): (Vec<String>, Vec<&str>) = steps().into_iter().unzip();
    fs::remove_dir_all(folder).ok();
    for name in ["ro", "ro/folder", "data"] {
        fs::create_dir_all(folder.join(name)).unwrap();
        fs::set_permissions(folder.join(name), fs::Permissions::from_mode(0o777)).unwrap();
    }
    for name in ["ro/file", "data/file", "data/other"] {
        fs::write(folder.join(name), name).unwrap();
        std::os::unix::fs::chown(folder.join(name), Some(1000), Some(1000)).unwrap();
    }
    for (target, link) in [("other", "data/link"), ("nowhere", "data/dangling")] {
        symlink(target, folder.join(link)).unwrap();
        // A user may link only to files of his own, if the kernel protects links.
        std::os::unix::fs::lchown(folder.join(link), Some(1000), Some(1000)).unwrap();
    }
    let output = order
        .image(image)
        .args(["/errors".to_owned()].iter().chain(&steps))
        .user("1000:1000")
        .cwd("/work")
        .bind(&folder.join("data"), "/data", ["rbind", "rw"])
        .bind(&folder.join("ro"), "/ro", ["rbind", "ro"])
        .mount("tmpfs", "tmpfs", "/other", ["size=1m", "mode=1777"])
        .spec(|spec| spec["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "hard": 64, "soft": 64}]))
        .to_its_end();
    assert_eq!((output.code, output.stdout.lines().count()), (0, steps.len()), "{output:?}");
    for ((step, expected), said) in steps.iter().zip(expected).zip(output.stdout.lines()) {
        assert_eq!(said, format!("{} {expected}", &step[..1]), "{}: {step:.30}", image.name());
    }
}

fn steps() -> Vec<(String, &'static str)> {
    let long = "x".repeat(LONG);
    let ok = "ok";
    let named = [
        (format!("r/work/{long}"), "ENAMETOOLONG"),
        (format!("w/work/{long}"), "ENAMETOOLONG"),
        (format!("d/work/{long}"), "ENAMETOOLONG"),
        (format!("S/work/{long}"), "ENAMETOOLONG"),
        (format!("m/data/file|/data/{long}"), "ENAMETOOLONG"),
    ];
    let steps = [
        ("w/ro/new", "EROFS"),
        ("o/ro/file", "EROFS"),
        ("d/ro/new", "EROFS"),
        ("u/ro/file", "EROFS"),
        ("D/ro/folder", "EROFS"),
        ("m/ro/file|/ro/new", "EROFS"),
        ("sx|/ro/new", "EROFS"),
        ("l/ro/file|/ro/new", "EROFS"),
        ("t/ro/file", "EROFS"),
        ("T/ro/file", "EROFS"),
        ("F/ro/file", "EROFS"),
        ("t/ro/folder", "EROFS"),
        ("F/ro/folder", "EROFS"),
        ("m/data/file|/other/file", "EXDEV"),
        ("l/data/file|/other/file", "EXDEV"),
        ("l/ro/file|/data/new", "EXDEV"),
        ("r/loop", "ELOOP"),
        ("w/loop", "ELOOP"),
        ("S/loop", "ELOOP"),
        ("t/loop", "ELOOP"),
        ("r/closed/file", "EACCES"),
        ("w/closed/new", "EACCES"),
        ("S/closed/file", "EACCES"),
        ("t/closed/file", "EACCES"),
        ("d/closed/new", "EACCES"),
        ("l/closed/file|/data/new", "EACCES"),
        ("o/foreign", "EACCES"),
        ("t/foreign", "EPERM"),
        ("S/nowhere", "ENOENT"),
        ("t/nowhere", "ENOENT"),
        ("l/nowhere|/data/new", "ENOENT"),
        ("l/data/file|/data/nowhere/new", "ENOENT"),
        ("w/data/file/new", "ENOTDIR"),
        ("l/data/file|/data/file/new", "ENOTDIR"),
        ("D/data/file", "ENOTDIR"),
        ("d/work/folder", ok),
        ("u/work/folder", "EISDIR"),
        ("w/work/folder", "EISDIR"),
        ("d/work/folder", "EEXIST"),
        ("l/work/folder|/work/folder-2", "EPERM"),
        ("x/data/file", "EEXIST"),
        ("l/data/file|/data/hard", ok),
        ("l/data/file|/data/hard", "EEXIST"),
        ("l/data/link|/data/hard-link", ok),
        ("x/data/hard", "EEXIST"),
        ("m/data/dangling|/data/moved", ok),
        ("m/data/link|/data/moved", ok),
        ("S/data/moved", ok),
        ("S/data/dangling", "ENOENT"),
        ("t/data/hard", ok),
        ("F/data/other", ok),
        ("d/data/folder", ok),
        ("F/data/folder", ok),
        ("d/data/folder-2", ok),
        ("t/data/folder-2", ok),
        ("f/other/full", "ENOSPC"),
        ("f/other/more", "ENOSPC"),
        // Last, because it leaves no descriptor for the other steps.
        ("n/data/file", "EMFILE"),
    ];
    named.into_iter().chain(steps.map(|(step, answer)| (step.to_owned(), answer))).collect()
}

#[test]
fn errors_of_the_kernel_reach_the_guest() {
    let node = Node::start();
    let folder = node.folder("errors");
    let runc = node.container("native").runtime(Runtime::Runc);
    expect_answers(runc, &errors("errors-native", &guests::native("errors")), &folder);
    for (name, module) in [("errors-wasi", guests::c("errors")), ("errors-wasix", guests::wasix("errors"))] {
        let order = node.container(name).engine(Engine::Wasmer);
        expect_answers(order, &errors(name, &module), &folder);
        let data = folder.join("data");
        let of = |name: &str| fs::symlink_metadata(data.join(name)).unwrap();
        let (file, hard) = (of("file"), of("hard"));
        assert_eq!((hard.ino(), hard.nlink()), (file.ino(), 2), "{name}");
        assert_eq!(fs::read_link(data.join("hard-link")).unwrap(), Path::new("other"), "{name}");
        assert_eq!(fs::read_link(data.join("moved")).unwrap(), Path::new("other"), "{name}");
        for times in ["file", "other", "folder", "folder-2"] {
            assert_eq!((of(times).atime(), of(times).mtime()), TIMES, "{name}: {times}");
        }
        assert_eq!(fs::metadata(folder.join("ro/file")).unwrap().nlink(), 1, "{name}");
        assert!(fs::metadata(folder.join("ro/file")).unwrap().mtime() > TIMES.1, "{name}");
    }
    node.finish();
}

/// wasmer-wasix keeps what it has seen of files, and lists a folder anew for each part of it that is read.
#[test]
fn many_files_take_no_memory_and_no_descriptors() {
    let node = Node::start();
    let image = guests::of("churn", guests::wasix("churn"));
    for (kind, number) in [("files", "5000"), ("folders", "2000")] {
        let churn = node
            .container(kind)
            .image(&image)
            .args(["/churn.wasm", "/files", number, kind])
            .mount("tmpfs", "tmpfs", "/files", ["size=64m"])
            .memory(64 << 20)
            .spec(|spec| spec["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "hard": 32, "soft": 32}]))
            .limit(Duration::from_secs(120))
            .to_its_end();
        let expected = format!("none: 0\nmade: {number}\nrenamed: {number}\nremoved: 0\n");
        assert_eq!((churn.code, churn.stdout), (0, expected), "{}", churn.stderr);
    }
    node.finish();
}

/// mkdir succeeded too if another container had made the folder just before: a lock had two owners.
#[test]
fn only_one_of_two_containers_makes_a_folder() {
    const FOLDERS: usize = 4000;
    let node = Node::start();
    let data = node.folder("data");
    let image = guests::of("churn", guests::wasix("churn"));
    let order = |id: &str| {
        let words = ["/churn.wasm", "/data", &FOLDERS.to_string(), "locks"];
        node.container(id).image(&image).args(words).bind(&data, "/data", ["rbind", "rw"]).hold_stdin().spawn()
    };
    let tasks = ["one", "other"].map(order);
    tasks.iter().for_each(|task| task.expect_stdout("ready\n"));
    tasks.iter().for_each(|task| task.write("x"));
    let made = tasks.map(|task| {
        assert_eq!(task.wait(Duration::from_secs(60)).code, 0);
        let said = task.delete().stdout;
        said.lines().find_map(|line| line.strip_prefix("made: ")).unwrap().parse::<usize>().unwrap()
    });
    assert_eq!(made.iter().sum::<usize>(), FOLDERS, "{made:?}");
    node.finish();
}

/// wasmer-wasix remembered folders for as long as the guest ran, half a kilobyte each.
#[test]
fn the_memory_of_listed_folders_is_freed() {
    const FOLDERS: usize = 5_000;
    let node = Node::start();
    let data = node.folder("data");
    (0..FOLDERS).for_each(|n| fs::create_dir(data.join(format!("new-{n}"))).unwrap());
    let look = |id: &str, number: usize| {
        let task = node
            .container(id)
            .image(&guests::of("churn", guests::wasix("churn")))
            .args(["/churn.wasm", "/data", &number.to_string(), "seen"])
            .bind(&data, "/data", ["rbind", "ro"])
            .hold_stdin()
            .spawn();
        task.expect_stdout(&format!("seen: {}\n", 2 * number));
        let status = fs::read_to_string(format!("/proc/{}/status", task.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        task.close_stdin();
        task.wait(Duration::from_secs(10));
        assert_eq!(task.delete().code, 0);
        line.trim().trim_end_matches(" kB").parse::<usize>().unwrap()
    };
    let (few, many) = (look("few", 10), look("many", FOLDERS));
    assert!(many < few + 1250, "{many} kB after {FOLDERS} folders, {few} after ten");
    node.finish();
}

/// A part of a folder started after as many names as the guest had read, even if the guest had removed some of them.
#[test]
fn removing_files_while_reading_a_folder_misses_none() {
    let node = Node::start();
    let churn = node
        .container("churn")
        .image(&guests::of("churn", guests::wasix("churn")))
        .args(["/churn.wasm", "/files", "1000", "reading"])
        .mount("tmpfs", "tmpfs", "/files", ["size=64m"])
        .to_its_end();
    assert_eq!((churn.code, churn.stdout.as_str()), (0, "none: 0\nmade: 1000\nremoved: 0\n"), "{}", churn.stderr);
    node.finish();
}

/// wasmer-wasix ended the process if a name was below a link or ended in a slash; a file was moved all the same, or stayed.
#[test]
fn names_below_links_and_with_slashes_resolve_as_in_the_kernel() {
    let node = Node::start();
    let folder = node.folder("names");
    let said = |order: Container<'_>, name: &str, program: &[u8]| {
        fs::remove_dir_all(&folder).ok();
        fs::create_dir(&folder).unwrap();
        let image = Image::new(name)
            .file_as("/names", program, 0o755, 0, 0)
            .dir("/run", 0o755, 0, 0)
            .dir("/var", 0o755, 0, 0)
            .link("/var/run", "../run");
        order.image(&image).args(["/names"]).bind(&folder, "/data", ["rbind", "rw"]).to_its_end()
    };
    let native = said(node.container("native").runtime(Runtime::Runc), "names-native", &guests::native("names"));
    assert_eq!((native.code, native.stderr.as_str()), (3, ""), "{native:?}");
    for (name, module) in [("names-wasi", guests::c("names")), ("names-wasix", guests::wasix("names"))] {
        let ours = said(node.container(name).engine(Engine::Wasmer), name, &module);
        for (native, ours) in native.stdout.lines().zip(ours.stdout.lines()) {
            assert_eq!(ours, native, "{name}");
        }
        let lines = |text: &str| text.lines().count();
        assert_eq!((lines(&ours.stdout), ours.code), (lines(&native.stdout), 3), "{name}: {}", ours.stderr);
    }
    node.finish();
}
