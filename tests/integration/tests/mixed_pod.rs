//! One pod with all kinds of containers: an init container in Go, a component on Wasmtime, a WASIX program on Wasmer that the init
//! container brought, and a native sidecar; each with the probes of a kubelet.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use catamaran_harness::cri::{self, ContainerState, Pod, Propagation, Running, Shape};
use catamaran_harness::procfs::{self, children, parent};
use catamaran_harness::{Engine, Example, Node, guests, wait_until};
use catamaran_integration::net;

const SOON: Duration = Duration::from_secs(10);
/// The first start of a module of some size.
const COMPILED: Duration = Duration::from_secs(60);

/// An `httpGet` probe: returns the answer.
fn http(ip: &str, port: u16) -> String {
    let mut stream = TcpStream::connect((ip, port)).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: pod\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// An `exec` probe: returns the code.
fn exec(container: &Running<'_>, words: &[&str]) -> i32 {
    container.exec_sync(words, SOON).unwrap_or_else(|status| panic!("{words:?}: {status}")).code
}

#[test]
fn a_go_init_container_both_engines_and_a_native_sidecar_answer_their_probes() {
    let node = Node::start_with(cri::options().network());
    let shape = Shape::wasm().annotation("catamaran.wasm/engine.back", Engine::Wasmer.name());
    let pod = Pod::run(&node, "mixed", shape);
    let (volume, none) = (node.folder("empty-dir"), Propagation::None);

    let brings = Example::open("wasix-server").image().file("/carry.wasm", guests::go("carry"));
    let init = pod.order("init", &brings).command(["/carry.wasm"]).args(["/server.wasm", "/work/server.wasm"]);
    let init = init.mount(&volume, "/work", false, none).start();
    let ended = init.wait(COMPILED);
    assert_eq!((ended.exit_code, ended.reason.as_str()), (0, "Completed"), "{ended:?} {:?}", init.log());

    let front = pod.order("front", &net()).args(["web"]).start();
    front.expect_line("listening");
    // Its own image has another module than the one that it runs.
    let own = guests::of("tool", guests::wat("hello")).file("/fail.wasm", guests::wat("trap"));
    let back = pod.order("back", &own).command(["/app/server.wasm", "8080"]);
    let back = back.mount(&volume, "/app", true, none).start();
    back.expect_line("listening on port 8080");
    let sidecar = pod.order("sidecar", &guests::busybox()).command(["httpd", "-f", "-p", "8081", "-h", "/www"]).start();

    let exe = |container: &Running<'_>| fs::read_link(procfs::file(container.status().pid, "exe")).unwrap();
    assert_eq!((exe(&front), exe(&back)), (Engine::Wasmtime.worker(), Engine::Wasmer.worker()));
    let ip = pod.status().ip;
    wait_until(SOON, "the sidecar", || TcpStream::connect((ip.as_str(), 8081)).ok());
    for round in 0..3 {
        for port in [7000, 8080, 8081] {
            // `tcpSocket`, and `httpGet`.
            drop(TcpStream::connect((ip.as_str(), port)).unwrap());
            let answer = http(&ip, port);
            assert!(answer.split(' ').nth(1) == Some("200"), "round {round}, port {port}: {answer:?}");
        }
        assert_eq!(exec(&front, &["/net.wasm", "live"]), 0, "round {round}: the container's own module once more");
        assert_eq!(exec(&front, &["/net.wasm", "client"]), 134, "one that fails, in the same network");
        assert_eq!(exec(&back, &["/tool.wasm"]), 0, "another module of the image");
        assert_eq!(exec(&back, &["/fail.wasm"]), 134);
        for port in ["7000", "8080", "8081"] {
            assert_eq!(exec(&sidecar, &["wget", "-q", "-O", "/dev/null", &format!("http://localhost:{port}/")]), 0);
        }
        assert_eq!(exec(&sidecar, &["sh", "-c", "exit 3"]), 3);
    }
    let shim = parent(front.status().pid);
    // The optimiser's processes run in the background, as children of the container that was first.
    node.await_compiles();
    let mut found = children(shim);
    let mut known = vec![pod.status().pid, front.status().pid, back.status().pid, sidecar.status().pid];
    found.sort_unstable();
    known.sort_unstable();
    assert_eq!(found, known, "a holder, and one process a container");
    for container in [&front, &back, &sidecar] {
        assert_eq!(container.status().state, ContainerState::Running);
        container.stop(SOON);
    }
    assert_eq!((front.status().exit_code, back.status().exit_code), (143, 143));
    pod.remove();
    node.finish();
}
