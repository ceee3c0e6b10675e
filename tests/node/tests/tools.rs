//! `catamaran inspect`, `compare` and `cache` on a node of the harness: a real containerd, and the installed shim.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use catamaran_harness::{Example, Image, Node, cri, guests};
use catamaran_node_tests::Catamaran;
use catamaran_service_manager::ServiceManager;
use serde_json::{Value, json};

/// A node with this build installed.
struct Installed {
    node: Node,
    catamaran: Catamaran,
    /// Keeps the stand-in for systemd.
    _manager: ServiceManager,
}

impl Installed {
    fn new(options: &Value) -> Self {
        let node = Node::start_with(cri::options());
        node.remove_handler();
        let manager = ServiceManager::start(&node);
        let catamaran = Catamaran::on(&node).with("DBUS_SYSTEM_BUS_ADDRESS", &manager.bus_address());
        let file = node.dir().join("options.json");
        fs::write(&file, options.to_string()).unwrap();
        catamaran.done(&["install", "--options-file", file.to_str().unwrap()]);
        Self { node, catamaran, _manager: manager }
    }

    /// Makes a file on the node.
    fn file(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.node.dir().join(name);
        fs::write(&path, bytes).unwrap();
        path.display().to_string()
    }

    fn inspect(&self, what: &str, code: i32) -> Value {
        let answer = self.catamaran.run(&["inspect", "--namespace", self.node.namespace(), what]);
        assert_eq!(answer.code, Some(code), "{what}: {answer:#?}");
        answer.value
    }

    fn compare(&self, what: &str, words: &[&str]) -> Value {
        let namespace = self.node.namespace().to_owned();
        self.catamaran.done(&[&["compare", "--namespace", &namespace, what][..], words].concat())
    }

    fn entries(&self) -> Vec<Value> {
        self.catamaran.done(&["cache", "list"])["entries"].as_array().unwrap().clone()
    }

    fn finish(self) {
        self.node.await_compiles();
        self.catamaran.done(&["uninstall"]);
        self.node.finish();
    }
}

fn says(value: &Value, words: &str) {
    assert!(value.as_str().is_some_and(|text| text.contains(words)), "{words:?} is missing in {value}");
}

/// An image with a module in its root file system, and one that is a layer.
fn images() -> [Image; 2] {
    let args = guests::wat("args");
    let file = Image::new("file").file("/bin/args.wasm", &args).link("/program", "/bin/args.wasm");
    let file = file.entrypoint(["program"]).cmd(["one", "two"]).env(["PATH=/nowhere:/"]).workdir("/bin");
    [file, Image::new("layer").blob("application/wasm", &args)]
}

/// A component with the export of an HTTP server.
fn server() -> Vec<u8> {
    let text = r#"(component (import "wasi:http/types@0.2.0" (instance)) (instance $handler)
      (export "wasi:http/incoming-handler@0.2.0" (instance $handler)))"#;
    wat::parse_str(text).unwrap()
}

