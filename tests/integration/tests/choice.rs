//! The choice of an engine: annotations, the handler's options and the module itself, row by row, on a real containerd.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use catamaran_harness::cri::{self, Pod, Shape};
use catamaran_harness::{Code, Container, Image, Node, Options, Status, guests, shim_folder, wait_until};

const KEY: &str = "catamaran.wasm/engine";
const CONTAINER: &str = "io.kubernetes.cri.container-name";
const SOON: Duration = Duration::from_secs(10);

/// A module's kind, by its imports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Module {
    /// WASI preview 1: both engines run it.
    Plain,
    /// WASIX: only Wasmer runs it.
    Wasix,
    /// A component: only Wasmtime runs it.
    Component,
}

impl Module {
    /// Its image; the program prints "ready" and sleeps.
    fn image(self) -> Image {
        match self {
            Module::Plain => Image::new("plain").file("/m.wasm", guests::wat("sleep")),
            Module::Wasix => Image::new("wasix").file("/m.wasm", wasix()),
            Module::Component => Image::new("component").file("/m.wasm", component()),
        }
        .entrypoint(["/m.wasm"])
    }
}

/// A program like `sleep` that makes a call of WASIX's own.
fn wasix() -> Vec<u8> {
    wat::parse_str(
        r#"(module
             (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
             (import "wasix_32v1" "thread_sleep" (func $sleep (param i64) (result i32)))
             (memory (export "memory") 1)
             (data (i32.const 0) "\10\00\00\00\06\00\00\00")
             (data (i32.const 16) "ready\n")
             (func (export "_start")
               (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
               (drop (call $sleep (i64.const 3600000000000)))))"#,
    )
    .unwrap()
}

/// `sleep`, as a component.
fn component() -> Vec<u8> {
    catamaran_integration::adapted(&guests::wat("sleep"))
}

/// The outcome of an order.
#[derive(Debug)]
enum Outcome {
    /// The engine, and the reason for it.
    Runs(&'static str, &'static str),
    /// The code and words of its text.
    Refused(Code, &'static [&'static str]),
}
use Outcome::{Refused, Runs};

struct Row {
    /// The value of the pod's annotation.
    pod: Option<&'static str>,
    /// The value of the container's own annotation.
    own: Option<&'static str>,
    /// The handler's options, as TOML.
    options: &'static str,
    module: Module,
    outcome: Outcome,
}

const fn row(
    pod: Option<&'static str>,
    own: Option<&'static str>,
    options: &'static str,
    module: Module,
    outcome: Outcome,
) -> Row {
    Row { pod, own, options, module, outcome }
}

const BOTH: &str = "";
const WASMTIME: &str = "allowed_engines = ['wasmtime']";
const WASMER: &str = "allowed_engines = ['wasmer']";

const WRITE_WHICH: &[&str] = &["\"wasmtime\" or \"wasmer\""];
const FORBIDDEN: &[&str] = &[KEY, "\"wasmer\"", "does not allow", "\"wasmtime\" (allowed_engines of ", "options.toml)"];
const NO_WASMTIME: &[&str] = &[KEY, "\"wasmtime\"", "does not allow", "\"wasmer\" (allowed_engines of "];
const WASIX_ON_WASMTIME: &[&str] =
    &["/m.wasm: not on wasmtime: the module imports `wasix_32v1.thread_sleep`", "asks for wasmtime: write \"wasmer\""];
const WASIX_FORBIDDEN: &[&str] = &[
    "/m.wasm: not on wasmtime: the module imports `wasix_32v1.thread_sleep`",
    "this node does not allow \"wasmer\" (allowed_engines of ",
    "options.toml)",
];

const COMPONENT_ON_WASMER: &[&str] =
    &["/m.wasm: not on wasmer: the file is a WebAssembly component", "asks for wasmer: write \"wasmtime\""];
const COMPONENT_FORBIDDEN: &[&str] = &[
    "/m.wasm: not on wasmer: the file is a WebAssembly component",
    "this node does not allow \"wasmtime\" (allowed_engines of ",
];

