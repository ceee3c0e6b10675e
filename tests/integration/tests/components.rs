//! Components of WASI 0.2: programs like modules, with sockets and names in addition.
//!
//! They are made of modules here, by the adapter from preview 1 that every toolchain has.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

use catamaran_harness::{Code, Container, Image, Node, Task, guests, shim_folder, wait_until};
use catamaran_integration::{adapted, component as image, net};
use object::{Object, ObjectSymbol, SymbolKind};
use serde_json::json;

const SOON: Duration = Duration::from_secs(10);

/// One of `tests/guests`, as a component.
fn guest(name: &str) -> Image {
    image(name, adapted(&guests::wat(name)))
}

fn line(task: &Task<'_>, file: &str, key: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{}/{file}", task.pid())).unwrap();
    text.lines().find_map(|line| line.strip_prefix(key)).unwrap().trim().to_owned()
}

#[test]
fn a_component_sees_its_containers_files_and_environment() {
    let node = Node::start();
    let hello = node.container("hello").image(&guest("hello")).run();
    assert_eq!((hello.code, hello.stdout.as_str()), (0, "hello from wasm\n"), "{hello:?}");
    let args = node.container("args").image(&guest("args")).args(["/args.wasm", "one", "two words"]).run();
    assert_eq!(args.stdout, "/args.wasm\none\ntwo words\n", "{args:?}");
    let env = node.container("env").image(&guest("env")).env("NAME", "of the container").run();
    assert!(env.stdout.contains("NAME=of the container\n"), "{env:?}");
    let task = node.container("cat").image(&guest("cat")).stdin("through a component\n").spawn();
    task.wait(SOON);
    assert_eq!(task.delete().stdout, "through a component\n");
    // The adapter's exit only tells success from failure.
    let exit = node.container("exit").image(&guest("exit")).args(["/exit.wasm", "42"]).run();
    assert_eq!(exit.code, 1, "{exit:?}");
    let trap = node.container("trap").image(&guest("trap")).run();
    assert_eq!(trap.code, 134, "{trap:?}");
    assert!(trap.stderr.contains("catamaran: the guest trapped: wasm trap: wasm `unreachable`"), "{trap:?}");
    node.finish();
}

#[test]
fn a_component_of_go_has_files_and_a_clock() {
    let node = Node::start();
    let kitchen = image("kitchen", adapted(&guests::go("kitchen"))).dir("/data", 0o755, 0, 0).file("/data/a", "text");
    let order =
        |args: &[&str]| node.container("k").image(&kitchen).args([&["/kitchen.wasm"], args].concat()).limit(6 * SOON);
    let ls = order(&["ls", "/data"]).run();
    assert_eq!((ls.code, ls.stdout.as_str()), (0, "a\n"), "{ls:?}");
    let read = order(&["read", "/data/a"]).run();
    assert_eq!((read.code, read.stdout.as_str()), (0, "text"), "{read:?}");
    let none = order(&["read", "/proc/self/status"]).run();
    assert!(none.code == 1 && none.stdout.is_empty(), "no procfs: {none:?}");
    node.finish();
}

#[test]
fn sigterm_ends_a_component_at_once() {
    let node = Node::start();
    for name in ["sleep", "spin"] {
        let task = node.container(name).image(&guest(name)).spawn();
        task.expect_stdout("ready\n");
        task.kill("TERM");
        assert_eq!(task.wait(SOON).code, 143, "{name}");
        task.delete();
    }
    node.finish();
}

/// The worker's mappings of its artifact, in kB: their size, the private part, and the shared part.
fn mapped(task: &Task<'_>) -> (u64, u64, u64) {
    let smaps = fs::read_to_string(format!("/proc/{}/smaps", task.pid())).unwrap();
    let (mut ours, mut sums) = (false, (0, 0, 0));
    for line in smaps.lines() {
        let mut words = line.split_whitespace();
        let first = words.next().unwrap();
        if !first.ends_with(':') {
            // Its name is a digest, or that of a memfd.
            let path = words.nth(4).unwrap_or_default();
            ours = path.len() >= 65 || path.starts_with("/memfd:artifact");
        } else if ours {
            let kb = || line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap();
            match first {
                "Size:" => sums.0 += kb(),
                "Private_Dirty:" => sums.1 += kb(),
                "Shared_Clean:" | "Shared_Dirty:" => sums.2 += kb(),
                _ => {}
            }
        }
    }
    sums
}

