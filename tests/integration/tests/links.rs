//! Links of an image, above all those to absolute paths, and the error numbers of files, on Wasmtime: the same as for a native container,
//! which the same program as an ELF under runc shows.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use std::fs;
use std::time::{Duration, Instant};

use catamaran_harness::{Container, Engine, Image, Node, Runtime, guests};
use catamaran_integration::adapted;

const USER: &str = "1000:1000";

/// A tree as in many images, for any of the programs.
fn tree(image: Image) -> Image {
    let folders = ["/srv", "/links", "/opt/lib", "/var"];
    let image = folders.iter().fold(image, |image, folder| image.dir(folder, 0o777, 1000, 1000));
    image
        .file("/srv/x", "in run")
        .file_as("/srv/mine", "mine", 0o644, 1000, 1000)
        .file("/opt/lib/real", "a library")
        .file("/etc/shadow", "the image's")
        .file_as("/etc/secret", "nobody's", 0o600, 0, 0)
        .link("/var/run", "/srv")
        .link("/usr/lib/x", "/opt/lib")
        .link("/usr/lib/y", "/usr/lib/x/real")
        .link("/links/new", "/srv/made")
        .link("/links/new-folder", "/srv/made-folder/")
        .link("/links/nowhere", "/gone/at/all")
        .link("/links/loop", "/links/loop")
        .link("/links/to", "/links/fro")
        .link("/links/fro", "../links/to")
        .link("/links/shadow", "/../../etc/shadow")
        .link("/links/up", "../../../../etc/shadow")
        .link("/links/secret", "/etc/secret")
        .link("/links/slash", "/srv/x/")
        .link("/links/root", "/")
        .link("/links/mine", "/srv/mine")
        .link("/links/ro", "/ro")
}

/// Runs it with a read-only volume, a file that is bound read-only, and a small file system of its own.
fn with_volumes<'n>(order: Container<'n>, node: &Node) -> Container<'n> {
    let volume = node.dir().join("ro");
    if !volume.exists() {
        fs::create_dir_all(volume.join("folder")).unwrap();
        fs::write(volume.join("file"), "read-only").unwrap();
        for path in [volume.clone(), volume.join("folder"), volume.join("file")] {
            std::os::unix::fs::chown(path, Some(1000), Some(1000)).unwrap();
        }
    }
    order
        .user(USER)
        .with_volume(&volume, "/ro", &["rbind", "ro"])
        .with_volume(&volume.join("file"), "/etc/bound", &["bind", "ro"])
        .with_mount("tmpfs", "tmpfs", "/scratch", &["size=64k", "mode=1777"])
        .spec(|spec| {
            spec["process"]["rlimits"] = serde_json::json!([{"type": "RLIMIT_NOFILE", "hard": 64, "soft": 64}]);
        })
}

/// The program that takes the steps of `links.c`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Native,
    Module,
    Component,
}

/// The outcome of the steps, a line each.
fn steps(node: &Node, who: Who, steps: &[&str]) -> Vec<String> {
    let (program, file, runtime) = match who {
        Who::Native => ("/native", guests::native("links"), Runtime::Runc),
        Who::Module => ("/links.wasm", guests::c("links"), Runtime::Catamaran),
        Who::Component => ("/links.wasm", adapted(&guests::c("links")), Runtime::Catamaran),
    };
    let image = tree(Image::new(&format!("links-{who:?}").to_lowercase())).file(program, file);
    let order = node.container("links").image(&image).runtime(runtime).args([&[program], steps].concat());
    let output = with_volumes(order, node).to_its_end();
    assert_eq!(output.code, 0, "{who:?}: {output:?}");
    output.stdout.lines().map(str::to_owned).collect()
}

