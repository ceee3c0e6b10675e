//! WASIX: threads, sockets, fork and signals of programs in C in a container, and their limits. On Wasmer, which their imports choose by
//! themselves.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use catamaran_harness::{Code, Container, Engine, Image, Network, Node, Output, guests, wait_until};

const SOON: Duration = Duration::from_secs(10);
/// The most threads that any guest here gets, whatever it asks for.
const MANY_THREADS: usize = 4096;

fn wasix(name: &str) -> Image {
    guests::of(name, guests::wasix(name))
}

fn kitchen() -> Image {
    guests::of("kitchen-wasix", guests::wasix("kitchen"))
}

/// An order with these arguments after the module's own name.
fn order<'n>(node: &'n Node, name: &str, words: &[&str]) -> Container<'n> {
    let module = format!("/{name}.wasm");
    let all = [&[module.as_str()], words].concat();
    node.container(name).image(&if name == "kitchen-wasix" { kitchen() } else { wasix(name) }).args(all)
}

fn run(node: &Node, name: &str, words: &[&str]) -> Output {
    order(node, name, words).to_its_end()
}

fn threads(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count)
}

fn joined<'n>(order: Container<'n>, network: &Network) -> Container<'n> {
    order.flag(["--with-ns", &format!("network:{}", network.path().display())])
}

/// Sends a line to a server on this machine's loopback, and returns the answer.
fn ask(port: u16, line: &str) -> std::io::Result<String> {
    let mut connection = TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), SOON)?;
    connection.set_read_timeout(Some(SOON))?;
    connection.write_all(line.as_bytes())?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer)?;
    Ok(answer)
}

#[test]
fn wasix_imports_choose_wasmer() {
    let node = Node::start();
    let task = order(&node, "spin", &[]).spawn();
    task.expect_stdout("ready\n");
    let runs = fs::read_link(format!("/proc/{}/exe", task.pid())).unwrap();
    assert_eq!(runs, Engine::Wasmer.worker());
    task.discard();
    node.finish();
}

#[test]
fn wasmtime_refuses_wasix_and_names_wasmer() {
    let node = Node::start();
    let status = order(&node, "threads", &[]).engine(Engine::Wasmtime).try_create().err().expect("it was created");
    assert!([Code::FailedPrecondition, Code::InvalidArgument].contains(&status.code), "{status}");
    for word in ["WASIX", "wasmer"] {
        assert!(status.message.contains(word), "{word:?} is missing in: {status}");
    }
    node.finish();
}

#[test]
fn threads_share_memory_and_a_lock() {
    let node = Node::start().engine(Engine::Wasmer);
    for (number, sum) in [("1", 1_000), ("8", 36_000), ("32", 528_000)] {
        let threads = run(&node, "threads", &[number]);
        assert_eq!((threads.code, threads.stdout), (0, format!("{number} threads, sum {sum}\n")), "{}", threads.stderr);
    }
    node.finish();
}

#[test]
fn a_server_with_threads_serves_ten_thousand_requests() {
    const CLIENTS: usize = 8;
    const EACH: usize = 1250;
    let node = Node::start();
    let network = Network::new(&node, "pod");
    let task = joined(order(&node, "server", &["7000"]), &network).spawn();
    task.expect_stdout("listening\n");
    let begin = Instant::now();
    let answered: usize = std::thread::scope(|scope| {
        let client = |client: usize| {
            let network = &network;
            scope.spawn(move || {
                network.inside(|| {
                    for number in 0..EACH {
                        let line = format!("client {client} request {number}\n");
                        let answer = ask(7000, &line).unwrap_or_else(|error| panic!("{line:?}: {error}"));
                        assert_eq!(answer, line);
                    }
                    EACH
                })
            })
        };
        let clients: Vec<_> = (0..CLIENTS).map(client).collect();
        clients.into_iter().map(|client| client.join().unwrap()).sum()
    });
    assert_eq!(answered, CLIENTS * EACH);
    println!("{answered} requests in {:?}", begin.elapsed());
    assert!(begin.elapsed() < Duration::from_secs(120), "{:?}", begin.elapsed());
    network.inside(|| drop(ask(7000, "stop\n")));
    assert_eq!(task.wait(SOON).code, 0);
    assert_eq!(task.delete().stdout, format!("listening\nserved {answered}\n"));
    drop(network);
    node.finish();
}