#[test]
fn a_module_is_inspected_with_its_imports_its_engine_and_what_would_be_refused() {
    let node = Installed::new(&json!({"default_engine": "wasmer"}));
    let before = node.entries().len();
    let hello = node.inspect(&node.file("hello.wasm", &guests::wat("hello")), 0);
    assert_eq!((&hello["kind"], &hello["world"]), (&"module".into(), &"WASI preview 1".into()), "{hello:#}");
    assert_eq!((&hello["chosen"], &hello["exports"][0]), (&"wasmer".into(), &"_start".into()), "{hello:#}");
    says(&hello["reason"], "default_engine");
    assert!(
        hello["imports"]
            .as_array()
            .unwrap()
            .contains(&json!({"interface": "wasi_snapshot_preview1", "name": "fd_write"}))
    );
    assert_eq!(node.entries().len(), before, "an inspection leaves nothing in the cache");

    let other = wat::parse_str(r#"(module (import "env" "f" (func)) (func (export "_start")))"#).unwrap();
    let refused = node.inspect(&node.file("other.wasm", &other), 6);
    says(&refused["refused"], "`env`");
    assert_eq!(refused["chosen"], Value::Null);

    let component = wat::parse_str(r#"(component (import "wasi:http/outgoing-handler@0.2.0" (instance)))"#).unwrap();
    let component = node.inspect(&node.file("component.wasm", &component), 6);
    assert_eq!(
        (&component["kind"], &component["engines"][0]["verdict"]),
        (&"component".into(), &"other-engine".into())
    );
    says(&component["refused"], "does not export `wasi:cli/run@0.2`");

    let extended = r#"(component (import "wasi:http/outgoing-handler@0.2.0" (instance))
        (core module $m (func (export "run") (result i32) i32.const 0))
        (core instance $m (instantiate $m))
        (func $run (result (result)) (canon lift (core func $m "run")))
        (instance $run (export "run" (func $run)))
        (export "wasi:cli/run@0.2.0" (instance $run)))"#;
    let extended = node.inspect(&node.file("extended.wasm", &wat::parse_str(extended).unwrap()), 0);
    says(&extended["world"], "command (wasi:cli/run@0.2.0)");
    assert_eq!(
        (&extended["chosen"], &extended["target"]),
        (&"wasmtime".into(), &"wasmtime-extended".into()),
        "{extended:#}"
    );

    let server = node.inspect(&node.file("server.wasm", &server()), 0);
    says(&server["world"], "http (wasi:http/incoming-handler@0.2.0)");
    assert_eq!(
        (&server["chosen"], &server["target"], &server["engines"][1]["verdict"]),
        (&"wasmtime".into(), &"wasmtime-http".into(), &"runs".into()),
        "{server:#}"
    );
    says(&server["reason"], "the module needs it");

    let broken = [&guests::wat("hello")[..40], &[10, 0x7f, 1]].concat();
    let broken = node.inspect(&node.file("broken.wasm", &broken), 6);
    says(&broken["refused"], "cannot be compiled");
    assert!(broken["broken"].is_string(), "{broken:#}");

    let native = node.inspect(&node.file("native", &fs::read("/proc/self/exe").unwrap()), 0);
    assert_eq!((&native["kind"], &native["native"]), (&"elf".into(), &true.into()), "{native:#}");
    let text = node.inspect(&node.file("text.wat", b"(module)"), 6);
    says(&text["refused"], "text format");

    for image in images() {
        node.node.import(&image);
        let found = node.inspect(image.name(), 0);
        assert_eq!((&found["kind"], &found["chosen"]), (&"module".into(), &"wasmer".into()), "{found:#}");
    }
    let missing = node.catamaran.run(&["inspect", "--namespace", node.node.namespace(), "localhost/test/none:latest"]);
    assert_eq!(missing.code, Some(1));
    says(&missing.value["error"]["found"], "image store");
    node.finish();
}

#[test]
fn compare_runs_a_module_on_both_engines_and_leaves_nothing() {
    let node = Installed::new(&json!({}));
    let before = node.entries().len();
    let of = |value: &Value, engine: usize| value["engines"][engine].clone();
    let hello = node.compare(&node.file("hello.wasm", &guests::wat("hello")), &["--runs", "2"]);
    for engine in [0, 1] {
        let row = of(&hello, engine);
        let figure = |name: &str| row[name].as_f64().unwrap_or_else(|| panic!("{name}: {row:#}"));
        assert!(figure("first_start") > 0.0 && figure("later_start") > 0.0, "{row:#}");
        assert!(figure("run") > 0.0 && figure("processor") > 0.0 && figure("memory") > 65536.0, "{row:#}");
        assert_eq!((&row["exit"], &row["stable"], &row["best"]), (&0.into(), &true.into(), &true.into()), "{row:#}");
        assert_eq!(row["stdout"]["bytes"], "hello from wasm\n".len());
    }
    assert_eq!(hello["output"], json!({"equal": true, "difference": null}));

    // Each engine calls the module by its name in the image, and passes on the image's arguments, or the given ones.
    for image in images() {
        node.node.import(&image);
    }
    let [file, layer] = images();
    let own = node.compare(file.name(), &["--runs", "1"]);
    let given = node.compare(file.name(), &["--runs", "1", "--", "one", "two"]);
    let none = node.compare(file.name(), &["--runs", "1", "--", "three"]);
    let digest = |value: &Value| of(value, 0)["stdout"]["digest"].clone();
    assert_eq!((digest(&own), &own["output"]["equal"]), (digest(&given), &true.into()), "{own:#}");
    assert_ne!(digest(&own), digest(&none));
    let layer = node.compare(layer.name(), &["--runs", "1", "--", "one"]);
    assert_eq!(of(&layer, 1)["exit"], of(&layer, 0)["exit"], "{layer:#}");

    // A module for one engine alone, an exit code, and a program that does not end.
    let component = wat::parse_str("(component)").unwrap();
    let neither = node.catamaran.run(&["compare", &node.file("component.wasm", &component)]);
    assert_eq!(neither.code, Some(6), "{neither:#?}");
    says(&neither.value["engines"][0]["failed"], "wasi:cli/run");
    says(&neither.value["engines"][1]["failed"], "component");
    let exit = node.compare(&node.file("exit.wasm", &guests::wat("exit")), &["--runs", "1", "--", "7"]);
    assert_eq!((of(&exit, 0)["exit"].as_u64(), of(&exit, 1)["exit"].as_u64()), (Some(7), Some(7)), "{exit:#}");
    let spin = node.compare(&node.file("spin.wasm", &guests::wat("spin")), &["--runs", "1", "--timeout", "1"]);
    for engine in [0, 1] {
        assert_eq!(
            (&of(&spin, engine)["exit"], &of(&spin, engine)["timed_out"]),
            (&Value::Null, &true.into()),
            "{spin:#}"
        );
    }
    node.node.await_compiles();
    assert_eq!(node.entries().len(), before, "its entries went with it");
    assert!(
        fs::read_dir(node.node.catamaran_root().join("node"))
            .unwrap()
            .flatten()
            .all(|entry| !entry.file_name().to_string_lossy().starts_with("compare"))
    );
    node.finish();
}

fn path(entry: &Value) -> PathBuf {
    PathBuf::from(entry["path"].as_str().unwrap())
}

fn damage(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o444)).unwrap();
}