/// Checks the worker's open files and working directory: no procfs, and no folder but the guest's root.
fn is_closed(task: &Task<'_>) {
    let process = PathBuf::from(format!("/proc/{}", task.pid()));
    let root = fs::metadata(process.join("root/")).unwrap();
    for entry in fs::read_dir(process.join("fd")).unwrap() {
        let entry = entry.unwrap().path();
        let (target, meta) = (fs::read_link(&entry).unwrap(), fs::metadata(&entry).unwrap());
        assert!(!meta.is_dir() || (meta.dev(), meta.ino()) == (root.dev(), root.ino()), "{target:?} is open");
        assert_ne!(meta.dev(), fs::metadata("/proc").unwrap().dev(), "{target:?} is open");
        let kind = rustix::fs::statfs(&entry).unwrap().f_type;
        assert_ne!(kind, 0x9fa0, "{target:?} lies in a procfs");
    }
    let cwd = fs::metadata(process.join("cwd/")).unwrap();
    assert_eq!((cwd.dev(), cwd.ino()), (root.dev(), root.ino()), "it works in the container's root");
    let mounts = fs::read_to_string(process.join("mountinfo")).unwrap();
    assert!(!mounts.contains(" - proc "), "{mounts}");
    assert_eq!(line(task, "status", "Threads:"), "1");
    assert_eq!(line(task, "status", "Seccomp:"), "2");
}

fn ready<'n>(order: Container<'n>) -> Task<'n> {
    let task = order.spawn();
    task.expect_stdout("ready\n");
    task
}

#[test]
fn two_containers_of_a_component_share_its_code() {
    let node = Node::start();
    // Once each, so that both run on the optimiser's code.
    let sleep = guest("sleep");
    let first = ready(node.container("first").image(&sleep));
    let second = ready(node.container("second").image(&sleep));
    for task in [&first, &second] {
        let (size, dirty, shared) = mapped(task);
        assert!(size > 50, "{size} kB of the artifact are mapped");
        assert!(shared > 0, "nothing of {size} kB is shared");
        assert!(dirty <= size / 4, "{dirty} of {size} kB are its own");
        is_closed(task);
    }
    first.discard();
    second.discard();
    node.finish();
}