/// Checks that the steps end on Wasmtime as natively, except those of `others`, which end as given there.
fn as_natively(node: &Node, who: Who, all: &[&str], others: &[(&str, &str)]) {
    let (native, wasm) = (steps(node, Who::Native, all), steps(node, who, all));
    let wrong: Vec<_> = native
        .iter()
        .zip(&wasm)
        .filter(|(native, wasm)| {
            let other = others.iter().find(|(step, _)| wasm.starts_with(&format!("{step}: ")));
            other.map_or(native != wasm, |(step, answer)| **wasm != format!("{step}: {answer}"))
        })
        .collect();
    assert!(wrong.is_empty(), "natively, and on Wasmtime:\n{wrong:#?}");
    assert_eq!((native.len(), wasm.len()), (all.len(), all.len()), "{native:#?} {wasm:#?}");
    assert!(native.iter().any(|line| line.ends_with(": ok") || line.ends_with('"')), "{native:#?}");
}

const FOLLOWED: &[&str] = &[
    "r/var/run/x",
    "s/var/run/x",
    "s/var/run",
    "s/var/run/",
    "s/var/run/.",
    "s/var/run/../etc",
    "l/var/run",
    "l/var/run/",
    "l/var/run/x",
    "k/var/run",
    "k/var/run/",
    "k/usr/lib/y",
    "k/links/up",
    "k/srv/x",
    "L/var/run",
    "D/var/run",
    "D/usr/lib/y",
    "r/usr/lib/x/real",
    "r/usr/lib/y",
    "r/usr/lib/x/../../srv/x",
    "s/usr/lib/y/",
    "s/links/root",
    "r/links/root/links/root/var/run/x",
    "r/links/slash",
    "s/links/slash",
    "n/var/run/x",
    "n/usr/lib/y",
    "n/var/run",
    // Steps that try to leave the tree stay in it.
    "r/links/shadow",
    "r/links/up",
    "s/links/up",
    "r/links/loop",
    "s/links/to",
    "l/links/loop",
    "r/links/nowhere",
    "s/links/nowhere",
    "r/links/secret",
    "s/links/secret",
    "r/var/run/missing",
    "s/var/run/x/y",
    "r/var/run/x/../x",
];

const CHANGED: &[&str] = &[
    "x/links/new",
    "s/srv/made",
    "w/links/new=through a link to nothing",
    "r/srv/made",
    "l/links/new",
    "x/links/mine",
    "w/links/mine=again",
    "r/srv/mine",
    "w/links/new-folder=no folder",
    "w/links/nowhere=nowhere",
    "d/links/new",
    "d/var/run/folder",
    "d/var/run/folder",
    "d/links/loop/x",
    "w/var/run/folder/file=text",
    "R/var/run/folder",
    "m/var/run/folder/file=/var/run/moved",
    "m/var/run/moved=/srv/moved2",
    "r/var/run/moved2",
    "R/var/run/folder/",
    "h/var/run/moved2=/var/run/hard",
    "r/srv/hard",
    "h/links/mine=/srv/hard-link",
    "l/srv/hard-link",
    "t/links/mine",
    "T/links/mine",
    "t/var/run/mine",
    "t/links/loop",
    "S/links/own=/srv/mine",
    "k/links/own",
    "r/links/own",
    "S/var/run/below=/opt/lib",
    "r/srv/below/real",
    "S/links/own=/elsewhere",
    "S/links/relative=../srv/mine",
    "r/links/relative",
    "R/var/run",
    "R/links/own/",
    "u/links/own/",
    "u/links/own",
    "r/srv/mine",
    "m/links/mine=/links/renamed",
    "k/links/renamed",
    "u/var/run/hard",
    "s/srv/hard",
    "u/links/loop",
    "l/links/loop",
    "m/links/root/srv/moved2=/links/root/srv/x2",
    "r/srv/x2",
];

/// Steps whose errors wasmtime-wasi cannot express.
const ERRORS: &[&str] = &[
    "w/ro/new=text",
    "w/ro/file=text",
    "w/links/ro/new=text",
    "x/ro/other",
    "d/ro/new",
    "R/ro/folder",
    "u/ro/file",
    "u/links/ro/file",
    "m/ro/file=/ro/other",
    "h/ro/file=/ro/other",
    "S/ro/link=x",
    "S/ro/link=/x",
    "t/ro/file",
    "w/etc/bound=text",
    "t/etc/bound",
    "u/etc/bound",
    "w/scratch/file=text",
    "m/scratch/file=/srv/file",
    "h/scratch/file=/srv/file",
    "m/srv/mine=/ro/mine",
    "f/scratch/full",
    "s/srv/xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    "E/srv/x",
    "E/var/run/x",
    "r/srv/x",
];