#[test]
fn the_cache_is_listed_warmed_verified_and_pruned() {
    let node = Installed::new(&json!({}));
    node.catamaran.done(&["cache", "prune"]);
    assert!(node.entries().is_empty());
    let [file, layer] = images();
    node.node.import(&file);
    node.node.import(&layer);
    let hello = node.file("hello.wasm", &guests::wat("hello"));
    let namespace = node.node.namespace().to_owned();
    let warm = |what: &[&str]| node.catamaran.done(&[&["cache", "warm", "--namespace", &namespace][..], what].concat());
    let warmed = warm(&[file.name(), layer.name(), &hello]);
    let hits: Vec<_> = warmed["images"].as_array().unwrap().iter().map(|one| one["warmed"]["hit"].clone()).collect();
    assert_eq!(hits, [json!(false), json!(true), json!(false)], "both images have one module: {warmed:#}");
    let entries = node.entries();
    assert_eq!(entries.len(), 2, "{entries:#?}");
    for entry in &entries {
        assert_eq!(
            (&entry["engine"], &entry["tier"], &entry["current"]),
            (&"wasmtime".into(), &"best".into(), &true.into())
        );
        assert_eq!(entry["in_use"], false, "{entry:#}");
    }
    // A start finds the warmed code.
    assert_eq!(node.inspect(&hello, 0)["engines"][0]["cached"], "best");

    damage(&path(&entries[0]));
    let found = node.catamaran.run(&["cache", "verify"]);
    assert_eq!((found.code, &found.value["damaged"][0]["path"]), (Some(6), &entries[0]["path"]), "{found:#?}");
    let held = File::open(path(&entries[1])).unwrap();
    node.catamaran.done(&["cache", "verify", "--remove"]);
    assert!(!path(&entries[0]).exists());
    assert_eq!(node.catamaran.done(&["cache", "prune"])["removed"], json!([]), "it is in use");
    assert_eq!(node.entries()[0]["in_use"], true);
    drop(held);
    assert_eq!(node.catamaran.done(&["cache", "prune", "--older-than", "1h"])["removed"], json!([]));
    assert_eq!(node.catamaran.done(&["cache", "prune", "--to-bytes", "1G"])["removed"], json!([]));
    let pruned = node.catamaran.done(&["cache", "prune", "--to-bytes", "0"]);
    assert_eq!(pruned["removed"][0]["path"], entries[1]["path"]);
    assert!(node.entries().is_empty());

    // The refusal to compile it as a command is cached beside its code.
    let server = node.file("server.wasm", &server());
    for hit in [false, true] {
        let warmed = warm(&[&server])["images"][0]["warmed"].clone();
        assert_eq!((&warmed["target"], &warmed["hit"]), (&"wasmtime-http".into(), &hit.into()), "{warmed:#}");
    }
    let entries = node.entries();
    let mut told: Vec<_> = entries.iter().map(|entry| (entry["target"].as_str(), entry["tier"].as_str())).collect();
    told.sort();
    assert_eq!(told, [(Some("wasmtime"), Some("refused")), (Some("wasmtime-http"), Some("best"))]);
    assert_eq!(node.inspect(&server, 0)["engines"][0]["cached"], "best");

    let failed = node.catamaran.run(&["cache", "warm", &node.file("text.wasm", b"(module)")]);
    assert_eq!(failed.code, Some(6), "{failed:#?}");
    says(&failed.value["images"][0]["error"]["found"], "WebAssembly text");
    assert_eq!(node.catamaran.run(&["cache", "prune", "--older-than", "5x"]).code, Some(2));
    node.finish();
}