#[test]
fn a_component_is_mapped_for_any_user_and_in_a_shared_pid_namespace() {
    let node = Node::start();
    let sleep = guest("sleep");
    let order = |name: &str| node.container(name).image(&sleep);
    let user = ready(order("user").user("1000:1000"));
    let host = ready(order("host").user("1000:1000").spec(|spec| {
        let namespaces = spec["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.retain(|namespace| namespace["type"] != "pid");
    }));
    let root = ready(order("root").spec(|spec| {
        let namespaces = spec["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.retain(|namespace| namespace["type"] != "pid");
    }));
    let join = format!("/proc/{}/ns/pid", user.pid());
    let pod = ready(order("pod").user("1000:1000").spec(move |spec| {
        let namespaces = spec["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.iter_mut().filter(|n| n["type"] == "pid").for_each(|n| n["path"] = json!(join));
    }));
    for task in [&user, &host, &root, &pod] {
        assert!(mapped(task).0 > 50, "the artifact is not mapped");
        is_closed(task);
    }
    for task in [pod, root, host, user] {
        task.discard();
    }
    node.finish();
}

#[test]
fn a_component_runs_without_a_cache() {
    let node = Node::start();
    // A file in place of the cache's folder.
    fs::write(node.catamaran_root().join("cache"), "").unwrap();
    for user in ["0:0", "1000:1000"] {
        let task = ready(node.container("uncached").image(&guest("sleep")).user(user));
        assert!(mapped(&task).0 > 50, "it is mapped from memory");
        is_closed(&task);
        task.discard();
    }
    fs::remove_file(node.catamaran_root().join("cache")).unwrap();
    node.finish();
}

#[test]
fn a_component_that_cannot_run_is_refused_with_what_to_do() {
    let node = Node::start();
    let refused = |name: &str, wat: &str| {
        let image = image(name, wat::parse_str(wat).unwrap());
        node.container(name).image(&image).try_create().map(drop).unwrap_err()
    };
    let store = refused("store", r#"(component (import "wasi:keyvalue/store@0.2.0-draft" (instance)))"#);
    assert!(store.code == Code::FailedPrecondition || store.code == Code::InvalidArgument, "{store}");
    assert!(
        store.message.contains("wasi:keyvalue/store@0.2.0-draft")
            && store.message.contains("build the component without it"),
        "{store}"
    );
    let library = refused("library", "(component)");
    assert!(library.message.contains("wasi:cli/run"), "{library}");
    let core = r#"(core module $m (func (export "run") (result i32) i32.const 0)) (core instance $i (instantiate $m))
      (func $run (result (result)) (canon lift (core func $i "run"))) (instance $c (export "run" (func $run)))
      (export "wasi:cli/run@0.2.0" (instance $c))"#;
    let unknown = format!(r#"(component (import "wasi:cli/exit@0.2.0" (instance (export "vanish" (func)))) {core})"#);
    let unknown = refused("unknown", &unknown);
    assert!(unknown.message.contains("wasi:cli/exit@0.2.0") && unknown.message.contains("vanish"), "{unknown}");
    node.finish();
}

#[test]
fn a_tcp_server_answers_its_clients() {
    let node = Node::start();
    let task = node.container("server").image(&net()).args(["/net.wasm", "server"]).spawn();
    task.expect_stdout("listening\n");
    task.within(|| {
        for text in ["hello", &"x".repeat(100_000)] {
            let mut stream = TcpStream::connect("127.0.0.1:7000").unwrap();
            stream.set_read_timeout(Some(SOON)).unwrap();
            let mut writing = stream.try_clone().unwrap();
            let mut answer = String::new();
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    writing.write_all(text.as_bytes()).unwrap();
                    writing.shutdown(Shutdown::Write).unwrap();
                });
                stream.read_to_string(&mut answer).unwrap();
            });
            assert!(answer == text, "{} bytes came back", answer.len());
        }
    });
    assert_eq!(line(&task, "status", "Threads:"), "1");
    task.kill("TERM");
    assert_eq!(task.wait(SOON).code, 143);
    task.delete();
    node.finish();
}

#[test]
fn a_tcp_client_reaches_a_server() {
    let node = Node::start();
    let task = node.container("client").image(&net()).args(["/net.wasm", "client"]).create();
    task.within(|| {
        let listener = TcpListener::bind("127.0.0.1:7002").unwrap();
        listener.set_nonblocking(true).unwrap();
        task.start();
        let mut stream = wait_until(SOON, "the client to connect", || listener.accept().ok()).0;
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        let mut ping = [0; 4];
        stream.read_exact(&mut ping).unwrap();
        assert_eq!(&ping, b"ping");
        stream.write_all(b"pong\n").unwrap();
    });
    assert_eq!(task.wait(SOON).code, 0);
    assert_eq!(task.delete().stdout, "pong\n");
    // Nothing listens: WASI's own error code, connection-refused.
    let refused = node.container("refused").image(&net()).args(["/net.wasm", "client"]).run();
    assert_eq!((refused.code, refused.stdout.as_str()), (134, "error 14\n"), "{refused:?}");
    node.finish();
}

#[test]
fn datagrams_are_echoed() {
    let node = Node::start();
    let task = node.container("udp").image(&net()).args(["/net.wasm", "udp"]).spawn();
    task.expect_stdout("listening\n");
    task.within(|| {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(SOON)).unwrap();
        for text in ["one", "another"] {
            socket.send_to(text.as_bytes(), "127.0.0.1:7001").unwrap();
            let mut bytes = [0; 64];
            let (n, from) = socket.recv_from(&mut bytes).unwrap();
            assert_eq!((&bytes[..n], from.port()), (text.as_bytes(), 7001));
        }
    });
    task.discard();
    node.finish();
}

