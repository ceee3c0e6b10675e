//! Standard input without bytes: a guest that does not want to wait for it goes on.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use std::time::Duration;

use catamaran_harness::{Container, Engine, Image, Node, Runtime, guests};

const SOON: Duration = Duration::from_secs(10);

/// The program natively, and as a module on Wasmtime and on Wasmer.
fn all<'n>(node: &'n Node, name: &str, native: &[u8], module: &[u8]) -> [(&'static str, Container<'n>); 3] {
    let image =
        |kind: &str, program: &[u8]| Image::new(&format!("{name}-{kind}")).file_as("/program", program, 0o755, 0, 0);
    let order = |kind: &str, program| node.container(name).image(&image(kind, program)).args(["/program"]).hold_stdin();
    [
        ("natively", order("native", native).runtime(Runtime::Runc)),
        ("on Wasmtime", order("wasi", module).engine(Engine::Wasmtime)),
        ("on Wasmer", order("wasi", module).engine(Engine::Wasmer)),
    ]
}

#[test]
fn a_goroutine_goes_on_while_another_one_reads_standard_input() {
    let node = Node::start();
    for (who, order) in all(&node, "stdin", &guests::go_native("stdin"), &guests::go("stdin")) {
        let task = order.spawn();
        task.expect_stdout("tick 3\n");
        task.write("one\ntwo\n");
        task.expect_stdout("read one\n");
        task.expect_stdout("read two\n");
        let said = task.stdout();
        let ticks = said.lines().filter(|line| line.starts_with("tick")).count();
        task.expect_stdout(&format!("tick {}\n", ticks + 3));
        task.write("three");
        task.close_stdin();
        assert_eq!(task.wait(SOON).code, 0, "{who}");
        let output = task.delete();
        assert!(output.stdout.ends_with("read three\nthe end <nil>\n"), "{who}: {output:?}");
        assert_eq!(output.stderr, "", "{who}");
    }
    node.finish();
}

#[test]
fn a_guest_reads_standard_input_without_waiting() {
    let node = Node::start();
    let mut natively = String::new();
    for (who, order) in all(&node, "input", &guests::native("input"), &guests::c("input")) {
        let task = order.spawn();
        task.expect_stdout("polls\n");
        task.write("polled");
        task.expect_stdout("reads\n");
        task.write("read");
        task.expect_stdout("ends\n");
        task.close_stdin();
        assert_eq!(task.wait(SOON).code, 3, "{who}");
        let output = task.delete();
        if natively.is_empty() {
            natively = output.stdout.clone();
            assert!(natively.contains(": EAGAIN\n") && natively.contains("text): 6\n"), "{natively}");
        }
        assert_eq!((output.stdout, output.stderr.as_str()), (natively.clone(), ""), "{who}");
    }
    node.finish();
}
