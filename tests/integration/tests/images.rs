//! Images whose module is a layer and no file: every form of them through a real containerd, and refusals.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use catamaran_harness::cri::{self, Pod, Seccomp, Shape};
use catamaran_harness::direct::{Call, Shim};
use catamaran_harness::{Code, Container, Engine, Image, Node, Runtime, guests, wait_until};
use catamaran_integration::compiles::processes;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const WASM: &str = "application/wasm";
const TYPES: [&str; 3] = [
    WASM,
    "application/vnd.wasm.content.layer.v1+wasm",
    "application/vnd.bytecodealliance.wasm.component.layer.v0+wasm",
];
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const GREETING: &str = "hello from wasm\n";
const SOON: Duration = Duration::from_secs(10);
/// The optimiser has the lowest weight: on a busy machine it waits until others leave it time.
const COMPILED: Duration = Duration::from_secs(300);
const HOST: &str = if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" };

/// An image of this machine's platform, whose one layer is that module.
fn image(name: &str, module: impl AsRef<[u8]>) -> Image {
    Image::new(name).blob(WASM, module)
}

/// Imports an image with all its platforms.
fn import(node: &Node, image: &Image) {
    node.import_with(image, &["--all-platforms"]);
}

/// An order with an empty root file system, whose record names an image that `ctr` makes no container of.
fn recorded<'n>(node: &'n Node, id: &str, image: &Image) -> Container<'n> {
    node.import_with(image, &["--all-platforms", "--local", "--no-unpack"]);
    node.container(id).image(&Image::new("empty")).recorded_image(image.name()).args(["/"])
}

fn refused(node: &Node, container: &Container<'_>, code: Code, words: &[&str]) {
    container.expect_refused(code, words);
    node.expect_nothing_left(SOON);
}

/// A number in the cache's counters.
fn counter(node: &Node, name: &str) -> u64 {
    let text = fs::read_to_string(node.catamaran_root().join("counters")).unwrap_or_default();
    text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok()).unwrap_or(0)
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

#[test]
fn every_media_type_runs_and_its_layer_is_named_in_the_log() {
    let node = Node::start();
    for (number, media_type) in TYPES.into_iter().enumerate() {
        let image = Image::new(&format!("type-{number}")).blob(media_type, guests::wat("hello"));
        for entry in ["/", "/nowhere.wasm", "bare", "/dev", "."] {
            let hello = node.container("hello").image(&image).args([entry]).run();
            assert_eq!((hello.code, hello.stdout.as_str()), (0, GREETING), "{media_type} {entry}: {hello:?}");
        }
        let layer = digest(&guests::wat("hello"));
        let named = format!("layer {layer} of {}", image.name());
        assert!(node.log().contains(&named), "{named} is missing in the log");
    }
    node.finish();
}

#[test]
fn the_arguments_after_the_path_reach_the_guest() {
    let node = Node::start();
    let args = node.container("args").image(&image("args", guests::wat("args"))).args(["/", "a b", "", "-c"]).run();
    assert_eq!(args.stdout, "/\na b\n\n-c\n");
    node.finish();
}

#[test]
fn a_second_start_compiles_nothing_and_reads_nothing() {
    let node = Node::start();
    let image = image("twice", guests::wat("hello"));
    let order = || node.container("hello").image(&image).args(["/"]);
    assert_eq!(order().run().stdout, GREETING);
    assert_eq!((counter(&node, "misses"), counter(&node, "compiles"), counter(&node, "hits")), (1, 1, 0));
    // The blob is no longer needed.
    node.ctr_ok(["content", "rm", &digest(&guests::wat("hello"))]);
    assert_eq!(order().run().stdout, GREETING);
    assert_eq!((counter(&node, "misses"), counter(&node, "compiles"), counter(&node, "hits")), (1, 1, 1));
    // The same bytes in a file are the same module.
    let file = guests::image(Runtime::Catamaran, "hello");
    assert_eq!(node.container("file").image(&file).run().stdout, GREETING);
    assert_eq!(counter(&node, "compiles"), 1);
    node.finish();
}

