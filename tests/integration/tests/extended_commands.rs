//! Commands that need more than a plain command's world: WASI 0.3, outgoing requests, proposals. The guest is written in Rust.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use catamaran_harness::{Container, Node, Output, wait_until};
use catamaran_integration::http::{get, image};
use catamaran_integration::{component, rust_guest};

const SOON: Duration = Duration::from_secs(10);
const GUEST: &str = "/wasi3-command.wasm";

fn order<'n>(node: &'n Node, id: &str, args: &[&str]) -> Container<'n> {
    let image = component("wasi3-command", rust_guest("wasi3-command")).file("/etc/motd", "of the image\n");
    node.container(id).image(&image).args([&[GUEST], args].concat())
}

fn run(node: &Node, args: &[&str]) -> Output {
    order(node, args[0], args).env("NAME", "of the container").run()
}

fn said(node: &Node, args: &[&str]) -> String {
    let output = run(node, args);
    assert_eq!((output.code, output.stderr.as_str()), (0, ""), "{args:?}: {output:?}");
    output.stdout
}

#[test]
fn a_command_of_wasi_0_3_sees_its_container() {
    let node = Node::start();
    assert_eq!(said(&node, &["hello"]), "hello from wasi 0.3\n");
    assert_eq!(said(&node, &["print", "by WASI 0.2"]), "by WASI 0.2\n");
    assert_eq!(said(&node, &["env", "NAME"]), "of the container\n");
    assert_eq!(said(&node, &["read", "/etc/motd"]), "of the image\n");
    assert_eq!(said(&node, &["read", "/etc/nothing"]), "ErrorCode::NoEntry\n");
    assert_eq!(said(&node, &["cwd"]), "Some(\"/\") /\n");
    let cat = order(&node, "cat", &["cat"]).stdin("through two streams\n").spawn();
    assert_eq!(cat.wait(SOON).code, 0);
    assert_eq!(cat.delete().stdout, "through two streams\n");
    node.finish();
}

#[test]
fn a_command_of_wasi_0_3_waits_for_several_things_at_once() {
    let node = Node::start();
    let took: u64 = said(&node, &["together"]).trim().parse().unwrap();
    assert!((700..1300).contains(&took), "{took} ms");
    node.finish();
}

#[test]
fn a_command_of_wasi_0_3_ends_as_others_do() {
    let node = Node::start();
    assert_eq!(run(&node, &["fail"]).code, 1);
    assert_eq!(run(&node, &["exit", "42"]).code, 42);
    let trap = run(&node, &["trap"]);
    assert!(trap.code == 134 && trap.stderr.contains("catamaran: the guest trapped: wasm trap"), "{trap:?}");
    let task = order(&node, "waits", &["cat"]).hold_stdin().spawn();
    task.kill("TERM");
    assert_eq!(task.wait(SOON).code, 143);
    task.delete();
    // Also as an exec in a container of another kind.
    let task = order(&node, "own", &["cat"]).hold_stdin().spawn();
    let output = task.exec("further", [GUEST, "hello"]);
    assert_eq!((output.code, output.stdout.as_str()), (0, "hello from wasi 0.3\n"), "{output:?}");
    task.discard();
    node.finish();
}

#[test]
fn a_command_of_wasi_0_3_makes_requests_and_has_sockets() {
    let node = Node::start();
    let holder = order(&node, "holder", &["cat"]).hold_stdin().spawn();
    let listener = holder.within(|| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
    let port = listener.local_addr().unwrap().port();
    let served = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut bytes = [0; 1024];
        let read = stream.read(&mut bytes).unwrap();
        stream.write_all(b"HTTP/1.1 203 OK\r\ncontent-length: 5\r\n\r\nwords").unwrap();
        String::from_utf8_lossy(&bytes[..read]).into_owned()
    });
    let get = holder.exec("get", [GUEST, "get", &format!("127.0.0.1:{port}"), "/path?query"]);
    assert_eq!((get.code, get.stdout.as_str()), (0, "203 words"), "{get:?}");
    assert!(served.join().unwrap().starts_with("GET /path?query HTTP/1.1\r\n"));
    let refused = holder.exec("refused", [GUEST, "get", "169.254.169.254", "/"]);
    assert_eq!(refused.stdout, "ErrorCode::DestinationIpProhibited\n", "{refused:?}");
    let none = holder.exec("none", [GUEST, "resolve", "no.such.name.test"]);
    assert!(none.stdout.contains("Err("), "{none:?}");
    let listening = holder.further("listen").args([GUEST, "listen", "7001"]).spawn();
    let answer = wait_until(SOON, "its listener", || {
        holder.within(|| {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, 7001)).ok()?;
            stream.write_all(b"to and fro").ok()?;
            let mut text = String::new();
            stream.read_to_string(&mut text).ok()?;
            Some(text)
        })
    });
    assert_eq!(answer, "to and fro");
    assert_eq!(listening.wait(SOON).code, 0);
    listening.delete();
    holder.discard();
    node.finish();
}

#[test]
fn a_node_without_wasi_0_3_says_so() {
    let node = Node::start();
    let file = node.dir().join("options.toml");
    fs::write(&file, "wasi_p3 = false\n").unwrap();
    let options = ["--runtime-config-path", file.to_str().unwrap()];
    let refused = order(&node, "refused", &["hello"]).flag(options).try_create().map(drop).unwrap_err();
    for words in ["which is of WASI 0.3", "the option wasi_p3 to false"] {
        assert!(refused.message.contains(words), "{words}: {refused}");
    }
    node.finish();
}

#[test]
fn configuration_and_log_are_the_containers_environment_and_standard_error() {
    let node = Node::start();
    let image = image("proposals");
    let order = |id: &str| node.container(id).image(&image).env("NAME", "of the container");
    let command = order("command").run();
    let expected = (0, "run as a command\n", "warn: test: of the container\n");
    assert_eq!((command.code, command.stdout.as_str(), command.stderr.as_str()), expected);
    let server = order("server").annotation("catamaran.wasm/world", "http").spawn();
    assert_eq!(get(&server, "/config?NAME").text(), "of the container\n");
    assert_eq!(get(&server, "/config?OTHER").text(), "(none)\n");
    assert!(get(&server, "/config?").text().ends_with(" values\n"));
    assert_eq!(get(&server, "/log?words").status, 200);
    server.kill("TERM");
    assert_eq!(server.wait(SOON).code, 0);
    assert_eq!(server.delete().stderr, "warn: test: words\n");
    node.finish();
}