const ROWS: &[Row] = &[
    row(None, None, BOTH, Module::Plain, Runs("wasmtime", "default")),
    row(None, None, WASMTIME, Module::Plain, Runs("wasmtime", "options")),
    row(None, None, WASMER, Module::Plain, Runs("wasmer", "options")),
    row(None, None, "default_engine = 'wasmtime'", Module::Plain, Runs("wasmtime", "options")),
    row(None, None, "default_engine = 'wasmer'", Module::Plain, Runs("wasmer", "options")),
    row(Some("wasmtime"), None, BOTH, Module::Plain, Runs("wasmtime", "pod-annotation")),
    row(Some("wasmer"), None, BOTH, Module::Plain, Runs("wasmer", "pod-annotation")),
    row(Some("wasmtime"), None, WASMTIME, Module::Plain, Runs("wasmtime", "pod-annotation")),
    row(Some("wasmer"), None, WASMER, Module::Plain, Runs("wasmer", "pod-annotation")),
    row(Some("wasmtime"), None, "default_engine = 'wasmer'", Module::Plain, Runs("wasmtime", "pod-annotation")),
    row(None, Some("wasmtime"), BOTH, Module::Plain, Runs("wasmtime", "container-annotation")),
    row(None, Some("wasmer"), BOTH, Module::Plain, Runs("wasmer", "container-annotation")),
    row(Some("wasmer"), Some("wasmtime"), BOTH, Module::Plain, Runs("wasmtime", "container-annotation")),
    row(Some("wasmtime"), Some("wasmer"), BOTH, Module::Plain, Runs("wasmer", "container-annotation")),
    row(Some("wasmer"), Some("wasmtime"), WASMTIME, Module::Plain, Runs("wasmtime", "container-annotation")),
    row(Some("nonsense"), Some("wasmtime"), BOTH, Module::Plain, Runs("wasmtime", "container-annotation")),
    row(Some("Wasmtime"), None, BOTH, Module::Plain, Refused(Code::InvalidArgument, WRITE_WHICH)),
    row(Some(""), None, BOTH, Module::Plain, Refused(Code::InvalidArgument, WRITE_WHICH)),
    row(Some("wasmtime"), Some("v8"), BOTH, Module::Plain, Refused(Code::InvalidArgument, &["engine.app: \"v8\""])),
    row(Some("wasmer"), None, WASMTIME, Module::Plain, Refused(Code::FailedPrecondition, FORBIDDEN)),
    row(Some("wasmtime"), Some("wasmer"), WASMTIME, Module::Plain, Refused(Code::FailedPrecondition, FORBIDDEN)),
    row(Some("wasmtime"), None, WASMER, Module::Plain, Refused(Code::FailedPrecondition, NO_WASMTIME)),
    row(None, None, BOTH, Module::Wasix, Runs("wasmer", "module")),
    row(None, None, "default_engine = 'wasmtime'", Module::Wasix, Runs("wasmer", "module")),
    row(None, None, "default_engine = 'wasmer'", Module::Wasix, Runs("wasmer", "options")),
    row(None, None, WASMER, Module::Wasix, Runs("wasmer", "options")),
    row(Some("wasmer"), None, BOTH, Module::Wasix, Runs("wasmer", "pod-annotation")),
    row(Some("wasmtime"), Some("wasmer"), BOTH, Module::Wasix, Runs("wasmer", "container-annotation")),
    row(Some("wasmtime"), None, BOTH, Module::Wasix, Refused(Code::FailedPrecondition, WASIX_ON_WASMTIME)),
    row(Some("wasmer"), Some("wasmtime"), BOTH, Module::Wasix, Refused(Code::FailedPrecondition, WASIX_ON_WASMTIME)),
    row(None, None, WASMTIME, Module::Wasix, Refused(Code::FailedPrecondition, WASIX_FORBIDDEN)),
    row(Some("wasmtime"), None, WASMTIME, Module::Wasix, Refused(Code::FailedPrecondition, WASIX_FORBIDDEN)),
    row(Some("wasmer"), None, WASMTIME, Module::Wasix, Refused(Code::FailedPrecondition, FORBIDDEN)),
    row(None, None, BOTH, Module::Component, Runs("wasmtime", "default")),
    row(None, None, "default_engine = 'wasmer'", Module::Component, Runs("wasmtime", "module")),
    row(None, None, WASMTIME, Module::Component, Runs("wasmtime", "options")),
    row(Some("wasmtime"), None, "default_engine = 'wasmer'", Module::Component, Runs("wasmtime", "pod-annotation")),
    row(Some("wasmer"), Some("wasmtime"), BOTH, Module::Component, Runs("wasmtime", "container-annotation")),
    row(Some("wasmer"), None, BOTH, Module::Component, Refused(Code::FailedPrecondition, COMPONENT_ON_WASMER)),
    row(
        Some("wasmtime"),
        Some("wasmer"),
        BOTH,
        Module::Component,
        Refused(Code::FailedPrecondition, COMPONENT_ON_WASMER),
    ),
    row(None, None, WASMER, Module::Component, Refused(Code::FailedPrecondition, COMPONENT_FORBIDDEN)),
    row(Some("wasmer"), None, WASMER, Module::Component, Refused(Code::FailedPrecondition, COMPONENT_FORBIDDEN)),
];