#[test]
fn concurrent_starts_of_a_layer_compile_once() {
    let node = Node::start();
    let image = image("herd", guests::go("kitchen"));
    node.import(&image);
    let order = |number: usize| node.container(&format!("herd-{number}")).image(&image).args(["/", "args", "x"]);
    std::thread::scope(|scope| {
        let runs: Vec<_> = (0..4).map(|number| scope.spawn(move || order(number).run())).collect();
        for run in runs {
            let run = run.join().unwrap();
            assert_eq!((run.code, run.stdout.as_str()), (0, "/\nargs\nx\n"), "{run:?}");
        }
    });
    // Fast code first, then the best, which no start waits for.
    wait_until(COMPILED, "the best code", || (counter(&node, "compiles") == 2).then_some(()));
    node.expect_nothing_left(COMPILED);
    assert_eq!(order(9).run().code, 0);
    assert_eq!(counter(&node, "compiles"), 2);
    node.finish();
}

#[test]
fn the_next_start_orders_optimised_code_for_a_fast_artifact() {
    let node = Node::start();
    let image = image("fast", guests::go("kitchen"));
    let order = || node.container("fast").image(&image).args(["/", "args"]);
    assert_eq!(order().run().code, 0);
    let fingerprint = fs::read_dir(node.catamaran_root().join("cache")).unwrap().next().unwrap().unwrap().path();
    let best = fingerprint.join(digest(&guests::go("kitchen")).trim_start_matches("sha256:"));
    wait_until(COMPILED, "the best code", || best.exists().then_some(()));
    // Wait until its maker has ended: a later request leaves the work to a live maker.
    node.await_compiles();
    node.expect_nothing_left(COMPILED);
    // As if its maker had been killed before.
    fs::rename(&best, best.with_extension("fast")).unwrap();
    assert_eq!(order().run().code, 0);
    wait_until(COMPILED, "the best code again", || best.exists().then_some(()));
    node.expect_nothing_left(COMPILED);
    node.finish();
}

#[test]
fn a_layer_is_read_under_a_lease_that_ends() {
    let node = Node::start();
    // A custom section that takes a while to read, and no time to compile.
    const LENGTH: usize = 64 << 20;
    let length = [0x80 | (LENGTH & 0x7f) as u8, 0x80 | (LENGTH >> 7 & 0x7f) as u8, 0x80 | (LENGTH >> 14 & 0x7f) as u8];
    let length = [&length[..], &[(LENGTH >> 21) as u8]].concat();
    let section = [&[0], &length[..], &[1, b'x'], &vec![7; LENGTH - 2]].concat();
    let image = image("large", [guests::wat("hello"), section].concat());
    node.import(&image);
    let order = node.container("large").image(&image).args(["/"]);
    let done = AtomicBool::new(false);
    let seen = std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut seen = None;
            while seen.is_none() && !done.load(Ordering::Relaxed) {
                seen = node.leases().into_iter().find(|lease| lease.contains("catamaran.wasm/container=large"));
            }
            seen
        });
        let run = order.run();
        done.store(true, Ordering::Relaxed);
        assert_eq!(run.stdout, GREETING, "{run:?}");
        watch.join().unwrap().expect("a lease while the layer is read")
    });
    assert!(seen.contains("containerd.io/gc.expire=20"), "{seen}");
    node.finish();
}

#[test]
fn a_file_of_the_image_is_preferred() {
    let node = Node::start();
    let both = Image::new("both").file("/app.wasm", guests::wat("args")).entrypoint(["/app.wasm"]);
    let both = both.blob(WASM, guests::wat("hello"));
    assert_eq!(node.container("file").image(&both).run().stdout, "/app.wasm\n");
    assert_eq!(node.container("layer").image(&both).args(["/"]).run().stdout, GREETING);
    let data = node.dir().join("data");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("m.wasm"), guests::wat("exit")).unwrap();
    let volume = node.container("volume").image(&both).args(["/data/m.wasm", "7"]).bind(&data, "/data", ["rbind"]);
    assert_eq!(volume.run().code, 7);
    node.finish();
}

#[test]
fn a_single_manifest_for_wasm_runs() {
    let node = Node::start();
    for os in ["wasi", "wasip1", "wasip2", "any"] {
        let image = image(os, guests::wat("hello")).platform(os, "wasm");
        import(&node, &image);
        let hello = node.container(os).image(&image).args(["/"]).run();
        assert_eq!((hello.code, hello.stdout.as_str()), (0, GREETING), "{os}: {hello:?}");
    }
    node.finish();
}

