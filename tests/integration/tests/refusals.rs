//! Refusals at Create: with the cause and the remedy in the text, nothing left behind, and the id free.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use catamaran_harness::{Code, Container, Engine, Image, Node, Runtime, guests};
use serde_json::json;

/// Creates a container that must be refused, and then one of the same id that must run.
fn refused(node: &Node, container: &Container<'_>, code: Code, words: &[&str]) {
    container.expect_refused(code, words);
    node.expect_nothing_left(std::time::Duration::from_secs(5));
    let again = node.container("same").image(&guests::image(Runtime::Catamaran, "hello")).run();
    assert_eq!(again.stdout, "hello from wasm\n", "the id cannot be used again: {again:?}");
}

fn image_with(name: &str, bytes: impl AsRef<[u8]>) -> Image {
    Image::new(name).file("/app.wasm", bytes).entrypoint(["/app.wasm"])
}

fn module(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap()
}

#[test]
fn a_file_that_is_no_module_is_refused() {
    let node = Node::start();
    for (name, bytes, word) in [
        ("text", b"(module)".as_slice(), "text format"),
        ("empty", b"", "an empty file"),
        ("garbage", b"\xde\xad\xbe\xef\x00", "[de, ad, be, ef]"),
    ] {
        let container = node.container("same").image(&image_with(name, bytes));
        refused(&node, &container, Code::FailedPrecondition, &["/app.wasm", word]);
    }
    node.finish();
}

#[test]
fn a_broken_module_is_refused() {
    let node = Node::start();
    let cut = &guests::wat("hello")[..60];
    let container = node.container("same").image(&image_with("cut", cut));
    refused(&node, &container, Code::FailedPrecondition, &["/app.wasm", "offset"]);
    let mistyped = module("(module (func (export \"_start\")))");
    let mut mistyped = mistyped;
    let last = mistyped.len() - 1;
    mistyped[last] = 0x6a;
    let container = node.container("same").image(&image_with("mistyped", mistyped));
    refused(&node, &container, Code::FailedPrecondition, &["/app.wasm"]);
    node.finish();
}

#[test]
fn a_component_without_run_is_refused() {
    let node = Node::start();
    let component = module("(component)");
    let container = node.container("same").image(&image_with("component", component));
    refused(&node, &container, Code::FailedPrecondition, &["/app.wasm", "component"]);
    node.finish();
}

#[test]
fn a_module_without_an_entry_point_is_refused() {
    let node = Node::start();
    let container = node.container("same").image(&image_with("library", module("(module (func (export \"run\")))")));
    refused(&node, &container, Code::FailedPrecondition, &["/app.wasm", "_start"]);
    node.finish();
}