#[test]
fn a_module_follows_links_as_a_native_program() {
    let node = Node::start();
    as_natively(&node, Who::Module, FOLLOWED, &[]);
    node.finish();
}

#[test]
fn a_component_follows_links_as_a_native_program() {
    let node = Node::start();
    as_natively(&node, Who::Component, FOLLOWED, &[]);
    node.finish();
}

#[test]
fn a_module_changes_what_lies_behind_links_as_a_native_program() {
    let node = Node::start();
    as_natively(&node, Who::Module, CHANGED, &[]);
    node.finish();
}

#[test]
fn a_component_changes_what_lies_behind_links_as_a_native_program() {
    let node = Node::start();
    as_natively(&node, Who::Component, CHANGED, &[]);
    node.finish();
}

#[test]
fn a_module_gets_the_kernels_error_numbers() {
    let node = Node::start();
    as_natively(&node, Who::Module, ERRORS, &[]);
    node.finish();
}

#[test]
fn a_component_gets_the_kernels_error_numbers() {
    let node = Node::start();
    // WASI 0.2 cannot express it.
    as_natively(&node, Who::Component, ERRORS, &[("E/srv/x", "EIO"), ("E/var/run/x", "EIO")]);
    node.finish();
}

#[test]
fn paths_out_of_an_opened_folder_are_refused() {
    let node = Node::start();
    for who in [Who::Module, Who::Component] {
        let answers = steps(&node, who, &["o/usr/lib=y", "o/var=run/x", "o/links=../srv/x", "o/usr=lib/../lib/x/real"]);
        assert!(answers.iter().all(|answer| answer.ends_with(": EPERM")), "{who:?}: {answers:#?}");
        assert_eq!(steps(&node, who, &["o/srv=x"]), ["o/srv=x: \"in run\""]);
    }
    node.finish();
}

#[test]
fn links_lead_nowhere_outside_of_the_container() {
    let node = Node::start();
    let secret = node.dir().join("secret");
    fs::write(&secret, "the host's").unwrap();
    let host = secret.display().to_string();
    let up = format!("{}{host}", "/..".repeat(20));
    let module = guests::c("links");
    for (name, module) in [("module", module.clone()), ("component", adapted(&module))] {
        let image = tree(Image::new(&format!("links-{name}-out")))
            .file("/links.wasm", module)
            .link("/links/host", &host)
            .link("/links/far", &up)
            .link("/links/proc", "/proc/1/root/etc/shadow")
            .link("/links/own", "/proc/self/root")
            .link("/links/fd", "/proc/self/fd/3")
            .link("/links/mem", "/proc/self/mem");
        let reads = ["r/links/host", "r/links/far", "r/links/proc", "D/links/own", "D/links/fd", "w/links/mem=x"];
        let made = [format!("S/links/made={host}"), "r/links/made".to_owned(), format!("w/links/host={host}")];
        let words = ["/links.wasm"].into_iter().chain(reads).chain(made.iter().map(String::as_str));
        let output = node.container("out").image(&image).args(words).user(USER).to_its_end();
        let answers: Vec<&str> = output.stdout.lines().filter_map(|line| line.rsplit_once(": ")).map(|a| a.1).collect();
        let none = ["ENOENT"; 5];
        assert_eq!(answers[..5], none, "{name}: {output:?}");
        assert!(["EROFS", "ENOENT"].contains(&answers[5]), "{name}: nothing is made in /proc: {output:?}");
        assert_eq!(answers[6..], ["ok", "ENOENT", "ENOENT"], "{name}: {output:?}");
        assert_eq!(fs::read_to_string(&secret).unwrap(), "the host's");
    }
    node.finish();
}

