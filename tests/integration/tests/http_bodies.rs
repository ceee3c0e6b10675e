//! Bodies that a server streams, in either direction: as they come, held back where nobody takes them, and of any length.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use std::fs;
use std::io::{Read, Write};
use std::time::{Duration, Instant};

use catamaran_harness::{Node, Task};
use catamaran_integration::http::{Client, PORT, get, server};

const MIB: usize = 1 << 20;
/// A body that shows whether it is kept in memory.
const LARGE: usize = 64 * MIB;
/// What a worker may have had in memory at any time, in kB: its own, one instance of a few pages, and buffers.
const MOST_KB: u64 = 32 << 10;

fn line(task: &Task<'_>, key: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{}/status", task.pid())).unwrap();
    let value = text.lines().find_map(|line| line.strip_prefix(key)).unwrap();
    value.split_whitespace().next().unwrap().parse().unwrap()
}

/// Processor time that the worker has had so far, in hundredths of a second.
fn ticks(task: &Task<'_>) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", task.pid())).unwrap();
    let words: Vec<_> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    words[11].parse::<u64>().unwrap() + words[12].parse::<u64>().unwrap()
}

/// Bytes of which none is like those near it.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

#[test]
fn large_bodies_pass_in_little_memory() {
    let node = Node::start();
    let task = server(&node, "server").spawn();
    task.within(|| {
        let body = pattern(LARGE);
        let mut client = Client::connect(PORT);
        assert_eq!(client.request("POST", "/count", &[], &body).text(), format!("{LARGE}\n"));
        let down = client.get(&format!("/bytes?{LARGE}"));
        assert!(down.complete && down.body.len() == LARGE, "{} bytes came", down.body.len());
        let down = client.get(&format!("/chunked?{LARGE}"));
        assert!(down.complete && down.body.len() == LARGE, "{} bytes came", down.body.len());
    });
    let most = line(&task, "VmHWM:");
    assert!(most < MOST_KB, "{most} kB were in memory");
    task.discard();
    node.finish();
}

#[test]
fn a_large_body_is_echoed_while_it_comes() {
    let node = Node::start();
    let task = server(&node, "server").spawn();
    task.within(|| {
        let body = pattern(LARGE);
        let mut client = Client::connect(PORT);
        let mut writing = client.stream().try_clone().unwrap();
        let head = format!("POST /echo HTTP/1.1\r\nhost: pod\r\ncontent-type: x/y\r\ncontent-length: {LARGE}\r\n\r\n");
        let answer = std::thread::scope(|scope| {
            scope.spawn(|| {
                writing.write_all(head.as_bytes()).unwrap();
                writing.write_all(&body).unwrap();
            });
            client.answer()
        });
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("x/y")));
        assert!(answer.complete && answer.body == body, "{} bytes came back", answer.body.len());
    });
    let most = line(&task, "VmHWM:");
    assert!(most < MOST_KB, "{most} kB were in memory");
    task.discard();
    node.finish();
}

#[test]
fn what_a_guest_writes_is_sent_at_once() {
    let node = Node::start();
    let task = server(&node, "server").spawn();
    task.within(|| {
        let mut client = Client::connect(PORT);
        client.send("GET /drip?10 HTTP/1.1\r\nhost: pod\r\n\r\n");
        assert_eq!(client.head().status, 200);
        assert_eq!(client.some_chunks(7), b"line 1\n");
        let begin = Instant::now();
        assert_eq!(client.some_chunks(7 * 8 + 8).len(), 64);
        // Nine pauses of a tenth of a second are left. All at once would be none.
        assert!(begin.elapsed() > Duration::from_millis(450), "{:?} from the first line to the last", begin.elapsed());
    });
    task.discard();
    node.finish();
}