#[test]
fn a_thread_bomb_stops_at_a_bound_and_lives_on() {
    let node = Node::start();
    let bomb = run(&node, "bomb", &[]);
    let (made, rest) = bomb.stdout.split_once(" threads, then errno ").unwrap_or_else(|| panic!("{bomb:?}"));
    let made: usize = made.parse().unwrap();
    assert!(made > 0 && made < MANY_THREADS, "{bomb:?}");
    // EAGAIN, as in pthread_create(3); wasix-libc's number for it is WASI's.
    assert_eq!((bomb.code, rest), (0, "6\nstill here\n"), "{bomb:?}");
    node.finish();
}

#[test]
fn a_thread_bombs_threads_are_bounded_and_end_with_it() {
    let node = Node::start();
    let bomb = order(&node, "bomb", &["hold"]).spawn();
    bomb.expect_stdout("threads, then errno");
    let text = bomb.stdout();
    let made: usize = text.split(' ').next().unwrap().parse().unwrap();
    let there = threads(bomb.pid());
    assert!(there > made && there < MANY_THREADS, "{there} threads on the node, {made} in the guest");
    // The next container is unaffected.
    let other = run(&node, "threads", &["8"]);
    assert_eq!(other.stdout, "8 threads, sum 36000\n", "{other:?}");
    let begin = Instant::now();
    bomb.kill("TERM");
    assert_eq!(bomb.wait(SOON).code, 143);
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    assert_eq!(threads(bomb.pid()), 0);
    bomb.delete();
    node.finish();
}

#[test]
fn a_fork_has_memory_of_its_own_and_an_exit_code() {
    let node = Node::start();
    for code in ["0", "3", "42"] {
        let fork = run(&node, "fork", &[code]);
        assert_eq!(
            (fork.code, fork.stdout),
            (0, format!("child\nchild ended with {code}, parent has 1\n")),
            "{}",
            fork.stderr
        );
    }
    node.finish();
}

#[test]
fn sigterm_reaches_a_handler_or_ends_the_guest_with_143() {
    let node = Node::start();
    for (words, code, says) in [(&[][..], 7, "ready\nsignal 15\n"), (&["none"], 143, "ready\n")] {
        let task = order(&node, "signal", words).spawn();
        task.expect_stdout("ready\n");
        let begin = Instant::now();
        task.kill("TERM");
        assert_eq!(task.wait(SOON).code, code, "{words:?}: {}", task.stderr());
        assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
        assert_eq!(task.delete().stdout, says);
    }
    node.finish();
}

#[test]
fn endless_loops_in_threads_end_at_once() {
    let node = Node::start();
    for number in ["1", "4"] {
        let task = order(&node, "spin", &[number]).spawn();
        task.expect_stdout("ready\n");
        let begin = Instant::now();
        task.kill("TERM");
        assert_eq!(task.wait(SOON).code, 143);
        assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
        task.delete();
    }
    node.finish();
}

#[test]
fn exit_codes_are_kept() {
    let node = Node::start();
    for code in [0, 1, 42, 125, 126, 134, 137, 255] {
        let exit = run(&node, "kitchen-wasix", &["exit", &code.to_string()]);
        assert_eq!((exit.code, exit.stderr.as_str()), (code, ""));
    }
    let abort = run(&node, "kitchen-wasix", &["abort"]);
    assert_eq!((abort.code, abort.stderr.as_str()), (134, "catamaran: the guest aborted\n"));
    node.finish();
}

#[test]
fn a_guest_that_signals_itself_ends_with_128_plus_the_number() {
    let node = Node::start();
    for (words, code) in [
        (["raise", "6"], 134),
        (["raise", "9"], 137),
        (["kill", "9"], 137),
        (["raise", "15"], 143),
        (["kill", "15"], 143),
        (["raise", "11"], 139),
        (["raise", "24"], 152),
        // SIGCHLD, SIGWINCH: ignored by default.
        (["raise", "17"], 3),
        (["raise", "28"], 3),
        // Its own code: wasmer-wasix exits with it for a default action.
        (["leave", "15"], 27),
    ] {
        let raised = run(&node, "signal", &words);
        let says = if code == 3 { "sent: 0\n" } else { "" };
        assert_eq!((raised.code, raised.stdout.as_str()), (code, says), "{words:?}: {}", raised.stderr);
    }
    node.finish();
}