#[test]
fn imports_that_nobody_provides_are_refused() {
    let node = Node::start();
    let wanting = module(r#"(module (import "env" "magic" (func)) (func (export "_start")))"#);
    let container = node.container("same").image(&image_with("wanting", wanting));
    refused(&node, &container, Code::FailedPrecondition, &["/app.wasm", "env", "magic"]);
    let wasix =
        r#"(module (import "wasix_32v1" "magic" (func)) (memory (export "memory") 1) (func (export "_start")))"#;
    let container = node.container("same").image(&image_with("wasix", module(wasix)));
    refused(&node, &container, Code::FailedPrecondition, &["/app.wasm", "wasix_32v1", "magic"]);
    node.finish();
}

/// On Wasmer the container was created, and ended with 134 and the engine's own types.
#[test]
fn an_imported_memory_is_refused() {
    let imported = r#"(module (import "env" "memory" (memory 1)) (func (export "_start")))"#;
    let shared =
        r#"(module (import "env" "shared" (memory 1 1 shared)) (memory (export "memory") 1) (func (export "_start")))"#;
    let engines = [
        (Engine::Wasmtime, imported, "`env.memory`"),
        (Engine::Wasmer, imported, "`env.memory`"),
        (Engine::Wasmer, shared, "`env.shared`"),
    ];
    for (engine, text, name) in engines {
        let node = Node::start().engine(engine);
        let container = node.container("same").image(&image_with("imported", module(text))).engine(engine);
        refused(
            &node,
            &container,
            Code::FailedPrecondition,
            &["/app.wasm", name, "--import-memory", "-sIMPORTED_MEMORY"],
        );
        node.finish();
    }
}

/// The errors of both engines named no remedy.
#[test]
fn exceptions_in_their_legacy_encoding_are_refused() {
    let text =
        r#"(module (memory (export "memory") 1) (tag $t) (func $f) (func (export "_start") try call $f catch $t end))"#;
    for engine in Engine::ALL {
        let node = Node::start().engine(engine);
        let container = node.container("same").image(&image_with("legacy", module(text))).engine(engine);
        let words = ["/app.wasm", "legacy", "-wasm-use-legacy-eh=false", "wasm-opt --translate-to-exnref"];
        refused(&node, &container, Code::FailedPrecondition, &words);
        node.finish();
    }
}

#[test]
fn a_missing_file_is_named() {
    let node = Node::start();
    let image =
        guests::image(Runtime::Catamaran, "hello").dir("/folder", 0o755, 0, 0).link("/out", "../../etc/hostname");
    let refuse = |arg: &str, words: &[&str]| {
        let container = node.container("same").image(&image).args([arg]);
        refused(&node, &container, Code::InvalidArgument, words);
    };
    refuse("/nowhere.wasm", &["process.args[0]", "/nowhere.wasm", "no such file"]);
    refuse("bare", &["process.args[0]", "bare", "looked for"]);
    refuse("/folder", &["process.args[0]", "/folder", "directory"]);
    refuse("/out", &["process.args[0]", "no such file"]);
    node.finish();
}

#[test]
fn an_unknown_engine_is_refused() {
    let node = Node::start();
    let image = guests::image(Runtime::Catamaran, "hello");
    for engine in ["Wasmer", "v8", ""] {
        let container = node.container("same").image(&image).annotation("catamaran.wasm/engine", engine);
        refused(&node, &container, Code::InvalidArgument, &["catamaran.wasm/engine", "wasmtime"]);
    }
    let hello = node.container("hello").image(&image).annotation("catamaran.wasm/engine", "wasmtime").run();
    assert_eq!(hello.code, 0, "{hello:?}");
    node.finish();
}

#[test]
fn unsupported_requests_of_the_spec_are_refused() {
    let node = Node::start();
    let image = guests::image(Runtime::Catamaran, "hello");
    let base = || node.container("same").image(&image);
    let labelled = base().spec(|spec| spec["process"]["apparmorProfile"] = "no-such-profile".into());
    match std::fs::read_to_string("/sys/module/apparmor/parameters/enabled").as_deref() {
        Ok("Y\n") => refused(&node, &labelled, Code::Internal, &["no-such-profile", "loaded on this node"]),
        _ => refused(&node, &labelled, Code::InvalidArgument, &["process.apparmorProfile", "no-such-profile"]),
    }
    for (key, value) in [
        ("execCPUAffinity", json!({"initial": "0-3", "final": "1"})),
        ("execCPUAffinity", json!({"initial": "0-3,,1"})),
        ("ioPriority", json!({"class": "IOPRIO_CLASS_BE", "priority": 4})),
        ("scheduler", json!({"policy": "SCHED_BATCH"})),
    ] {
        let order = base().spec(move |spec| spec["process"][key] = value.clone());
        refused(&node, &order, Code::InvalidArgument, &[&format!("config.json: process.{key}: set: no ")]);
    }
    refused(&node, &base().flag(["--device", "/dev/null"]), Code::InvalidArgument, &["config.json", "linux.devices"]);
    let missing = base().bind(std::path::Path::new("/nowhere/at/all"), "/data", ["rbind"]);
    refused(&node, &missing, Code::InvalidArgument, &["at /data", "/nowhere/at/all"]);
    let odd = base().mount("nfs", "server:/x", "/data", ["ro"]);
    refused(&node, &odd, Code::InvalidArgument, &["mounts[", "nfs"]);
    let up = base().bind(std::path::Path::new("/tmp"), "/a/../../b", ["rbind"]);
    refused(&node, &up, Code::InvalidArgument, &["mounts[", ".."]);
    node.finish();
}

/// The length of the longest run of that letter.
fn longest(text: &str, letter: char) -> usize {
    text.split(|c| c != letter).map(|run| run.chars().count()).max().unwrap_or(0)
}

/// A command of a megabyte made a log line of two megabytes at each retry.
#[test]
fn quoted_text_of_a_tenant_is_cut() {
    const MOST: usize = 200;
    for engine in Engine::ALL {
        let node = Node::start().engine(engine);
        let long = "Q".repeat(100_000);
        let hello = || node.container("same").image(&guests::image(Runtime::Catamaran, "hello"));
        let spec = |key: &'static str, value: serde_json::Value| {
            hello().spec(move |spec| spec["process"][key] = value.clone())
        };
        let importing = module(&format!(r#"(module (import "Q" "{long}" (func)) (func (export "_start")))"#));
        let broken = module(&format!(r#"(module (func (export "{long}")) (func (export "{long}")))"#));
        let document = json!({"layers": [{"mediaType": "application/wasm", "size": long}]}).to_string();
        let manifest = node.ingest("application/vnd.oci.image.manifest.v1+json", document.as_bytes());
        node.record_image("document", &manifest);
        let volume = node.folder("volume");
        let orders = [
            ("a path", spec("args", json!([format!("/{long}")]))),
            ("a name", spec("args", json!([long]))),
            ("with blanks", spec("args", json!([format!("/{}", "Q ".repeat(50_000))]))),
            ("a working directory", spec("cwd", json!(long))),
            ("an import", node.container("same").image(&image_with("importing", importing))),
            ("an export", node.container("same").image(&image_with("broken", broken))),
            ("a mount", hello().with_volume(&volume, &format!("/{long}"), &["rbind"])),
            ("an option", hello().with_volume(&volume, "/data", &["rbind", &long])),
            ("a type", hello().with_mount(&long, "none", "/data", &[])),
            ("a manifest", node.container("same").image(&Image::new("empty")).recorded_image("document").args(["/"])),
        ];
        for (what, order) in orders {
            let message = order.try_create().err().unwrap_or_else(|| panic!("{what}: it was created")).message;
            let (run, letters) = (longest(&message, 'Q'), message.matches('Q').count());
            assert!(
                (1..=MOST).contains(&run) && letters <= 6 * MOST,
                "{what}: {run}, {letters} letters: {message:.2000}"
            );
        }
        let task = node.container("waits").image(&guests::image(Runtime::Catamaran, "sleep")).spawn();
        for words in [long.clone(), format!("/{long}"), "Q ".repeat(50_000)] {
            let exec = task.further("e").args([words.as_str()]).run();
            let letters = exec.stderr.matches('Q').count();
            assert!(exec.code > 125 && (1..=6 * MOST).contains(&letters), "{engine:?}: {letters} letters: {exec:?}");
        }
        task.discard();
        node.finish();
    }
}