#[test]
fn a_pure_artifact_runs() {
    let node = Node::start();
    let artifact = image("artifact", guests::wat("hello")).config_type("application/vnd.wasm.config.v0+json");
    let artifact = artifact.platform("wasip1", "wasm");
    let hello = recorded(&node, "artifact", &artifact).to_its_end();
    assert_eq!((hello.code, hello.stdout.as_str()), (0, GREETING), "{hello:?}");
    node.finish();
}

#[test]
fn an_index_is_resolved_by_platform() {
    let node = Node::start();
    let hello = || image("part", guests::wat("hello")).platform("wasi", "wasm");
    let native = || Image::new("index").file("/bin/sh", "no module").platform("linux", HOST);
    let foreign = || image("foreign", guests::wat("trap")).platform("linux", "s390x");
    // The unpacked part is this machine's; the module is in the part for Wasm.
    let both = native().also(foreign()).also(hello());
    import(&node, &both);
    let run = node.container("both").image(&both).args(["/"]).run();
    assert_eq!((run.code, run.stdout.as_str()), (0, GREETING), "{run:?}");
    let host = Image::new("host").platform("windows", HOST).also(foreign());
    let host = host.also(image("part", guests::wat("hello")).platform("linux", HOST));
    let run = recorded(&node, "host", &host).to_its_end();
    assert_eq!((run.code, run.stdout.as_str()), (0, GREETING), "{run:?}");
    let none = Image::new("none").platform("windows", HOST).also(foreign());
    let order = recorded(&node, "none", &none);
    refused(&node, &order, Code::InvalidArgument, &["no manifest for Wasm", "linux/s390x", "windows/"]);
    // Only this machine's part is on the node, as after an ordinary pull.
    let pulled = Image::new("pulled").file("/x", "y").also(hello());
    node.import_with(&pulled, &["--local"]);
    let parts = node.ctr_ok(["images", "ls"]);
    let target = parts.lines().find(|line| line.contains("pulled")).unwrap();
    assert!(target.contains("index"), "{target}");
    let wasm = manifest_for(&node, target, "wasm");
    node.ctr(["content", "rm", &wasm]);
    let order = node.container("pulled").image(&pulled).args(["/"]);
    refused(&node, &order, Code::InvalidArgument, &["no Wasm layer", "wasi/wasm: a manifest that was not pulled"]);
    node.finish();
}

/// The digest of the part for an architecture, in the index that a line of `ctr images ls` names.
fn manifest_for(node: &Node, line: &str, architecture: &str) -> String {
    let digest = line.split_whitespace().find(|word| word.starts_with("sha256:")).unwrap();
    let index: Value = serde_json::from_str(&node.ctr_ok(["content", "get", digest])).unwrap();
    let parts = index["manifests"].as_array().unwrap();
    let part = parts.iter().find(|part| part["platform"]["architecture"] == architecture).unwrap();
    part["digest"].as_str().unwrap().to_owned()
}

#[test]
fn an_image_without_a_wasm_layer_names_what_it_has() {
    let node = Node::start();
    let ordinary = guests::image(Runtime::Catamaran, "hello");
    let words =
        ["process.args[0]", "/none", "no such file", ordinary.name(), "image.layer.v1.tar", WASM, TYPES[1], "\"/\""];
    refused(&node, &node.container("a").image(&ordinary).args(["/none"]), Code::InvalidArgument, &words);
    refused(&node, &node.container("a").image(&ordinary).args(["/"]), Code::InvalidArgument, &["directory", "tar"]);
    let odd = Image::new("odd").blob("application/wasm+gzip", guests::wat("hello"));
    let order = recorded(&node, "a", &odd);
    refused(&node, &order, Code::InvalidArgument, &["layers of type \"application/wasm+gzip\""]);
    let two = image("two", guests::wat("hello")).blob(TYPES[1], guests::wat("args"));
    let words =
        ["2 Wasm layers", &digest(&guests::wat("hello")), &digest(&guests::wat("args")), "a container runs one"];
    refused(&node, &recorded(&node, "a", &two), Code::InvalidArgument, &words);
    let none = node.container("a").image(&Image::new("empty")).recorded_image("").args(["/"]);
    refused(&node, &none, Code::InvalidArgument, &["no image of containerd's"]);
    let gone = node.container("a").image(&Image::new("empty")).recorded_image("localhost/gone:1").args(["/"]);
    refused(&node, &gone, Code::FailedPrecondition, &["localhost/gone:1", "pull it again"]);
    node.finish();
}