#[test]
fn a_read_of_stdin_is_interrupted_by_signals() {
    let node = Node::start();
    for (way, code, says) in [
        ("handler", 0, "ready 0\ninterrupted -1\nsignal 15\n"),
        ("restart", 0, "ready 0\nread 0\nsignal 15\n"),
        ("thread", 7, "ready 0\nsignal 15\n"),
    ] {
        let task = order(&node, "stdin", &[way]).hold_stdin().spawn();
        task.expect_stdout("ready 0\n");
        // The guest may be a moment before its read.
        std::thread::sleep(Duration::from_millis(200));
        task.kill("TERM");
        if way == "restart" {
            std::thread::sleep(Duration::from_millis(500));
            task.close_stdin();
        }
        assert_eq!(task.wait(SOON).code, code, "{way}");
        assert_eq!(task.delete().stdout, says, "{way}");
    }
    let at_once = order(&node, "stdin", &["at-once"]).hold_stdin().spawn();
    assert_eq!(at_once.wait(SOON).code, 0);
    assert_eq!(at_once.delete().stdout, "again 0\n");
    node.finish();
}

/// Of several waiting threads only one waker was kept, and a waiting read held a lock that a poll needed.
#[test]
fn the_end_of_stdin_wakes_all_waiting_threads() {
    let node = Node::start();
    let task = order(&node, "stdin", &["both"]).hold_stdin().spawn();
    task.expect_stdout("for a moment 0\n");
    task.close_stdin();
    assert_eq!(task.wait(SOON).code, 0);
    let said = task.delete().stdout;
    let mut lines: Vec<_> = said.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["for a moment 0", "polled 1", "read 0"]);
    node.finish();
}

#[test]
fn megabytes_pass_through_stdin_and_stdout() {
    let node = Node::start();
    let text: String = (0..400_000).map(|line| format!("this is line {line}\n")).collect();
    let cat = order(&node, "kitchen-wasix", &["cat"]).stdin(&text).to_its_end();
    assert!(
        cat.code == 0 && cat.stdout == text,
        "{} bytes came back of {}, {}",
        cat.stdout.len(),
        text.len(),
        cat.stderr
    );
    node.finish();
}

#[test]
fn arguments_environment_and_files_are_the_containers() {
    let node = Node::start();
    assert_eq!(run(&node, "kitchen-wasix", &["args", "a b", "", "ü"]).stdout, "/kitchen-wasix.wasm\nargs\na b\n\nü\n");
    let env = order(&node, "kitchen-wasix", &["env", "COLOUR"]).env("COLOUR", "blue=green").to_its_end();
    assert_eq!(env.stdout, "blue=green\n");
    let data = node.folder("data");
    fs::write(data.join("file"), "from the host").unwrap();
    let kitchen =
        |words: &[&str]| order(&node, "kitchen-wasix", words).bind(&data, "/data", ["rbind", "rw"]).to_its_end();
    assert_eq!(kitchen(&["read", "/data/file"]).stdout, "from the host");
    assert_eq!(kitchen(&["write", "/data/new", "from the guest"]).code, 0);
    assert_eq!(fs::read_to_string(data.join("new")).unwrap(), "from the guest");
    let mut names: Vec<_> = kitchen(&["ls", "/data"]).stdout.lines().map(str::to_owned).collect();
    names.sort();
    assert_eq!(names, ["file", "new"]);
    assert_eq!((kitchen(&["rm", "/data/new"]).code, data.join("new").exists()), (0, false));
    node.finish();
}

/// wasmer-wasix itself lets a guest make files in a folder that it may only read: the mount refuses them.
#[test]
fn read_only_files_stay_unchanged() {
    let node = Node::start();
    let data = node.folder("data");
    fs::write(data.join("file"), "as it was").unwrap();
    for words in [
        &["write", "/data/new", "text"][..],
        &["write", "/data/file", "text"],
        &["write", "/data/empty", ""],
        &["mkdir", "/data/folder"],
        &["rm", "/data/file"],
        &["rename", "/data/file", "/data/moved"],
        &["truncate", "/data/file"],
        &["write", "/new", "text"],
        &["mkdir", "/folder"],
        &["rm", "/kitchen-wasix.wasm"],
    ] {
        let kitchen =
            order(&node, "kitchen-wasix", words).bind(&data, "/data", ["rbind", "ro"]).read_only().to_its_end();
        assert_eq!(kitchen.code, 1, "{words:?}: {kitchen:?}");
        let names: Vec<_> = fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["file"], "{words:?}");
        assert_eq!(fs::read_to_string(data.join("file")).unwrap(), "as it was", "{words:?}");
    }
    node.finish();
}