#[test]
fn a_request_and_its_response_may_take_turns() {
    let node = Node::start();
    let task = server(&node, "server").spawn();
    task.within(|| {
        let mut client = Client::connect(PORT);
        client.send("POST /echo HTTP/1.1\r\nhost: pod\r\ntransfer-encoding: chunked\r\n\r\n");
        for turn in 0..10 {
            let text = format!("turn {turn}");
            client.send(format!("{:x}\r\n{text}\r\n", text.len()));
            if turn == 0 {
                assert_eq!(client.head().status, 200);
            }
            assert_eq!(client.some_chunks(text.len()), text.as_bytes());
        }
        client.send("0\r\n\r\n");
    });
    assert_eq!(get(&task, "/hello").status, 200);
    task.discard();
    node.finish();
}

#[test]
fn a_client_that_reads_nothing_holds_the_guest_back() {
    let node = Node::start();
    let task = server(&node, "server").spawn();
    task.within(|| {
        let mut clients: Vec<_> = (0..4).map(|_| Client::connect(PORT)).collect();
        for client in &mut clients {
            client.send("GET /bytes?1000000000 HTTP/1.1\r\nhost: pod\r\n\r\n");
            assert_eq!(client.head().status, 200);
        }
        std::thread::sleep(Duration::from_secs(1));
        let before = ticks(&task);
        std::thread::sleep(Duration::from_secs(2));
        let used = ticks(&task) - before;
        assert!(used <= 2, "{used} hundredths of a second of processor time while nobody reads");
        let most = line(&task, "VmHWM:");
        assert!(most < MOST_KB, "{most} kB were in memory");
        // It goes on where somebody reads again.
        let mut some = vec![0; 8 * MIB];
        clients[0].stream().read_exact(&mut some).unwrap();
        assert_eq!(Client::connect(PORT).get("/hello").status, 200);
    });
    task.discard();
    node.finish();
}

#[test]
fn a_guest_that_reads_nothing_holds_the_client_back() {
    let node = Node::start();
    let task = server(&node, "server").spawn();
    task.within(|| {
        let mut client = Client::connect(PORT);
        client.stream().set_write_timeout(Some(Duration::from_secs(2))).unwrap();
        client.send(format!("POST /sleep?20000 HTTP/1.1\r\nhost: pod\r\ncontent-length: {LARGE}\r\n\r\n"));
        let (mut sent, part) = (0, vec![b'x'; 64 << 10]);
        while client.stream().write(&part).map(|n| sent += n).is_ok() {
            assert!(sent < LARGE, "all of a body was taken that nobody reads");
        }
        let most = line(&task, "VmHWM:");
        assert!(most < MOST_KB, "{most} kB were in memory, of {sent} bytes");
        assert_eq!(Client::connect(PORT).get("/hello").status, 200);
    });
    task.discard();
    node.finish();
}

#[test]
fn a_body_above_its_limit_is_refused() {
    let node = Node::start();
    let task = server(&node, "server").annotation("catamaran.wasm/http-max-request-body", "1k").spawn();
    task.within(|| {
        let mut client = Client::connect(PORT);
        assert_eq!(client.request("POST", "/count", &[], &[b'x'; 1000]).text(), "1000\n");
        let mut client = Client::connect(PORT);
        client.send("POST /count HTTP/1.1\r\nhost: pod\r\ncontent-length: 1001\r\n\r\n");
        let refused = client.answer();
        assert!(refused.status == 413 && refused.complete, "{refused:?}");
        // Without a length it is found out on the way; the guest may have answered by then, as this one does not.
        let mut client = Client::connect(PORT);
        client.send("POST /count HTTP/1.1\r\nhost: pod\r\ntransfer-encoding: chunked\r\n\r\n3e8\r\n");
        client.send([b'x'; 1000]);
        client.send("\r\n1\r\nx\r\n0\r\n\r\n");
        let refused = client.answer();
        assert_eq!(refused.status, 413, "{refused:?}");
        assert_eq!(Client::connect(PORT).get("/hello").status, 200);
    });
    task.discard();
    node.finish();
}