#[test]
fn a_layer_that_is_no_module_is_refused() {
    let node = Node::start();
    // The cache's entry is a file that Wasmtime calls a .cwasm.
    assert_eq!(node.container("a").image(&image("hello", guests::wat("hello"))).args(["/"]).run().code, 0);
    let fingerprint = fs::read_dir(node.catamaran_root().join("cache")).unwrap().next().unwrap().unwrap().path();
    let hex = digest(&guests::wat("hello")).split_off("sha256:".len());
    let native = fs::read(fingerprint.join(hex)).unwrap();
    let compiles = counter(&node, "compiles");
    for (name, bytes, word) in [
        ("gzip", &b"\x1f\x8b\x08\0\0\0\0\0\0\x03"[..], "compressed"),
        ("cwasm", &native, ".cwasm"),
        ("elf", b"\x7fELF\x02\x01\x01\0\0\0", "an ELF file"),
        ("tar", b"app.wasm\0\0\0\0\0\0\0\0", "[61, 70, 70, 2e]"),
        ("short", b"\0as", "[00, 61, 73]"),
    ] {
        let order = node.container("a").image(&image(name, bytes)).args(["/"]);
        refused(&node, &order, Code::FailedPrecondition, &["layer sha256:", name, word]);
    }
    // Remembered like other refusals: the layer is not read again.
    let tar = image("tar", b"app.wasm\0\0\0\0\0\0\0\0");
    let refusals = counter(&node, "refusals");
    node.ctr_ok(["content", "rm", &digest(b"app.wasm\0\0\0\0\0\0\0\0")]);
    refused(&node, &node.container("a").image(&tar).args(["/"]), Code::FailedPrecondition, &["[61, 70, 70, 2e]"]);
    assert_eq!((counter(&node, "refusals"), refusals), (5, 5), "each was one, once");
    let file = Image::new("file").file("/app.cwasm", &native).entrypoint(["/app.cwasm"]);
    refused(&node, &node.container("a").image(&file), Code::FailedPrecondition, &["/app.cwasm", ".cwasm", "never run"]);
    assert_eq!(counter(&node, "compiles"), compiles, "no compiler saw any of it");
    let component = image("component", wat::parse_str("(component)").unwrap());
    let order = node.container("a").image(&component).args(["/"]);
    refused(&node, &order, Code::FailedPrecondition, &["layer sha256:", "component"]);
    node.finish();
}

#[test]
fn missing_content_says_to_pull_the_image_again() {
    let node = Node::start();
    let image = image("gone", guests::wat("hello"));
    node.import(&image);
    let order = node.container("gone").image(&image).args(["/"]);
    node.ctr_ok(["content", "rm", &digest(&guests::wat("hello"))]);
    refused(&node, &order, Code::FailedPrecondition, &["layer sha256:", "content store", "pull the image again"]);
    let listed = node.ctr_ok(["images", "ls"]);
    let target = listed.split_whitespace().find(|word| word.starts_with("sha256:")).unwrap();
    // The record is made while the manifest still exists.
    let record = recorded(&node, "gone", &image);
    let empty = Image::new("empty");
    node.import(&empty);
    node.ctr_ok(["content", "rm", target]);
    refused(&node, &record, Code::FailedPrecondition, &[image.name(), target, "pull the image again"]);
    node.import_with(&image, &[]);
    assert_eq!(order.run().stdout, GREETING, "it was pulled again");
    node.finish();
}