#[test]
fn memory_is_bounded_by_the_module_and_the_container() {
    let node = Node::start();
    let all = run(&node, "kitchen-wasix", &["hoard", "128"]);
    assert_eq!((all.code, all.stdout.as_str()), (0, "128 MiB\n"), "{all:?}");
    // Its own bound of 256 MiB: malloc fails, and the guest goes on.
    let bound = run(&node, "kitchen-wasix", &["hoard", "512"]);
    assert!(bound.code == 1 && bound.stdout.ends_with(" MiB\n"), "{bound:?}");
    let killed = order(&node, "kitchen-wasix", &["hoard", "200"]).memory(96 << 20).to_its_end();
    assert_eq!((killed.code, killed.stdout.as_str()), (137, ""), "{killed:?}");
    node.finish();
}

#[test]
fn names_are_resolved_from_the_containers_hosts_file() {
    let node = Node::start();
    let hosts = node.dir().join("hosts");
    fs::write(&hosts, "127.0.0.1 localhost\n10.1.2.3 harbour harbour.example\n").unwrap();
    let resolve =
        |words: &[&str]| order(&node, "resolve", words).bind(&hosts, "/etc/hosts", ["bind", "ro"]).to_its_end();
    let known = resolve(&["harbour", "harbour.example", "localhost", "192.0.2.7"]);
    let expected = "harbour: 10.1.2.3\nharbour.example: 10.1.2.3\nlocalhost: 127.0.0.1\n192.0.2.7: 192.0.2.7\n";
    assert_eq!((known.code, known.stdout.as_str()), (0, expected), "{}", known.stderr);
    // An empty network has no server: the guest learns it soon, instead of hanging.
    let begin = Instant::now();
    let unknown = resolve(&["nowhere.example"]);
    assert!(unknown.code == 1 && unknown.stdout.starts_with("nowhere.example: "), "{unknown:?}");
    assert!(begin.elapsed() < SOON, "{:?}", begin.elapsed());
    node.finish();
}

#[test]
fn containers_of_one_network_meet_and_others_do_not() {
    let node = Node::start();
    let network = Network::new(&node, "pod");
    let task = joined(order(&node, "server", &["7000"]), &network).spawn();
    task.expect_stdout("listening\n");
    assert_eq!(network.inside(|| ask(7000, "hello\n")).unwrap(), "hello\n");
    let other = Network::new(&node, "other");
    assert!(other.inside(|| ask(7000, "hello\n")).is_err(), "another network reached it");
    task.discard();
    // Nor does a network of its own, the default of `ctr`; each network has its loopback.
    let alone = order(&node, "server", &["7001"]).spawn();
    alone.expect_stdout("listening\n");
    for reached in [ask(7001, "hello\n"), network.inside(|| ask(7001, "hello\n"))] {
        assert!(reached.is_err(), "another network reached it");
    }
    alone.discard();
    for order in [order(&node, "udp", &["5353"]), joined(order(&node, "udp", &["5353"]), &network)] {
        let udp = order.to_its_end();
        assert_eq!((udp.code, udp.stdout.as_str()), (0, "datagram from 127.0.0.1\n"), "{udp:?}");
    }
    drop((network, other));
    node.finish();
}

#[test]
fn poll_waits_and_wakes() {
    let node = Node::start();
    let poll = run(&node, "poll", &[]);
    assert_eq!((poll.code, poll.stdout.as_str()), (0, "nothing: 0\nsomething: 1, in 1\nread: 1\n"), "{poll:?}");
    node.finish();
}

#[test]
fn a_wasix_guest_cannot_open_its_own_memory() {
    let node = Node::start();
    // Of descriptors only the guest's own are there (`dev_streams.rs`), none of the worker's.
    for path in ["/proc/self/mem", "/proc/self/maps", "/proc/self/exe", "/proc/self/fd/5", "/proc/1/mem"] {
        let read = run(&node, "kitchen-wasix", &["read", path]);
        assert!(read.code == 1 && read.stdout.is_empty(), "{path}: {read:?}");
        let write = run(&node, "kitchen-wasix", &["write", path, "x"]);
        assert_eq!(write.code, 1, "{path}: {write:?}");
    }
    assert_eq!(run(&node, "kitchen-wasix", &["ls", "/proc"]).stdout, "");
    node.finish();
}

#[test]
fn a_server_that_is_killed_leaves_its_port_free() {
    let node = Node::start();
    let network = Network::new(&node, "pod");
    for signal in ["KILL", "TERM"] {
        let task = joined(order(&node, "server", &["7000"]), &network).spawn();
        task.expect_stdout("listening\n");
        assert_eq!(network.inside(|| ask(7000, "hello\n")).unwrap(), "hello\n");
        task.kill(signal);
        task.wait(SOON);
        task.delete();
        wait_until(SOON, "the port to be closed", || network.inside(|| ask(7000, "x\n")).is_err().then_some(()));
    }
    drop(network);
    node.finish();
}