/// The messages of Go's own library, which users see.
#[test]
fn a_go_program_finds_what_lies_behind_links() {
    let node = Node::start();
    let expected = "read: in run <nil>\nstat: true <nil>\nlstat: true <nil>\nreadlink: /srv <nil>\nreaddir: 2 <nil>\n\
        write through a link to nothing: <nil>\nmade: made <nil>\nmkdir: <nil>\nrename: <nil>\nsymlink: <nil>\n\
        through its own: made <nil>\nremove the link: <nil>\nwhat it led to: <nil>\nremove all: <nil>\ngone: true\n\
        loop: open /links/loop: Too many symbolic links\nshadow: <nil>\n\
        read-only: open /ro/new: Read-only file system\n\
        another mount: true rename /srv/x /scratch/x: Cross-device link\n";
    let go = guests::go("links");
    for (name, module) in [("module", go.clone()), ("component", adapted(&go))] {
        let image =
            tree(Image::new(&format!("go-links-{name}"))).file("/links.wasm", module).entrypoint(["/links.wasm"]);
        let order = with_volumes(node.container("go").image(&image), &node).limit(Duration::from_secs(60));
        let output = order.to_its_end();
        assert_eq!((output.code, output.stdout.as_str()), (0, expected), "{name}: {output:?}");
    }
    node.finish();
}

/// Wasmer follows them too: its files are the kernel's.
#[test]
fn wasmer_follows_the_same_links() {
    let node = Node::start();
    let image = tree(Image::new("wasmer-links")).file("/links.wasm", guests::c("links"));
    let words = ["/links.wasm", "r/var/run/x", "r/usr/lib/y", "r/links/shadow", "w/links/new=x", "r/srv/made"];
    let output = node.container("w").image(&image).engine(Engine::Wasmer).args(words).user(USER).to_its_end();
    let answers: Vec<&str> = output.stdout.lines().filter_map(|line| line.rsplit_once(": ")).map(|a| a.1).collect();
    let expected = ["\"in run\"", "\"a library\"", "\"the image's\"", "ok", "\"x\""];
    assert_eq!(answers, expected, "{output:?}");
    node.finish();
}

/// A link that changes its target while the guest reads through it.
#[test]
fn a_link_that_changes_leads_to_one_of_its_two_targets() {
    let node = Node::start();
    let volume = node.dir().join("volume");
    fs::create_dir_all(volume.join("one")).unwrap();
    fs::create_dir_all(volume.join("two")).unwrap();
    fs::write(volume.join("one/file"), "one").unwrap();
    fs::write(volume.join("two/file"), "two").unwrap();
    std::os::unix::fs::symlink("/volume/one", volume.join("now")).unwrap();
    let image = tree(Image::new("links-change")).file("/links.wasm", guests::c("links"));
    let words = ["/links.wasm"].into_iter().chain(std::iter::repeat_n("r/volume/now/file", 20_000));
    let order = node.container("change").image(&image).args(words).with_volume(&volume, "/volume", &["rbind", "rw"]);
    let task = order.spawn();
    let (mut changes, begin) = (0, Instant::now());
    while task.try_wait(Duration::from_millis(1)).is_err() {
        assert!(begin.elapsed() < Duration::from_secs(30), "it does not end");
        // Inside, outside the container, absolute and relative.
        for text in ["/volume/two", "two", "/etc", "../../../../etc", "/volume/one"] {
            std::os::unix::fs::symlink(text, volume.join("next")).unwrap();
            fs::rename(volume.join("next"), volume.join("now")).unwrap();
            changes += 1;
        }
    }
    let output = task.delete();
    let mut seen: Vec<&str> = output.stdout.lines().filter_map(|line| line.rsplit_once(": ")).map(|a| a.1).collect();
    assert!(seen.len() == 20_000 && changes > 10, "{} {changes}", seen.len());
    seen.sort_unstable();
    seen.dedup();
    let may = ["\"one\"", "\"two\"", "ENOENT"];
    assert!(seen.iter().all(|answer| may.contains(answer)) && seen.contains(&"\"one\""), "{seen:?}");
    node.finish();
}
