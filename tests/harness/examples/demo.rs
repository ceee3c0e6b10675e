//! `make demo`: a Wasm program as an ordinary container, under a containerd of its own that is gone afterwards.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a demonstration that fails says so and ends"
)]

use std::fs;
use std::path::{Path, PathBuf};

use catamaran_harness::{Image, Node, Runtime, guests};

fn say(text: &str) {
    println!("\n# {text}");
}

/// Runs `ctr` as a user would, and shows both sides.
fn show(node: &Node, args: &[&str]) {
    println!("$ ctr {}", args.join(" "));
    let output = node.ctr(args);
    print!("{}{}", output.stdout, output.stderr);
    println!("(exit code {})", output.code);
}

fn hello() -> Image {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/hello/hello.wat");
    let module = wat::parse_file(source).expect("examples/hello/hello.wat");
    Image::new("hello").file("/hello.wasm", module).entrypoint(["/hello.wasm"])
}

fn main() {
    let node = Node::start();
    println!("containerd {}, private, in {}", node.programs().version, node.dir().display());
    let (hello, exit) = (hello(), guests::image(Runtime::Catamaran, "exit"));
    for image in [&hello, &exit] {
        node.import(image);
    }
    let runtime = Runtime::Catamaran.name();

    say("An image that holds one WebAssembly module, on the engine that an annotation names.");
    let engine = "catamaran.wasm/engine=wasmtime";
    show(&node, &["run", "--rm", "--runtime", runtime, "--annotation", engine, hello.name(), "hello"]);

    say("Its exit code is the container's.");
    show(&node, &["run", "--rm", "--runtime", runtime, exit.name(), "leaves-with-42", "/exit", "42"]);

    say("While it runs, it is one process of one thread: the engine's executable, without a capability.");
    let task = node.container("sleeper").image(&guests::image(Runtime::Catamaran, "sleep")).spawn();
    task.expect_stdout("ready\n");
    let worker = PathBuf::from(format!("/proc/{}", task.pid()));
    println!(
        "pid {} runs {}",
        task.pid(),
        fs::read_link(worker.join("exe")).expect("the worker's executable").display()
    );
    let status = fs::read_to_string(worker.join("status")).expect("the worker's status");
    for line in
        status.lines().filter(|l| ["Threads:", "VmRSS:", "CapEff:", "NoNewPrivs:"].iter().any(|k| l.starts_with(k)))
    {
        println!("  {line}");
    }
    show(&node, &["tasks", "ls"]);

    say("SIGTERM ends it at once.");
    show(&node, &["tasks", "kill", "--signal", "SIGTERM", "sleeper"]);
    println!("exit code {}", task.wait(catamaran_harness::PATIENCE).code);
    task.delete();

    say("What cannot run is refused, with the reason.");
    show(&node, &["run", "--rm", "--runtime", runtime, hello.name(), "lost", "/nowhere.wasm"]);

    node.finish();
    say("Nothing is left: no mount, no cgroup, no process, no socket.");
}
