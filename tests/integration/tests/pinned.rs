//! A container's program is fixed at its Create, by digest: names that move, as tags do, cannot change it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use std::fs;
use std::time::Duration;

use catamaran_harness::cri::{self, ContainerState, Pod, Running, Shape};
use catamaran_harness::{Engine, Image, Node, guests};

const WASM: &str = "application/wasm";
const GREETING: &str = "hello from wasm";
const SOON: Duration = Duration::from_secs(10);
const HOST: &str = if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" };
const PARTS: &[&str] = &["--all-platforms"];

/// Waits; with an argument prints "own" and ends.
fn first() -> Vec<u8> {
    let text = r#"(module
      (import "wasi_snapshot_preview1" "args_sizes_get" (func $sizes (param i32 i32) (result i32)))
      (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
      (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))
      (memory (export "memory") 1)
      (data (i32.const 0) "\10\00\00\00\06\00\00\00")
      (data (i32.const 16) "ready\n")
      (data (i32.const 32) "\28\00\00\00\04\00\00\00")
      (data (i32.const 40) "own\n")
      (func (export "_start")
        (drop (call $sizes (i32.const 300) (i32.const 304)))
        (if (i32.gt_u (i32.load (i32.const 300)) (i32.const 1))
          (then (drop (call $fd_write (i32.const 1) (i32.const 32) (i32.const 1) (i32.const 8))) (return)))
        (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
        (i32.store (i32.const 80) (i32.const 1))
        (i64.store (i32.const 88) (i64.const 3600000000000))
        (drop (call $poll_oneoff (i32.const 64) (i32.const 128) (i32.const 1) (i32.const 192)))))"#;
    wat::parse_str(text).unwrap()
}

/// An image of this machine's platform, whose one layer is that module. All of them have one configuration, and so one image ID, which does
/// not identify the layer.
fn image(name: &str, module: impl AsRef<[u8]>) -> Image {
    Image::new(name).blob(WASM, module)
}

/// An image of two parts: the one that the CRI resolves on this machine, and one for Wasm, which the CRI does not pull.
fn index(name: &str, module: impl AsRef<[u8]>) -> Image {
    image(name, module).platform("linux", HOST).also(image("part", guests::wat("trap")).platform("wasi", "wasm"))
}

fn ended(container: &Running<'_>) -> (i32, Vec<String>) {
    let status = container.wait(SOON);
    assert_eq!(status.state, ContainerState::Exited);
    (status.exit_code, container.lines("stdout"))
}

/// Makes an image of this name whose Wasm layer has these bytes.
type MakeImage = fn(&str, Vec<u8>) -> Image;

#[test]
fn a_moved_tag_changes_nothing_in_an_existing_container() {
    for engine in Engine::ALL {
        let node = Node::start().engine(engine);
        let name = image("moving", "").name().to_owned();
        let import = |module: &[u8]| node.import_with(&image("moving", module), PARTS);
        import(&first());
        // Another name for the same layer, so that containerd's collector keeps it.
        node.import(&image("kept", first()));
        let task = node.container("first").image_name(&name).args(["/"]).create();
        import(&guests::wat("hello"));
        task.start();
        task.expect_stdout("ready\n");
        let exec = || task.further("e").args(["/", "x"]).run();
        assert_eq!(exec().stdout, "own\n", "{engine:?}: an exec");
        node.ctr_ok(["images", "rm", &name]);
        assert_eq!(exec().stdout, "own\n", "{engine:?}: an exec whose image's name is gone");
        // Without the cache, the shim reads the module from the very same layer.
        node.await_compiles();
        fs::remove_dir_all(node.catamaran_root().join("cache")).unwrap();
        assert_eq!(exec().stdout, "own\n", "{engine:?}: an exec that compiles");
        import(&guests::wat("hello"));
        let new = node.container("second").image_name(&name).args(["/"]).run();
        assert_eq!(
            new.stdout.trim_end(),
            GREETING,
            "{engine:?}: a container made now is of what the name stands for now"
        );
        task.discard();
        node.await_compiles();
        node.finish();
    }
}

