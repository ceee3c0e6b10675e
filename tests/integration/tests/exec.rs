//! Further processes of a container: what their words name, what they are, and what becomes of them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use catamaran_harness::{Engine, Image, Node, Runtime, State, Task, guests, procfs, wait_until};
use serde_json::json;

const SOON: Duration = Duration::from_secs(10);

/// A container's image with programs of all kinds; its own sleeps.
fn tools() -> Image {
    let mut image = Image::new("tools").file("/sleep", guests::wat("sleep")).entrypoint(["/sleep"]);
    for name in ["hello", "args", "exit", "env", "cat", "spin", "trap", "sleep"] {
        image = image.file(&format!("/bin/{name}"), guests::wat(name));
    }
    let imports = wat::parse_str("(module (import \"env\" \"nothing\" (func)) (func (export \"_start\")))").unwrap();
    image
        .env(["PATH=/bin"])
        .file("/bin/kitchen", guests::go("kitchen"))
        .file("/bin/imports", imports)
        .file("/bin/elf", guests::peer())
        .file("/bin/script", "#!/bin/hello\n")
        .file("/bin/cwasm", b"\x7fELF\x02\x01\x01\xc8and more")
        .file("/bin/text", "(module)")
        .file("/bin/empty", "")
        .dir("/bin/folder", 0o755, 0, 0)
        .link("/bin/link", "/bin/hello")
        .link("/bin/out", "../../../../../../../../bin/sh")
        .link("/bin/loop", "loop")
        .dir("/tmp", 0o777, 0, 0)
}

fn sleeping<'n>(node: &'n Node, id: &str) -> Task<'n> {
    let task = node.container(id).image(&tools()).spawn();
    task.expect_stdout("ready\n");
    task
}

#[test]
fn a_module_of_the_tree_runs_in_the_container() {
    for engine in Engine::ALL {
        let node = Node::start().engine(engine);
        let task = sleeping(&node, "c");
        // By ctr, as a person does it.
        let hello = task.exec("e", ["/bin/hello"]);
        assert_eq!((hello.code, hello.stdout.as_str(), hello.stderr.as_str()), (0, "hello from wasm\n", ""));
        assert_eq!(task.exec("e", ["/bin/exit", "42"]).code, 42, "the exec's id is free again");
        let args = task.exec("e", ["args", "a b", "", "ü"]);
        assert_eq!((args.code, args.stdout.as_str()), (0, "args\na b\n\nü\n"), "by PATH, with its own words");
        assert_eq!(task.exec("e", ["/bin/link"]).stdout, "hello from wasm\n");
        assert_eq!(task.exec("e", ["/bin/trap"]).code, 134);
        let env = task.further("env").args(["env"]).process(|p| p["env"] = json!(["PATH=/bin", "OWN=1"])).run();
        assert_eq!((env.code, env.stdout.contains("OWN=1\n")), (0, true), "{env:?}");
        assert_eq!(task.state(), State::Running);
        assert!(task.exec("e", ["kitchen", "write", "/tmp/a", "text"]).code == 0);
        assert_eq!(task.exec("e", ["kitchen", "read", "/tmp/a"]).stdout.trim_end(), "text");
        task.discard();
        node.finish();
    }
}
