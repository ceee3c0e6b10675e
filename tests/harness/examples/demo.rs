//! `make demo`: runs Wasm programs as ordinary containers on both engines, under a private containerd that is gone afterwards.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a demonstration that fails says so and ends"
)]

use std::fs;

use catamaran_harness::{Engine, Example, Node, Output, Runtime, guests};

fn say(text: &str) {
    println!("\n# {text}");
}

/// Runs `ctr` as a user would, and shows both sides.
fn show(node: &Node, args: &[&str]) -> Output {
    println!("$ ctr {}", args.join(" "));
    let output = node.ctr(args);
    print!("{}{}", output.stdout, output.stderr);
    println!("(exit code {})", output.code);
    output
}

/// Runs `ctr run`, with an annotation if an engine is named. The result must be the promised one, or the demonstration ends here.
fn run(node: &Node, engine: Option<Engine>, words: &[&str], code: i32, says: &str) {
    let annotation = engine.map(|engine| format!("catamaran.wasm/engine={}", engine.name()));
    let mut args = vec!["run", "--rm", "--runtime", Runtime::Catamaran.name()];
    args.extend(annotation.iter().flat_map(|annotation| ["--annotation", annotation.as_str()]));
    args.extend(words);
    let output = show(node, &args);
    let said = format!("{}{}", output.stdout, output.stderr);
    assert!(output.code == code && said.contains(says), "expected {says:?} and exit code {code}");
}

fn one_image_on_both_engines(node: &Node) {
    let hello = Example::open("hello").image();
    node.import(&hello);
    say("An image that holds one WebAssembly module, on the engine that an annotation names.");
    for engine in Engine::ALL {
        run(node, Some(engine), &[hello.name(), "hello"], 0, "Ahoy");
    }
    say("What cannot run is refused, with the reason.");
    run(node, None, &[hello.name(), "lost", "/nowhere.wasm"], 1, "/nowhere.wasm");
}

fn an_exit_code(node: &Node) {
    let exit = guests::image(Runtime::Catamaran, "exit");
    node.import(&exit);
    say("Its exit code is the container's.");
    run(node, None, &[exit.name(), "leaves-with-42", "/exit", "42"], 42, "");
}

fn wasix_chooses_by_itself(node: &Node) {
    let process = guests::of("process", guests::wat("process"));
    node.import(&process);
    say("A WASIX module needs no annotation: what it imports chooses the engine. The other one says who runs it.");
    run(node, None, &[process.name(), "wasix"], 0, "Ahoy from WASIX");
    run(node, Some(Engine::Wasmtime), &[process.name(), "wasix"], 1, "wasmer");
}

fn processes_and_their_end(node: &Node) {
    say("While they run, each is one process, the engine's executable, without a capability.");
    let sleep = guests::image(Runtime::Catamaran, "sleep");
    let tasks = Engine::ALL.map(|engine| {
        let task = node.container(&format!("on-{}", engine.name())).image(&sleep).engine(engine).spawn();
        task.expect_stdout("ready\n");
        task
    });
    for (task, engine) in tasks.iter().zip(Engine::ALL) {
        let runs = fs::read_link(format!("/proc/{}/exe", task.pid())).expect("the worker's executable");
        assert_eq!(runs, engine.worker(), "{engine:?} was asked for");
        println!("pid {} runs {}", task.pid(), runs.display());
        let status = fs::read_to_string(format!("/proc/{}/status", task.pid())).expect("the worker's status");
        let told =
            |line: &&str| ["Threads:", "VmRSS:", "CapEff:", "NoNewPrivs:"].iter().any(|key| line.starts_with(key));
        status.lines().filter(told).for_each(|line| println!("  {line}"));
    }
    show(node, &["tasks", "ls"]);
    say("SIGTERM ends them at once.");
    for task in tasks {
        show(node, &["tasks", "kill", "--signal", "SIGTERM", task.id()]);
        let code = task.wait(catamaran_harness::PATIENCE).code;
        println!("exit code {code}");
        assert_eq!(code, 143, "128 and the signal's number");
        task.delete();
    }
}

fn main() {
    let node = Node::start();
    println!("containerd {}, private, in {}", node.programs().version, node.dir().display());
    one_image_on_both_engines(&node);
    an_exit_code(&node);
    wasix_chooses_by_itself(&node);
    processes_and_their_end(&node);
    node.finish();
    say("Nothing is left: no mount, no cgroup, no process, no socket.");
}