#[test]
fn an_exec_whose_layer_is_gone_is_refused() {
    let node = Node::start();
    let name = image("gone", "").name().to_owned();
    node.import_with(&image("gone", guests::wat("sleep")), PARTS);
    let task = node.container("first").image_name(&name).args(["/"]).spawn();
    task.expect_stdout("ready\n");
    node.import_with(&image("gone", guests::wat("hello")), PARTS);
    // Removed at once, with its content.
    node.ctr_ok(["images", "rm", "--sync", &name]);
    node.import_with(&image("gone", guests::wat("hello")), PARTS);
    fs::remove_dir_all(node.catamaran_root().join("cache")).unwrap();
    let exec = task.further("e").args(["/"]).run();
    assert_eq!((exec.code, exec.stdout.as_str()), (126, ""), "{exec:?}");
    assert!(exec.stderr.contains("pull the image again"), "{exec:?}");
    task.discard();
    node.finish();
}

#[test]
fn a_pod_that_is_pinned_by_digest_runs_that_image_wherever_its_tag_leads() {
    let node = Node::start_with(cri::options());
    let pod = Pod::run(&node, "pinned", Shape { handler: "catamaran".to_owned(), ..Shape::default() });
    // A single manifest, and a part of an index.
    let shapes: [(&str, MakeImage); 2] = [("single", image), ("parts", index)];
    for (name, make) in shapes {
        let first = make(name, first());
        cri::import_with(&node, &first, PARTS);
        let pinned = cri::pin(&node, &first);
        let order = || pod.order_known(name).image(&pinned, &pinned);
        // Before the start, and before an exec.
        let container = order().command(["/"]).ready();
        cri::import_with(&node, &make(name, guests::wat("hello")), PARTS);
        container.start();
        container.expect_line("ready");
        let exec = container.exec_sync(&["/", "x"], SOON).unwrap();
        assert_eq!(exec.stdout, "own\n", "{name}: {exec:?}");
        container.stop(Duration::ZERO);
        container.remove();
        // And for a container whose record is made while the tag is another image's.
        let again = order().attempt(1).command(["/", "x"]).start();
        assert_eq!(ended(&again), (0, vec!["own".to_owned()]), "{name}");
        again.remove();
    }
    pod.remove();
    node.finish();
}

#[test]
fn a_tag_that_moved_since_the_containers_record_was_made_is_refused() {
    let node = Node::start_with(cri::options());
    let pod = Pod::run(&node, "moved", Shape { handler: "catamaran".to_owned(), ..Shape::default() });
    let shapes: [(&str, MakeImage); 2] = [("single", image), ("parts", index)];
    for (name, make) in shapes {
        // With another configuration, as of another build.
        let first = make(name, guests::wat("hello")).env(["BUILD=1"]);
        cri::import_with(&node, &first, PARTS);
        let order = |attempt| pod.order_known(name).image(first.name(), "").attempt(attempt).command(["/"]);
        let stays = order(0).start();
        assert_eq!(ended(&stays), (0, vec![GREETING.to_owned()]), "{name}");
        let moves = order(1).ready();
        cri::import_with(&node, &make(name, guests::wat("args")).env(["BUILD=2"]), PARTS);
        let status = moves.try_start().unwrap_err();
        for word in [first.name(), "image ID sha256:", "the name has moved since", "create the container again"] {
            assert!(status.message.contains(word), "{word:?} is missing in: {status}");
        }
        stays.remove();
        moves.remove();
    }
    pod.remove();
    node.finish();
}

/// The two share a configuration, and so an ID; the record of either has the first name of both.
#[test]
fn images_of_one_id_are_told_apart_by_the_names_that_pods_have_for_them() {
    let node = Node::start_with(cri::options());
    let pod = Pod::run(&node, "alike", Shape { handler: "catamaran".to_owned(), ..Shape::default() });
    for (name, guest) in [("a-first", "hello"), ("b-second", "args")] {
        cri::import_with(&node, &image(name, guests::wat(guest)), PARTS);
    }
    let second = image("b-second", "");
    let pinned = cri::pin(&node, &second);
    for (attempt, words) in [(0, second.name()), (1, pinned.as_str())] {
        let container = pod.order_known("c").image(words, words).attempt(attempt).command(["/", "x"]).start();
        assert_eq!(ended(&container), (0, vec!["/".to_owned(), "x".to_owned()]), "{words}");
        container.remove();
    }
    // The ID alone names neither.
    let id = cri::image_id(&node, second.name());
    let container = pod.order_known("c").image(&id, &id).attempt(2).command(["/"]).ready();
    let status = container.try_start().unwrap_err();
    assert!(status.message.contains("asked for by its ID") && status.message.contains(&id), "{status}");
    container.remove();
    pod.remove();
    node.finish();
}
