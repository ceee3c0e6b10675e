//! Lookups against name servers on loopback, whose answers each test sets.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::*;

const A: u16 = 1;
const CNAME: u16 = 5;
const AAAA: u16 = 28;

/// A server's reply to one question.
#[derive(Clone, Default)]
struct Reply {
    code: u8,
    cut: bool,
    /// Owner, kind and data. An empty owner stands for the question's own name.
    records: Vec<(&'static str, u16, Vec<u8>)>,
    silent: bool,
    /// Sent before the answer, by the server's own socket.
    forged: bool,
}

fn addresses(of: &[[u8; 4]]) -> Reply {
    Reply { records: of.iter().map(|a| ("", A, a.to_vec())).collect(), ..Reply::default() }
}

fn code(code: u8) -> Reply {
    Reply { code, ..Reply::default() }
}

/// A server that runs until the test's process ends, and the questions that it got: name, kind, whether by TCP.
struct Server {
    at: SocketAddr,
    asked: Arc<Mutex<Vec<(String, u16, bool)>>>,
}

impl Server {
    fn start(says: impl Fn(&str, u16, bool) -> Reply + Send + Sync + 'static) -> Self {
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let at = udp.local_addr().unwrap();
        let tcp = TcpListener::bind(at).unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (says, noted) = (Arc::new(says), Arc::clone(&asked));
        let answer = Arc::new(move |question: &[u8], by_tcp: bool| {
            let (name, kind) = read(question);
            noted.lock().unwrap().push((name.clone(), kind, by_tcp));
            says(&name, kind, by_tcp)
        });
        let by_udp = Arc::clone(&answer);
        std::thread::spawn(move || {
            let mut bytes = [0; 512];
            while let Ok((n, from)) = udp.recv_from(&mut bytes) {
                let reply = by_udp(&bytes[..n], false);
                if reply.forged {
                    let mut other = written(&bytes[..n], &addresses(&[[6, 6, 6, 6]]));
                    other[0] ^= 1;
                    udp.send_to(&other, from).unwrap();
                }
                if !reply.silent {
                    udp.send_to(&written(&bytes[..n], &reply), from).unwrap();
                }
            }
        });
        std::thread::spawn(move || {
            for mut stream in tcp.incoming().flatten() {
                let mut bytes = [0; 512];
                let n = stream.read(&mut bytes).unwrap();
                let reply = answer(&bytes[2..n], true);
                let message = written(&bytes[2..n], &reply);
                stream.write_all(&[&(message.len() as u16).to_be_bytes()[..], &message].concat()).unwrap();
            }
        });
        Self { at, asked }
    }