/// An order with a file of options for its handler.
fn with_options<'n>(node: &'n Node, id: &str, options: &str) -> Container<'n> {
    let path = node.dir().join("options.toml");
    fs::write(&path, options).unwrap();
    node.container(id).flag(["--runtime-config-path", path.to_str().unwrap()])
}

fn order<'n>(node: &'n Node, id: &str, row: &Row) -> Container<'n> {
    let mut order = match row.options {
        BOTH => node.container(id),
        options => with_options(node, id, options),
    };
    if let Some(value) = row.pod {
        order = order.annotation(KEY, value);
    }
    if let Some(value) = row.own {
        order = order.annotation(CONTAINER, "app").annotation(&format!("{KEY}.app"), value);
    }
    order.image(&row.module.image())
}

fn counter(node: &Node, name: &str) -> u64 {
    let text = fs::read_to_string(node.catamaran_root().join("counters")).unwrap_or_default();
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok()).unwrap_or(0)
}

fn worker(pid: u32) -> PathBuf {
    fs::read_link(format!("/proc/{pid}/exe")).unwrap()
}

fn expect(status: &Status, code: Code, words: &[&str]) {
    assert_eq!(status.code, code, "{status}");
    for word in words {
        assert!(status.message.contains(word), "{word:?} is missing in: {status}");
    }
}

/// Checks every row twice: the second start, with a remembered answer, must have the same outcome.
fn check(rows: &[Row]) {
    let node = Node::start();
    for (number, row) in rows.iter().enumerate() {
        let said = format!("row {number}: {:?}, {:?}, {:?}, {:?}", row.pod, row.own, row.options, row.module);
        let mut compiles = None;
        for start in ["first", "second"] {
            let id = format!("{start}-{number}");
            let created = order(&node, &id, row).try_create();
            match (&row.outcome, created) {
                (Runs(engine, chosen), Ok(task)) => {
                    assert_eq!(worker(task.pid()), shim_folder().join(format!("catamaran-{engine}")), "{said}");
                    task.start();
                    task.expect_stdout("ready\n");
                    task.discard();
                    let told = format!("created id={id} engine={engine} chosen={chosen} ");
                    wait_until(SOON, "the line in the log", || node.log().contains(&told).then_some(()));
                }
                (Refused(code, words), Err(status)) => {
                    println!("{said}\n  {status}");
                    expect(&status, *code, words);
                }
                (outcome, Ok(_)) => panic!("{said}: it was created; expected {outcome:?}"),
                (outcome, Err(status)) => panic!("{said}: {status}; expected {outcome:?}"),
            }
            let now = counter(&node, "compiles");
            assert!(compiles.replace(now).is_none_or(|before| before == now), "{said}: a second compile");
        }
    }
    node.finish();
}

#[test]
fn annotations_and_options_and_modules_choose_an_engine() {
    check(ROWS);
}

#[test]
fn the_engine_that_a_module_needs_is_cached() {
    let node = Node::start();
    let order = || with_options(&node, "wasix", WASMTIME).image(&Module::Wasix.image());
    let first = order().try_create().map(drop).unwrap_err();
    assert_eq!(order().try_create().map(drop).unwrap_err(), first);
    let counts = ["compiles", "compiles.wasmtime", "compiles.wasmer", "refusals"].map(|name| counter(&node, name));
    assert_eq!(counts, [1, 1, 0, 0], "a module of the other engine's is none at fault");
    node.finish();
}

#[test]
fn a_module_in_a_layer_chooses_its_engine_as_a_file_does() {
    let node = Node::start();
    let image = Image::new("layer").blob("application/wasm", wasix());
    let order = || with_options(&node, "layer", WASMTIME).image(&image).args(["/"]);
    for _ in 0..2 {
        let status = order().try_create().map(drop).unwrap_err();
        expect(&status, Code::FailedPrecondition, &["layer sha256:", "wasix_32v1", WASIX_FORBIDDEN[1]]);
    }
    assert_eq!(counter(&node, "compiles"), 1);
    node.finish();
}