/// The component of a module of preview 1.
fn component(module: &[u8]) -> Vec<u8> {
    let name = wasi_preview1_component_adapter_provider::WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME;
    let adapter = wasi_preview1_component_adapter_provider::WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER;
    let mut encoder = wit_component::ComponentEncoder::default();
    encoder.validate(true).module(module).unwrap();
    encoder.adapter(name, adapter).unwrap().encode().unwrap()
}

/// Prints the tables: `CATAMARAN_TABLES=1 cargo test -p catamaran-node-tests --test tools five -- --nocapture`.
#[test]
fn five_real_guests_are_compared_on_the_engines_that_run_them() {
    let node = Installed::new(&json!({}));
    let examples = ["hello", "go-hello"].map(|name| Example::open(name).image());
    examples.iter().for_each(|image| node.node.import(image));
    let compute = node.file("compute.wasm", &guests::c("compute"));
    let threads = node.file("threads.wasm", &guests::wasix("threads"));
    let component = node.file("component.wasm", &component(&guests::wat("hello")));
    for (what, words, runs_on, equal, large) in [
        (examples[0].name(), &[][..], [true, true], json!(true), false),
        (examples[1].name(), &[], [true, true], json!(true), true),
        // The outputs differ because the program prints its own duration.
        (&compute, &["fib", "32"], [true, true], json!(false), false),
        (&threads, &["8"], [false, true], Value::Null, false),
        (&component, &[], [true, false], Value::Null, false),
    ] {
        // A long limit, because the optimiser has the lowest weight and is slow on a busy machine.
        let words = [&["--timeout", "600", "--"], words].concat();
        let compared = node.compare(what, &words);
        if std::env::var_os("CATAMARAN_TABLES").is_some() {
            let words = [&["compare", "--namespace", node.node.namespace(), what][..], &words].concat();
            println!("{}", node.catamaran.text(&words));
        }
        let ran = [0, 1].map(|engine| compared["engines"][engine]["failed"].is_null());
        assert_eq!((ran, &compared["output"]["equal"]), (runs_on, &equal), "{what}: {compared:#}");
        for engine in compared["engines"].as_array().unwrap().iter().filter(|engine| engine["failed"].is_null()) {
            assert_eq!((&engine["exit"], &engine["best"]), (&json!(0), &json!(true)), "{what}: {engine:#}");
            // On a busy machine a compile of a few milliseconds is lost in the noise.
            let sooner = engine["first_start"].as_f64() > engine["later_start"].as_f64();
            assert!(sooner || !large, "{what}: {engine:#}");
        }
    }
    node.finish();
}
