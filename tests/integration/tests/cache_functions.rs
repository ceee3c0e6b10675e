//! Functions that modules of one namespace have in common: the compile of the second module takes over the first one's.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;
use std::time::Duration;

use catamaran_harness::{Code, Container, Engine, Image, Node, Options, guests, wait_until};
use catamaran_integration::compiles::{counter, creations, entries, lane, locked, quiet};
use catamaran_integration::{adapted, component};

const SOON: Duration = Duration::from_secs(20);
const LATER: Duration = Duration::from_secs(120);
/// The annotation that the CRI writes for the pod's namespace.
const NAMESPACE: &str = "io.kubernetes.cri.sandbox-namespace";
/// The kilobytes of code of two applications on one interpreter: the second has all functions of the first, and some of its own.
const FIRST: usize = 900;
const SECOND: usize = 1000;
/// As large as a component must be that shares functions.
const LARGE: usize = 4 << 20;

/// A component that prints `ready` and keeps running.
fn application(kilobytes: usize) -> Image {
    component(&format!("of-{kilobytes}"), large(adapted(&guests::idle_of_size(kilobytes << 10))))
}

/// Makes a component large with a custom section.
fn large(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.push(0);
    // The section's length, in five bytes of LEB128, and its name.
    bytes.extend((0..5).map(|n| (LARGE >> (7 * n)) as u8 & 0x7f | if n < 4 { 0x80 } else { 0 }));
    bytes.extend([1, b'x']);
    bytes.resize(bytes.len() + LARGE - 2, 0);
    bytes
}

fn order<'n>(node: &'n Node, name: &str, image: &Image, namespace: &str) -> Container<'n> {
    node.container(name).image(image).annotation(NAMESPACE, namespace).limit(LATER)
}

/// Runs an application until it is ready, and ends it.
fn start(node: &Node, name: &str, kilobytes: usize, namespace: &str) {
    let task = order(node, name, &application(kilobytes), namespace).spawn();
    task.expect_stdout("ready\n");
    task.discard();
}

/// The entries with this in their names, without the digest in front.
fn with(node: &Node, part: &str) -> Vec<String> {
    entries(node).into_iter().filter(|name| name.contains(part)).map(|name| name[64..].to_owned()).collect()
}

/// The one file of the cache whose name has this ending.
fn file(node: &Node, ending: &str) -> PathBuf {
    let folders = fs::read_dir(node.catamaran_root().join("cache")).unwrap().flatten();
    let files = folders.flat_map(|folder| fs::read_dir(folder.path()).unwrap().flatten()).map(|file| file.path());
    let mut found = files.filter(|path| path.to_string_lossy().ends_with(ending));
    let (one, other) = (found.next(), found.next());
    assert!(other.is_none(), "{one:?}, {other:?}");
    one.unwrap_or_else(|| panic!("there is no {ending}: {:?}", entries(node)))
}

/// Waits until the first functions are kept: the answer does not wait for that.
fn kept(node: &Node) {
    wait_until(SOON, "the file of functions", || (with(node, ".functions-").len() == 1).then_some(()));
}

#[test]
fn the_second_application_on_an_interpreter_compiles_its_own_part_alone() {
    let node = Node::start().engine(Engine::Wasmtime);
    let optimiser = locked(&lane(&node, "later").join("0"));
    start(&node, "first", FIRST, "a");
    kept(&node);
    assert_eq!(with(&node, ".own-"), Vec::<String>::new());
    start(&node, "second", SECOND, "a");
    let own = with(&node, ".own-");
    assert_eq!(own.len(), 1, "{:?}", entries(&node));
    assert!(own[0].starts_with(".fast.own-"), "{own:?}");
    assert!(creations(&node, "second")[0].contains("compiled"), "{:?}", creations(&node, "second"));
    assert_eq!(counter(&node, "compiles.wasmtime "), 2);
    start(&node, "again", SECOND, "a");
    assert_eq!(counter(&node, "compiles.wasmtime "), 2, "the namespace's next start has that code");

    // Another namespace has none of it.
    start(&node, "other", SECOND, "b");
    assert_eq!(counter(&node, "compiles.wasmtime "), 3);
    let own = fs::read(file(&node, &own[0])).unwrap();
    let alone = fs::read(file(&node, &own_alone(&node))).unwrap();
    assert!(own == alone, "the same code comes from the module alone");

    // The optimiser makes its code from the module alone.
    drop(optimiser);
    let task = order(&node, "orders", &application(SECOND), "a").spawn();
    task.expect_stdout("ready\n");
    quiet(&node);
    task.discard();
    start(&node, "best", SECOND, "a");
    assert!(creations(&node, "best")[0].contains("best"), "{:?}", creations(&node, "best"));
    assert_eq!(with(&node, "").iter().filter(|ending| ending.is_empty()).count(), 1, "{:?}", entries(&node));
    node.finish();
}

/// The end of the name of the second application's code that was made from the module alone.
fn own_alone(node: &Node) -> String {
    let second = file(node, &with(node, ".own-")[0]);
    let digest = second.file_name().unwrap().to_string_lossy()[..64].to_owned();
    format!("{digest}.fast")
}

#[test]
fn a_refusal_with_functions_of_others_is_the_modules_own() {
    let node = Node::start().engine(Engine::Wasmtime);
    start(&node, "first", FIRST, "a");
    kept(&node);
    let bytes = large(wat::parse_str(r#"(component (import "nothing" (func)))"#).unwrap());
    order(&node, "bad", &component("bad", bytes), "a").expect_refused(Code::FailedPrecondition, &["nothing"]);
    assert_eq!((with(&node, ".refused").len(), with(&node, ".functions-").len()), (1, 1), "{:?}", entries(&node));
    quiet(&node);
    node.finish();
}

#[test]
fn a_start_survives_functions_that_no_compile_survives() {
    let node = Node::start().engine(Engine::Wasmtime);
    start(&node, "first", FIRST, "a");
    kept(&node);
    quiet(&node);
    // A compile process may have written anything: here an index that takes more memory than a compile may have.
    let functions = file(&node, &with(&node, ".functions-")[0]);
    let entries_at_the_end: u64 = 400 << 20;
    let length = 44 * entries_at_the_end + 16;
    let hostile = File::options().write(true).open(&functions).unwrap();
    hostile.set_len(length).unwrap();
    hostile.write_all_at(&entries_at_the_end.to_le_bytes(), length - 16).unwrap();
    hostile.write_all_at(b"functs01", length - 8).unwrap();
    // As the driver would have verified it since the boot.
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let sum = format!("{} {} {} {length}\n", "0".repeat(64), boot.trim_end(), hostile.metadata().unwrap().ino());
    fs::write(functions.with_file_name(format!("{}.sum", functions.file_name().unwrap().to_string_lossy())), sum)
        .unwrap();
    drop(hostile);

    start(&node, "second", SECOND, "a");
    assert!(!functions.exists(), "they are at fault");
    assert!(node.log().contains("did not compile with functions of other modules"), "{}", node.log());
    assert_eq!(with(&node, ".own-"), Vec::<String>::new());
    quiet(&node);
    node.finish();
}

#[test]
fn an_administrator_can_have_each_module_compiled_by_itself() {
    let node = Node::start_with(Options::default().env("CATAMARAN_CACHE_FUNCTIONS", "off")).engine(Engine::Wasmtime);
    start(&node, "first", FIRST, "a");
    start(&node, "second", SECOND, "a");
    quiet(&node);
    assert_eq!((with(&node, ".functions-"), with(&node, ".own-")), (vec![], vec![]));
    node.finish();
}