#[test]
fn a_module_of_the_other_engine_starts_warm_from_that_engines_cache() {
    let node = Node::start();
    let file = Module::Wasix.image();
    let layer = Image::new("layer").blob("application/wasm", wasix_again());
    for (id, order) in
        [("file", node.container("file").image(&file)), ("layer", node.container("layer").image(&layer).args(["/"]))]
    {
        let before = counter(&node, "compiles");
        for start in ["compiled", "hit", "hit"] {
            let task = order.create();
            assert_eq!(worker(task.pid()), shim_folder().join("catamaran-wasmer"), "{id}");
            task.discard();
            let lines = |log: &str| log.lines().rfind(|l| l.contains(&format!("created id={id} "))).map(str::to_owned);
            let told = lines(&node.log()).unwrap();
            assert!(told.contains(&format!(" artifact={start}")), "{told}");
        }
        // One in which Wasmtime declined, one by Wasmer; none for the later starts.
        assert_eq!(counter(&node, "compiles") - before, 2, "{id}");
    }
    let counts = ["hits.wasmtime", "hits.wasmer", "misses", "refusals", "failures"].map(|name| counter(&node, name));
    assert_eq!(counts, [0, 4, 2, 0, 0]);
    let folders = fs::read_dir(node.catamaran_root().join("cache")).unwrap();
    let mut folders: Vec<_> = folders.map(|f| f.unwrap().file_name().into_string().unwrap()).collect();
    folders.sort();
    assert!(
        folders.len() == 2 && folders[0].starts_with("wasmer-") && folders[1].starts_with("wasmtime-"),
        "{folders:?}"
    );
    node.finish();
}

#[test]
fn the_shim_says_which_engines_there_are() {
    let said =
        std::process::Command::new(shim_folder().join("containerd-shim-catamaran-v1")).arg("-v").output().unwrap();
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.contains("wasmtime:  ") && said.contains("wasmer:  "), "{said}");
}

/// A node whose shim finds no Wasmer.
fn without_wasmer() -> Node {
    let file = shim_folder().join("catamaran-wasmtime");
    let node = Node::start_with(Options::new().program("catamaran-wasmtime", &file));
    for name in ["catamaran-wasmer", "catamaran-wasmer-compile"] {
        let copy = node.dir().join("bin").join(name);
        if copy.exists() {
            fs::remove_file(copy).unwrap();
        }
    }
    node
}

#[test]
fn an_engine_that_is_not_installed_is_named_with_its_file() {
    let node = without_wasmer();
    let file = node.dir().join("bin/catamaran-wasmer").display().to_string();
    let refused = |order: Container<'_>, words: &[&str]| {
        let status = order.try_create().map(drop).unwrap_err();
        expect(&status, Code::FailedPrecondition, &[&[file.as_str(), "installed"], words].concat());
    };
    let plain = |id: &str| node.container(id).image(&Module::Plain.image());
    refused(
        plain("asked").annotation(KEY, "wasmer"),
        &["annotation catamaran.wasm/engine: \"wasmer\"", "\"wasmtime\""],
    );
    let options = with_options(&node, "option", "default_engine = 'wasmer'").image(&Module::Plain.image());
    refused(options, &["options.toml: default_engine: \"wasmer\"", "or write \"wasmtime\""]);
    let wasix = node.container("needed").image(&Module::Wasix.image());
    refused(wasix, &["not on wasmtime: the module imports `wasix_32v1", "not on wasmer: it is not installed"]);
    let layer = Image::new("layer").blob("application/wasm", wasix_again());
    refused(node.container("layer").image(&layer).args(["/"]), &["layer sha256:", "not on wasmtime", "not on wasmer"]);
    // Everything else works.
    assert_eq!(
        node.container("hello").image(&Image::new("h").file("/h", guests::wat("hello")).entrypoint(["/h"])).run().code,
        0
    );
    let said =
        std::process::Command::new(node.dir().join("bin/containerd-shim-catamaran-v1")).arg("-v").output().unwrap();
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.contains("wasmtime:") && !said.contains("wasmer"), "{said}");
    node.finish();
}

/// Another module that needs WASIX, unknown to the cache.
fn wasix_again() -> Vec<u8> {
    [wasix(), vec![0, 2, 1, b'x']].concat()
}