#[test]
fn a_manifest_with_a_wrong_digest_or_size_is_refused() {
    let node = Node::start();
    let length = guests::wat("hello").len();
    for (name, key, value, word) in [
        ("small", "size", json!(length - 1), "larger than"),
        ("large", "size", json!(length + 1), "that its descriptor says"),
        ("huge", "size", json!(i64::MAX), "at most"),
        ("empty-size", "size", json!(0), "larger than"),
        ("negative", "size", json!(-1), "-1"),
        ("slashes", "digest", json!(format!("sha256:../../../../{}", "a".repeat(52))), "64 hexadecimal digits"),
        ("sha512", "digest", json!(format!("sha512:{}", "a".repeat(128))), "with sha256 digests"),
        ("absent", "digest", json!(format!("sha256:{}", "a".repeat(64))), "pull the image again"),
    ] {
        let image = image(name, guests::wat("hello")).manifest(move |m| m["layers"][0][key] = value.clone());
        refused(&node, &recorded(&node, "liar", &image), Code::FailedPrecondition, &[word]);
    }
    let control = image("control", "x").manifest(|m| m["layers"][0]["mediaType"] = "a\u{1b}[2J\nb".into());
    let status = recorded(&node, "liar", &control).try_create().map(drop).unwrap_err();
    assert!(!status.message.contains('\u{1b}') && status.message.contains("[2J"), "{status}");
    node.finish();
}

#[test]
fn containerd_stores_no_content_by_sha512() {
    let node = Node::start();
    // The digest of no bytes, which is what ctr reads here.
    let empty = "cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e";
    let output = node.ctr(["content", "ingest", "--expected-digest", &format!("sha512:{empty}"), "sha512"]);
    assert!(
        output.code != 0 && output.stderr.contains("unexpected commit digest"),
        "layers may have one now: {output:?}"
    );
    node.finish();
}

#[test]
fn documents_that_no_registry_would_take_are_refused() {
    let node = Node::start();
    let hello = node.ingest(WASM, &guests::wat("hello"));
    let document = |media_type: &str, document: Value| node.ingest(media_type, document.to_string().as_bytes());
    let good = document(MANIFEST, json!({"layers": [hello]}));
    let deep = (0..20).fold(good.clone(), |part, _| document(INDEX, json!({"manifests": [part]})));
    let large = [json!({"layers": [hello]}).to_string().into_bytes(), vec![b' '; 5 << 20]].concat();
    let part = |number: u32| {
        let platform = json!({"os": "wasi", "architecture": "wasm"});
        json!({"mediaType": MANIFEST, "digest": format!("sha256:{number:064x}"), "size": 7, "platform": platform})
    };
    // As large as a document may be.
    let endless = |layer: &str| {
        let layers = vec![layer; (4 << 20) / (layer.len() + 1) - 10].join(",");
        format!("{{\"layers\":[{layers}]}}").into_bytes()
    };
    let overflow = json!({"layers": [{"mediaType": WASM, "digest": hello["digest"], "size": 1u64 << 63}]});
    let mut wrong = good.clone();
    wrong["size"] = json!(good["size"].as_i64().unwrap() + 1);
    let (argument, precondition) = (Code::InvalidArgument, Code::FailedPrecondition);
    for (name, target, code, word) in [
        ("deep", deep, argument, "more than 16 manifests"),
        (
            "many",
            document(INDEX, json!({"manifests": (0..3000).map(part).collect::<Vec<_>>()})),
            argument,
            "not pulled",
        ),
        ("large", node.ingest(MANIFEST, &large), precondition, "at most 4194304"),
        ("brackets", node.ingest(MANIFEST, &vec![b'['; 3 << 20]), precondition, "line 1"),
        ("overflow", document(MANIFEST, overflow), precondition, "invalid value"),
        ("both", document(INDEX, json!({"layers": [], "manifests": []})), precondition, "layers, as a manifest"),
        ("size", wrong, precondition, "that its descriptor says"),
        ("memory", node.ingest(MANIFEST, &endless("{}")), precondition, "ended with 134"),
        ("garbage", node.ingest(MANIFEST, &[0xff; 1 << 20]), precondition, "line 1"),
        ("text", node.ingest(MANIFEST, &endless("{\"mediaType\":\"\\u001b[2J\"}")), argument, "[2J"),
        ("blob", hello, argument, "neither an index nor a manifest"),
    ] {
        node.record_image(name, &target);
        let order = node.container("odd").image(&Image::new("empty")).recorded_image(name).args(["/"]);
        refused(&node, &order, code, &[name, word]);
        assert!(processes(&node, "reader").is_empty(), "{name}");
    }
    node.record_image("good", &good);
    let order = node.container("odd").image(&Image::new("empty")).recorded_image("good").args(["/"]);
    assert_eq!(order.to_its_end().stdout, GREETING);
    node.finish();
}