/// A name server for one container's namespace: it knows `web.svc.local`, 10.1.2.3, and nothing else. Returns the requested names when the
/// container ends.
fn serve_names(task: &Task<'_>) -> BTreeSet<String> {
    task.within(|| {
        let socket = UdpSocket::bind("127.0.0.1:53").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        task.start();
        let mut asked = BTreeSet::new();
        let mut bytes = [0; 512];
        while task.try_wait(Duration::from_millis(1)).is_err() {
            let Ok((n, from)) = socket.recv_from(&mut bytes) else { continue };
            let mut answer = bytes[..n].to_vec();
            let (mut labels, mut at) = (Vec::new(), 12);
            while answer[at] != 0 {
                let end = at + 1 + usize::from(answer[at]);
                labels.push(String::from_utf8(answer[at + 1..end].to_vec()).unwrap());
                at = end;
            }
            let (name, four) = (labels.join("."), answer[at + 2] == 1);
            let known = name == "web.svc.local";
            (answer[2], answer[3], answer[7]) = (0x81, if known { 0x80 } else { 0x83 }, u8::from(known && four));
            if known && four {
                answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 10, 1, 2, 3]);
            }
            socket.send_to(&answer, from).unwrap();
            asked.insert(name);
        }
        asked
    })
}

#[test]
fn names_are_resolved_by_the_containers_own_files_and_servers() {
    let node = Node::start();
    let conf = "nameserver 127.0.0.1\nsearch ns.svc.local svc.local\noptions ndots:5 timeout:2\n";
    // An nsswitch.conf that names a library is the image's code, which nothing may load.
    let image = net()
        .file("/etc/resolv.conf", conf)
        .file("/etc/hosts", "127.0.0.1 localhost\n10.9.8.7 pod pod.example\n")
        .file("/etc/nsswitch.conf", "hosts: evil files dns\n")
        .file("/lib/x86_64-linux-gnu/libnss_evil.so.2", "no library");
    let order = |name: &'static str| node.container("name").image(&image).args(["/net.wasm", "name", name]);
    assert_eq!(order("pod").run().stdout, "10.9.8.7\nend\n");
    assert_eq!(order("192.0.2.7").run().stdout, "192.0.2.7\nend\n");
    let task = order("web").create();
    let asked = serve_names(&task);
    let output = task.delete();
    assert_eq!((output.code, output.stdout.as_str()), (0, "10.1.2.3\nend\n"), "{output:?}");
    assert_eq!(asked, ["web.ns.svc.local", "web.svc.local"].map(str::to_owned).into());
    let task = order("nowhere").create();
    serve_names(&task);
    let output = task.delete();
    assert_eq!((output.code, output.stdout.as_str()), (134, "error 18\n"), "name-unresolvable: {output:?}");
    // No server answers: temporary-resolver-failure.
    let silence = order("web").run();
    assert_eq!((silence.code, silence.stdout.as_str()), (134, "error 19\n"), "{silence:?}");
    let nonsense = order("a b").run();
    assert_eq!((nonsense.code, nonsense.stdout.as_str()), (134, "error 3\n"), "invalid-argument: {nonsense:?}");
    node.finish();
}

#[test]
fn without_resolv_conf_names_are_asked_of_the_local_machine() {
    let node = Node::start();
    let task = node.container("name").image(&net()).args(["/net.wasm", "name", "web.svc.local"]).create();
    serve_names(&task);
    assert_eq!(task.delete().stdout, "10.1.2.3\nend\n");
    node.finish();
}

#[test]
fn a_runner_has_no_way_into_the_images_name_services() {
    let bytes = fs::read(shim_folder().join("catamaran-wasmtime")).unwrap();
    let program = object::File::parse(&*bytes).unwrap();
    let code = program.symbols().filter(|symbol| symbol.is_definition() && symbol.kind() == SymbolKind::Text);
    let defined: BTreeSet<&str> = code.flat_map(|symbol| symbol.name()).collect();
    assert!(defined.contains("memcpy") || defined.contains("malloc"), "the program has no symbols to look at");
    for name in ["getaddrinfo", "__getaddrinfo", "gethostbyname_r", "gaih_inet", "res_query", "__nss_lookup_function"] {
        assert!(!defined.contains(name), "{name} is linked");
    }
    assert!(!defined.iter().any(|name| name.starts_with("gaih_inet") || name.starts_with("_nss_dns")), "NSS is linked");
}
