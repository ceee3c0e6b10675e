//! Environment variables that a guest gets beside its spec's: HOME, as under runc, and the engine that runs it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use std::time::Duration;

use catamaran_harness::{Engine, Fifo, Image, Node, Runtime, guests};
use catamaran_integration::everywhere;
use serde_json::json;

const SOON: Duration = Duration::from_secs(20);
const USERS: &str = "root:x:0:0:root:/root:/bin/sh\nsailor:x:1000:1000::/home/sailor:/bin/sh\nbare:x:1001:1001\n";

/// An image with `sleep` and `env`.
fn image(runtime: Runtime, name: &str) -> Image {
    let (sleep, env) = match runtime {
        Runtime::Catamaran => (guests::wat("sleep"), guests::wat("env")),
        Runtime::Runc => (guests::peer(), guests::peer()),
    };
    Image::new(name).file("/sleep", sleep).file("/env", env).entrypoint(["/sleep"])
}

/// The values of a variable in the output of `env`.
fn values<'o>(printed: &'o str, name: &str) -> Vec<&'o str> {
    printed.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('=')).collect()
}

#[test]
fn home_is_read_from_the_containers_own_etc_passwd() {
    everywhere(|node, runtime| {
        let with = |name: &str| image(runtime, name).file("/etc/passwd", USERS);
        let linked = image(runtime, "linked").file("/usr/users", USERS).link("/etc/passwd", "../usr/users");
        let closed = image(runtime, "closed").file_as("/etc/passwd", USERS, 0o600, 0, 0);
        let folder = image(runtime, "folder").dir("/etc/passwd", 0o755, 0, 0);
        for (image, user, env, home) in [
            (with("users"), 0, None, "/root"),
            (with("users"), 1000, None, "/home/sailor"),
            (with("users"), 1001, None, ""),
            (with("users"), 7, None, "/"),
            (with("users"), 1000, Some("HOME="), "/home/sailor"),
            (with("users"), 1000, Some("HOME=/mine"), "/mine"),
            (image(runtime, "none"), 1000, None, "/"),
            (linked, 1000, None, "/home/sailor"),
            (closed, 1000, None, "/home/sailor"),
            (folder, 1000, None, "/"),
        ] {
            let edit = move |process: &mut serde_json::Value| {
                process["user"] = json!({"uid": user, "gid": user});
                process["env"].as_array_mut().unwrap().extend(env.map(|entry| json!(entry)));
            };
            let order = node.container("c").image(&image).spec(move |spec| edit(&mut spec["process"]));
            let own = order.clone().args(["/env"]).to_its_end();
            assert_eq!(values(&own.stdout, "HOME"), [home], "{runtime:?}: {} {user} {env:?}", image.name());
            let root = node.container("c").image(&image).spawn();
            root.expect_stdout("ready\n");
            let exec = root.further("e").args(["/env"]).process(edit).run();
            assert_eq!(values(&exec.stdout, "HOME"), [home], "{runtime:?}: exec: {} {user} {env:?}", image.name());
            root.discard();
        }
    });
}

/// runc waits for ever on such a file.
#[test]
fn an_etc_passwd_that_is_a_fifo_is_ignored() {
    for engine in Engine::ALL {
        let node = Node::start().engine(engine);
        let fifo = Fifo::make(node.folder("volume").join("fifo"));
        let order = node.container("c").image(&image(Runtime::Catamaran, "none"));
        let order = order.bind(fifo.path().as_ref(), "/etc/passwd", ["rbind"]).limit(SOON);
        let own = order.args(["/env"]).to_its_end();
        assert_eq!(values(&own.stdout, "HOME"), ["/"], "{engine:?}");
        node.finish();
    }
}

#[test]
fn a_variable_names_the_guests_engine_unless_the_spec_sets_it() {
    const ENGINE: &str = "CATAMARAN_ENGINE";
    for engine in Engine::ALL {
        let node = Node::start().engine(engine);
        let order = || node.container("c").image(&image(Runtime::Catamaran, "none"));
        let own = order().args(["/env"]).to_its_end();
        assert_eq!(values(&own.stdout, ENGINE), [engine.name()]);
        let own = order().args(["/env"]).env(ENGINE, "mine").to_its_end();
        assert_eq!(values(&own.stdout, ENGINE), ["mine"]);
        let task = order().spawn();
        task.expect_stdout("ready\n");
        let exec = task.further("e").args(["/env"]).run();
        assert_eq!(values(&exec.stdout, ENGINE), [engine.name()], "exec");
        let named = |process: &mut serde_json::Value| {
            process["env"].as_array_mut().unwrap().push(json!(format!("{ENGINE}=mine")))
        };
        let exec = task.further("e").args(["/env"]).process(named).run();
        assert_eq!(values(&exec.stdout, ENGINE), ["mine"], "exec");
        task.discard();
        node.finish();
    }
}