#[test]
fn wrong_options_are_named_and_runcs_options_are_ignored() {
    let node = Node::start();
    let path = node.dir().join("options.toml").display().to_string();
    for (text, words) in [
        ("engines = 1", &["line 1: engines = 1", "unknown field `engines`", "allowed_engines"][..]),
        ("allowed_engines = []", &["allowed_engines: an empty list"]),
        ("allowed_engines = ['wasmer', 'v8']", &["allowed_engines: \"v8\"", "\"wasmtime\" or \"wasmer\""]),
        ("allowed_engines = ['wasmtime']\ndefault_engine = 'wasmer'", &["default_engine: \"wasmer\"", "\"wasmtime\""]),
        ("default_engine = 3", &["line 1: default_engine = 3", "integer `3`"]),
    ] {
        let order = with_options(&node, "wrong", text).image(&Module::Plain.image());
        let status = order.try_create().map(drop).unwrap_err();
        expect(&status, Code::InvalidArgument, &[&[path.as_str()], words].concat());
    }
    let missing = node.container("missing").flag(["--runtime-config-path", "/nowhere/options.toml"]);
    let status = missing.image(&Module::Plain.image()).try_create().map(drop).unwrap_err();
    expect(&status, Code::InvalidArgument, &["/nowhere/options.toml", "there is none of this name"]);
    node.expect_nothing_left(SOON);
    // The options that `ctr` sends for runc.
    let runcs = node.container("runcs").flag(["--runc-root", "/run/none"]).image(&Module::Plain.image());
    runcs.create().discard();
    node.finish();
}

#[test]
fn kubernetes_handler_options_reach_the_shim() {
    let handler = |name: &str, options: &str| {
        let table = format!("plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.{name}");
        format!("[{table}]\n  runtime_type = 'io.containerd.catamaran.v1'\n  [{table}.options]\n  {options}\n")
    };
    let path = std::env::temp_dir().join(format!("catamaran-handler-{}.toml", std::process::id()));
    fs::write(&path, "allowed_engines = ['wasmedge']").unwrap();
    let named = path.display().to_string();
    let options = cri::options()
        .config(&handler("wrong", "allowed_engines = ['wasmtime', 'v8']"))
        .config(&handler("unknown", "engines = ['wasmtime']"))
        .config(&handler("file", &format!("ConfigPath = '{named}'")))
        .config(&handler("typed", "TypeUrl = 'io.containerd.catamaran.v1.options'\n  default_engine = 'v8'"))
        .config(&handler("right", "allowed_engines = ['wasmtime']\n  default_engine = 'wasmtime'"));
    let node = Node::start_with(options);
    let text = "the handler's options (config_body)";
    // The pod's first container reads them already, because a mistake in them concerns all containers.
    for (name, words) in [
        ("wrong", &[text, "allowed_engines: \"v8\""][..]),
        ("unknown", &[text, "engines = ", "unknown field `engines`"]),
        ("file", &[named.as_str(), "allowed_engines: \"wasmedge\""]),
        ("typed", &[text, "default_engine: \"v8\""]),
    ] {
        let shape = Shape { handler: name.to_owned(), ..Shape::default() };
        let status = Pod::try_run(&node, name, shape).err().unwrap();
        for word in words {
            assert!(status.message.contains(word), "{name}: {word:?} is missing in: {status}");
        }
        assert_eq!(status.message.contains("options"), name != "file", "{name}: {status}");
    }
    Pod::run(&node, "right", Shape { handler: "right".to_owned(), ..Shape::default() }).remove();
    fs::remove_file(&path).unwrap();
    node.finish();
}

/// k3s and rke2 find programs of these names and write a handler for each, with runc's options in it.
#[test]
fn a_shim_by_the_name_of_runwasis_has_the_engine_of_that_name() {
    let handler = |engine: &str| {
        let table = format!("plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.{engine}");
        format!(
            "[{table}]\n  runtime_type = 'io.containerd.{engine}.v1'\n  [{table}.options]\n  \
             BinaryName = '/usr/local/bin/containerd-shim-{engine}-v1'\n  SystemdCgroup = false\n"
        )
    };
    let node = Node::start_with(cri::options().installed().config(&handler("wasmtime")).config(&handler("wasmer")));
    for engine in ["wasmtime", "wasmer"] {
        let name = node.dir().join(format!("bin/containerd-shim-{engine}-v1"));
        std::os::unix::fs::symlink("containerd-shim-catamaran-v1", name).unwrap();
        let pod = Pod::run(&node, engine, Shape { handler: engine.to_owned(), ..Shape::default() });
        let container = pod.order("app", &Module::Plain.image()).start();
        let told = format!("created id={} engine={engine} chosen=options ", container.id());
        wait_until(SOON, "the line in the log", || node.log().contains(&told).then_some(()));
        // The name is an upper limit: a module that needs the other engine is refused.
        let other = if engine == "wasmtime" { Module::Wasix } else { Module::Component };
        let status = pod.order("other", &other.image()).ready().try_start().unwrap_err();
        for word in [format!("not on {engine}"), format!("the name of {engine}")] {
            assert!(status.message.contains(&word), "{word:?} is missing in: {status}");
        }
        pod.remove();
    }
    node.finish();
}
