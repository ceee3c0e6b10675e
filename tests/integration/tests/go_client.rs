//! `examples/go-client`: containerd's own Go client, as programs beside Kubernetes use it, by the commands of its README.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use catamaran_documents::{Assigned, Shell};
use catamaran_harness::{Engine, Example, Image, Node, Runtime, guests};

/// Builds the program in a copy of its folder.
fn built(node: &Node, line: &str) -> PathBuf {
    let folder = node.folder("go");
    for file in ["go.mod", "go.sum", "main.go"] {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/go-client").join(file);
        fs::copy(source, folder.join(file)).unwrap();
    }
    Shell::new(&folder, &node.folder("stand-ins")).env("CGO_ENABLED", "0").ok(line);
    folder.join("go-client")
}

struct Client<'n> {
    node: &'n Node,
    program: PathBuf,
}

impl Client<'_> {
    fn run(&self, engine: Option<&str>, image: &Image, args: &[&str]) -> Output {
        let tar = self.node.dir().join("image.tar");
        fs::write(&tar, image.to_tar()).unwrap();
        let mut client = Command::new(&self.program);
        client.arg("-address").arg(self.node.socket()).args(["-namespace", self.node.namespace()]);
        client.args(engine.iter().flat_map(|engine| ["-engine", engine])).arg("-tar").arg(tar);
        client.arg(image.name()).args(args).stdin(Stdio::null()).output().unwrap()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_go_program_runs_an_image_on_the_engine_that_it_names() {
    let mut typed = Assigned::to("a_go_program_runs_an_image_on_the_engine_that_it_names");
    let node = Node::start();
    let client = Client { node: &node, program: built(&node, &typed.take("go build").text) };
    let (hello, exit) = (guests::image(Runtime::Catamaran, "hello"), guests::image(Runtime::Catamaran, "exit"));
    for engine in Engine::ALL {
        let ran = client.run(Some(engine.name()), &hello, &[]);
        assert_eq!((ran.status.code(), text(&ran.stdout).as_str()), (Some(0), "hello from wasm\n"), "{ran:?}");
        let ran = client.run(Some(engine.name()), &exit, &["42"]);
        assert_eq!((ran.status.code(), text(&ran.stderr).as_str()), (Some(42), "exit code 42\n"), "{ran:?}");
    }
    let ran = client.run(None, &guests::of("process", guests::wat("process")), &[]);
    assert!(ran.status.success() && text(&ran.stdout).contains("WASIX"), "{ran:?}");
    let refused = client.run(Some("v8"), &hello, &[]);
    assert!(refused.status.code() == Some(1) && text(&refused.stderr).contains("wasmtime"), "{refused:?}");

    // The machine's containerd is another one.
    let folder = node.folder("go");
    let image = Example::open("hello").image().named("localhost/hello:latest");
    fs::write(folder.join("hello.tar"), image.to_tar()).unwrap();
    let addressed = format!("./go-client -address {} -namespace {}", node.socket().display(), node.namespace());
    let line = typed.take("./go-client -tar").text.replacen("./go-client", &addressed, 1);
    let said = Shell::new(&folder, &node.folder("stand-ins")).ok(&line);
    assert_eq!(said, "Ahoy from WebAssembly aboard!\n");
    typed.finish();
    node.finish();
}