    fn asked(&self) -> Vec<(String, u16, bool)> {
        self.asked.lock().unwrap().clone()
    }
}

/// Reads the name and the kind of a question.
fn read(message: &[u8]) -> (String, u16) {
    let (mut labels, mut at) = (Vec::new(), 12);
    while message[at] != 0 {
        let length = usize::from(message[at]);
        labels.push(String::from_utf8(message[at + 1..at + 1 + length].to_vec()).unwrap());
        at += length + 1;
    }
    (labels.join("."), u16::from_be_bytes([message[at + 1], message[at + 2]]))
}

fn wire(name: &str) -> Vec<u8> {
    let labels = name.split('.').flat_map(|l| [&[l.len() as u8], l.as_bytes()].concat());
    labels.chain([0]).collect()
}

fn written(question: &[u8], reply: &Reply) -> Vec<u8> {
    let mut message = question.to_vec();
    message[2] = 0x81 | if reply.cut { 2 } else { 0 };
    message[3] = 0x80 | reply.code;
    message[7] = reply.records.len() as u8;
    for (owner, kind, data) in &reply.records {
        message.extend(if owner.is_empty() { vec![0xc0, 12] } else { wire(owner) });
        message.extend([&kind.to_be_bytes()[..], &[0, 1, 0, 0, 0, 9], &(data.len() as u16).to_be_bytes()].concat());
        message.extend(data);
    }
    message
}

fn config(servers: &[&Server]) -> Config {
    let servers = servers.iter().map(|s| s.at).collect();
    Config { servers, timeout: Duration::from_millis(300), ..Config::default() }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn ask(config: &Config, name: &str) -> Result<Vec<String>, Failure> {
    block_on(by_servers(config, name)).map(|all| all.iter().map(IpAddr::to_string).collect())
}

#[test]
fn ipv4_and_ipv6_are_asked_for_and_only_answers_to_the_name_count() {
    let server = Server::start(|_, kind, _| match kind {
        A => Reply {
            records: vec![("", A, vec![127, 0, 0, 1]), ("other.example", A, vec![127, 0, 0, 66])],
            ..Reply::default()
        },
        _ => Reply { records: vec![("", AAAA, [vec![0; 15], vec![1]].concat())], ..Reply::default() },
    });
    let mut found = ask(&config(&[&server]), "a.example").unwrap();
    found.sort();
    assert_eq!(found, ["127.0.0.1", "::1"]);
    let mut kinds: Vec<_> = server.asked().into_iter().map(|(_, kind, _)| kind).collect();
    kinds.sort_unstable();
    assert_eq!(kinds, [A, AAAA]);
}

#[test]
fn aliases_are_followed_and_a_loop_of_them_ends() {
    let server = Server::start(|name, kind, _| match (name, kind) {
        ("ring.example", _) => Reply {
            records: vec![("", CNAME, wire("x.example")), ("x.example", CNAME, wire("ring.example"))],
            ..Reply::default()
        },
        (_, A) => Reply {
            records: vec![
                ("", CNAME, wire("b.example")),
                ("b.example", CNAME, wire("c.example")),
                ("c.example", A, vec![10, 0, 0, 7]),
            ],
            ..Reply::default()
        },
        _ => code(0),
    });
    assert_eq!(ask(&config(&[&server]), "a.example").unwrap(), ["10.0.0.7"]);
    assert_eq!(ask(&config(&[&server]), "ring.example"), Err(Failure::Unavailable));
}

#[test]
fn search_domains_are_tried_in_their_order_until_a_name_exists() {
    let server = Server::start(|name, kind, _| match (name, kind) {
        ("web.svc.local", A) => addresses(&[[10, 1, 1, 1]]),
        ("web.svc.local", _) => code(0),
        _ => code(3),
    });
    let config =
        Config { search: vec!["ns.svc.local".to_owned(), "svc.local".to_owned()], ndots: 5, ..config(&[&server]) };
    assert_eq!(ask(&config, "web").unwrap(), ["10.1.1.1"]);
    let mut names: Vec<_> = server.asked().into_iter().map(|(name, ..)| name).collect();
    names.dedup();
    assert_eq!(names, ["web.ns.svc.local", "web.svc.local"]);
    assert_eq!(ask(&config, "missing"), Err(Failure::NotFound));
    assert_eq!(server.asked().last().unwrap().0, "missing", "as it is, in the end");
    assert_eq!(ask(&config, "web."), Err(Failure::NotFound), "a dot at the end: no search");
}

#[test]
fn a_truncated_answer_is_asked_for_again_by_tcp() {
    let server = Server::start(|_, kind, tcp| match (kind, tcp) {
        (A, false) => Reply { cut: true, ..addresses(&[[10, 0, 0, 1]]) },
        (A, true) => addresses(&[[10, 0, 0, 1], [10, 0, 0, 2]]),
        _ => code(0),
    });
    assert_eq!(ask(&config(&[&server]), "many.example").unwrap(), ["10.0.0.1", "10.0.0.2"]);
    let by_tcp = Config { tcp: true, ..config(&[&server]) };
    assert_eq!(ask(&by_tcp, "many.example").unwrap(), ["10.0.0.1", "10.0.0.2"]);
}

#[test]
fn after_a_silent_or_failing_server_the_next_one_is_asked() {
    let silent = Server::start(|_, _, _| Reply { silent: true, ..Reply::default() });
    let failing = Server::start(|_, _, _| code(2));
    let good = Server::start(|_, kind, _| if kind == A { addresses(&[[10, 0, 0, 3]]) } else { code(0) });
    assert_eq!(ask(&config(&[&silent, &failing, &good]), "x.example").unwrap(), ["10.0.0.3"]);
    let begun = Instant::now();
    let searching = Config { search: vec!["a.example".to_owned(), "b.example".to_owned()], ..config(&[&silent]) };
    assert_eq!(ask(&searching, "x"), Err(Failure::Unavailable));
    assert!(begun.elapsed() < Duration::from_secs(1), "two attempts for one name, not for three");
    assert_eq!(ask(&config(&[&failing]), "x.example"), Err(Failure::Unavailable));
    // No server listens: the kernel reports it, and the lookup does not wait for the timeout.
    let nobody =
        Config { servers: vec!["127.0.0.1:1".parse().unwrap()], timeout: Duration::from_secs(30), ..Config::default() };
    let begun = Instant::now();
    assert_eq!(ask(&nobody, "x.example"), Err(Failure::Unavailable));
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[test]
fn ipv4_alone_is_enough_where_ipv6_is_never_answered() {
    let server = Server::start(|_, kind, _| match kind {
        A => addresses(&[[10, 0, 0, 4]]),
        _ => Reply { silent: true, ..Reply::default() },
    });
    assert_eq!(ask(&config(&[&server]), "x.example").unwrap(), ["10.0.0.4"]);
    let one = Config { one_at_a_time: true, ..config(&[&server]) };
    assert_eq!(ask(&one, "x.example").unwrap(), ["10.0.0.4"]);
}

#[test]
fn an_answer_to_another_question_is_ignored() {
    let server = Server::start(|_, kind, _| Reply {
        forged: true,
        ..if kind == A { addresses(&[[10, 0, 0, 5]]) } else { code(0) }
    });
    assert_eq!(ask(&config(&[&server]), "x.example").unwrap(), ["10.0.0.5"]);
}

#[test]
fn addresses_and_localhost_ask_no_server() {
    let nobody = Config { servers: vec!["127.0.0.1:1".parse().unwrap()], ..Config::default() };
    let mut both = ask(&nobody, "LOCALHOST.").unwrap();
    both.sort();
    assert_eq!(both, ["127.0.0.1", "::1"]);
    assert!(ask(&nobody, "app.localhost").is_ok());
    let own = |name: &str| block_on(resolve(name)).map(|all| all[0].to_string());
    assert_eq!(own("192.0.2.1").unwrap(), "192.0.2.1");
    assert_eq!(own("2001:db8::1").unwrap(), "2001:db8::1");
    assert_eq!(own("[2001:db8::1]").unwrap(), "2001:db8::1");
}

#[test]
fn an_invalid_host_name_is_refused_without_a_query() {
    let long = "a".repeat(64);
    let longer = ["a".repeat(60), "b".repeat(60), "c".repeat(60), "d".repeat(60), "e".repeat(20)].join(".");
    for name in ["", ".", "a..b", "a b", "a\\.b", "a/b", "a\0b", "-a", "a:80", long.as_str(), longer.as_str()] {
        assert!(matches!(parsed(name), Err(Failure::Invalid)), "{name:?}");
    }
    let Ok(Parsed::Name(encoded)) = parsed("b\u{fc}cher.example") else { panic!("not a name") };
    assert_eq!(encoded, "xn--bcher-kva.example");
    assert!(matches!(parsed("_sip._tcp.example"), Ok(Parsed::Name(_))));
}
