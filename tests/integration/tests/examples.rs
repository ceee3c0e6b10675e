//! The programs of `examples/`: built by their own build lines, packed as their Dockerfiles say, run as their pods do.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use catamaran_harness::{Engine, Example, Network, Node};

const SOON: Duration = Duration::from_secs(10);

/// The example, after checks that hold for all pods.
fn example(name: &str) -> Example {
    let example = Example::open(name);
    for line in ["runtimeClassName: catamaran", &format!("image: localhost/{name}:latest")] {
        assert!(example.pod_says(line), "examples/{name}/pod.yaml does not say {line}");
    }
    example
}

#[test]
fn hello_greets_on_either_engine() {
    let image = example("hello").image();
    let node = Node::start();
    for engine in Engine::ALL {
        let hello = node.container("hello").image(&image).engine(engine).run();
        assert_eq!(
            (hello.code, hello.stdout.as_str()),
            (0, "Ahoy from WebAssembly aboard!\n"),
            "{engine:?}: {hello:?}"
        );
    }
    node.finish();
}

#[test]
fn go_hello_reads_its_config_map_on_either_engine() {
    let example = example("go-hello");
    let (image, node) = (example.image(), Node::start());
    let config = node.folder("config");
    fs::write(config.join("motto"), "two hulls, one deck").unwrap();
    assert!(example.pod_says("motto: two hulls, one deck") && example.pod_says("mountPath: /config"));
    let args: Vec<_> = ["/go-hello.wasm".to_owned()].into_iter().chain(example.args()).collect();
    for engine in Engine::ALL {
        let order = node.container("go-hello").image(&image).engine(engine).args(&args).env("NAME", "Kubernetes");
        let hello = order.bind(&config, "/config", ["rbind", "ro"]).memory(64 << 20).run();
        let expected = "Ahoy, Kubernetes, from Go on wasip1/wasm!\n/config/motto: two hulls, one deck";
        assert_eq!((hello.code, hello.stdout.as_str()), (0, expected), "{engine:?}: {hello:?}");
    }
    node.finish();
}

#[test]
fn wasix_server_answers_its_clients() {
    let example = example("wasix-server");
    assert!(example.pod_says("catamaran.wasm/engine: wasmer"));
    let (image, node) = (example.image(), Node::start());
    let network = Network::new(&node, "pod");
    let args: Vec<_> = ["/server.wasm".to_owned()].into_iter().chain(example.args()).collect();
    let order = node.container("server").image(&image).engine(Engine::Wasmer).args(&args).memory(128 << 20);
    let task = order.flag(["--with-ns", &format!("network:{}", network.path().display())]).spawn();
    task.expect_stdout("listening on port 8080\n");
    for number in 1..=20 {
        let answer = network.inside(|| {
            let mut connection = TcpStream::connect((Ipv4Addr::LOCALHOST, 8080)).unwrap();
            connection.set_read_timeout(Some(SOON)).unwrap();
            connection.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
            let mut answer = String::new();
            connection.read_to_string(&mut answer).unwrap();
            answer
        });
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer:?}");
        assert!(answer.ends_with(&format!("\r\n\r\nAhoy, you are number {number}.\n")), "{answer:?}");
    }
    task.kill("TERM");
    assert_eq!(task.wait(SOON).code, 143);
    task.delete();
    drop(network);
    node.finish();
}