/// About the process that reads manifests, while its driver waits for containerd.
#[test]
fn manifests_are_read_by_a_process_without_rights() {
    let node = Node::start();
    let shim = Shim::start(&node, Runtime::Catamaran, Engine::Wasmtime);
    let case = shim.case();
    let config = case.bundle.join("config.json");
    let mut spec: Value = serde_json::from_slice(&fs::read(&config).unwrap()).unwrap();
    // No file: the driver must ask containerd for a layer.
    spec["process"]["args"] = json!(["/"]);
    fs::write(&config, spec.to_string()).unwrap();
    let stop = |signal: Signal| kill(Pid::from_raw(node.containerd_pid().cast_signed()), signal).unwrap();
    stop(Signal::SIGSTOP);
    let refused = std::thread::scope(|scope| {
        let created = scope.spawn(|| case.send(Call::Create));
        let pid = wait_until(SOON, "the reader", || processes(&node, "reader").first().copied());
        let folder = Path::new("/proc").join(pid.to_string());
        let read = |what: &str| fs::read_to_string(folder.join(what)).unwrap();
        wait_until(SOON, "it to give up its rights", || read("status").contains("Seccomp:\t2").then_some(()));
        let (status, own) = (read("status"), 0x7f00_0000 | pid);
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert!(status.contains(&format!("{set}:\t0000000000000000")), "{status}");
        }
        for line in [format!("Uid:{}", format!("\t{own}").repeat(4)), format!("Gid:{}", format!("\t{own}").repeat(4))] {
            assert!(status.contains(&line), "{line}: {status}");
        }
        let line = |key: &str| status.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
        assert_eq!([line("Groups:"), line("NoNewPrivs:"), line("Threads:")], [Some(""), Some("1"), Some("1")]);
        assert_eq!(read("oom_score_adj").trim(), "1000");
        for kind in ["net", "ipc", "uts"] {
            let namespace = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap();
            assert_ne!(namespace(&pid.to_string()), namespace("self"), "{kind}");
        }
        assert_eq!(fs::read_dir(folder.join("root")).unwrap().count(), 0, "its root is empty");
        let open = fs::read_dir(folder.join("fd")).unwrap().map(|entry| {
            let to = fs::read_link(entry.unwrap().path()).unwrap();
            to.to_string_lossy().split(':').next().unwrap().to_owned()
        });
        let mut open: Vec<_> = open.collect();
        open.sort();
        assert_eq!(open, ["/dev/null", "pipe", "pipe"], "and no connection to containerd");
        let limits = read("limits");
        let bytes = limits.lines().find(|line| line.starts_with("Max address space")).unwrap();
        assert!(bytes.contains(" 268435456 "), "{limits}");
        stop(Signal::SIGCONT);
        created.join().unwrap().unwrap_err().to_string()
    });
    assert!(refused.contains("asking containerd for the container's image"), "{refused}");
    wait_until(SOON, "it to end", || processes(&node, "reader").is_empty().then_some(()));
    case.discard();
    shim.end();
    node.finish();
}

#[test]
fn kubernetes_records_the_image_that_is_asked_for() {
    let node = Node::start_with(cri::options());
    let pod = Pod::run(&node, "layers", Shape::default());
    for (name, config) in [("image", CONFIG), ("artifact", "application/vnd.wasm.config.v0+json")] {
        let image = image(name, guests::wat("args")).config_type(config);
        let order = pod.order(name, &image).command(["/"]).args(["a", "b"]).seccomp(Seccomp::Unconfined);
        let created = order.create();
        // The task runs in the node's own namespace, where the image must have the same name.
        node.import_with(&image, &["--local", "--no-unpack"]);
        assert_eq!(created.image(), image.name(), "{name}");
        let task = created.try_task().unwrap_or_else(|status| panic!("{name}: {status}"));
        task.start();
        task.wait(SOON);
        assert_eq!(task.delete().stdout, "/\na\nb\n", "{name}");
    }
    pod.remove();
    node.finish();
}
