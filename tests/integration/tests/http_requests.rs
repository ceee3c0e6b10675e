//! HTTP requests that a server's guest makes: the addresses that they reach or do not reach, and the guest's errors.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use catamaran_harness::{Node, Task, wait_until};
use catamaran_integration::http::{Answer, Client, PORT, get, image, server};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

const SOON: Duration = Duration::from_secs(20);
/// A link-local address, which a task's loopback is given.
const LINK_LOCAL: Ipv4Addr = Ipv4Addr::new(169, 254, 7, 7);

/// Another server, on a port of the task's loopback; returns the port and a counter of its connections.
fn other(task: &Task<'_>, answer: impl Fn(TcpStream) + Send + Sync + Clone + 'static) -> (u16, Arc<AtomicUsize>) {
    other_at(task, Ipv4Addr::LOCALHOST, answer)
}

/// The same on an address that the task's loopback has.
fn other_at(
    task: &Task<'_>,
    address: Ipv4Addr,
    answer: impl Fn(TcpStream) + Send + Sync + Clone + 'static,
) -> (u16, Arc<AtomicUsize>) {
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    let port = task.within(move || {
        let listener = TcpListener::bind((address, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        // Until the test program ends, the thread keeps its network namespace.
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                counted.fetch_add(1, Ordering::SeqCst);
                let answer = answer.clone();
                thread::spawn(move || answer(stream));
            }
        });
        port
    });
    (port, connections)
}

/// Reads a request: its first line and its body, by its length or its chunks; None at the connection's end.
fn request(reader: &mut impl BufRead) -> Option<(String, Vec<u8>)> {
    let mut line = || {
        let mut text = String::new();
        (reader.read_line(&mut text).ok()? > 0).then(|| text.trim_end().to_owned())
    };
    let first = line()?;
    let (mut length, mut chunked) = (0, false);
    loop {
        let header = line()?.to_ascii_lowercase();
        match header.split_once(": ") {
            None => break,
            Some(("content-length", value)) => length = value.parse().unwrap(),
            Some(("transfer-encoding", value)) => chunked = value == "chunked",
            Some(_) => {}
        }
    }
    let mut body = Vec::new();
    while chunked {
        let mut size = String::new();
        reader.read_line(&mut size).ok()?;
        let size = usize::from_str_radix(size.trim_end(), 16).unwrap();
        let mut chunk = vec![0; size + 2];
        reader.read_exact(&mut chunk).ok()?;
        body.extend_from_slice(&chunk[..size]);
        chunked = size > 0;
    }
    if length > 0 {
        body.resize(length, 0);
        reader.read_exact(&mut body).ok()?;
    }
    Some((first, body))
}

/// Answers 203 with the request's first line and body.
fn tell(stream: TcpStream) {
    let mut reader = BufReader::new(stream);
    while let Some((first, body)) = request(&mut reader) {
        let text = [first.as_bytes(), b"\n", &body].concat();
        let head = format!("HTTP/1.1 203 Non-Authoritative Information\r\nContent-Length: {}\r\n\r\n", text.len());
        reader.get_mut().write_all(&[head.as_bytes(), &text].concat()).unwrap();
    }
}

fn fetch(task: &Task<'_>, url: &str) -> Answer {
    get(task, &format!("/fetch?{url}"))
}

#[test]
fn a_guest_gets_the_answer_of_another_server() {
    let node = Node::start();
    let task = server(&node, "server").spawn();
    let (port, connections) = other(&task, tell);
    let url = format!("http://127.0.0.1:{port}/a/path?with=query");
    let body = vec![b'b'; 300_000];
    task.within(|| {
        // On one connection, and so on one thread of the server.
        let mut client = Client::connect(PORT);
        for _ in 0..3 {
            let answer = client.get(&format!("/fetch?{url}"));
            assert_eq!(answer.short(), (203, "GET /a/path?with=query HTTP/1.1\n".to_owned(), true));
        }
        let head = format!("POST /fetch?{url} HTTP/1.1\r\nhost: pod\r\ncontent-length: {}\r\n\r\n", body.len());
        client.send([head.as_bytes(), &body].concat());
        let answer = client.answer();
        let first = b"POST /a/path?with=query HTTP/1.1\n";
        assert_eq!(answer.status, 203);
        assert!(answer.body.strip_prefix(first).is_some_and(|rest| rest == body), "{} bytes", answer.body.len());
    });
    assert_eq!(connections.load(Ordering::SeqCst), 1, "a connection is used again");
    task.discard();
    node.finish();
}

#[test]
fn a_guest_is_told_by_name_why_a_request_has_no_answer() {
    let node = Node::start();
    let image =
        image("server").file("/etc/hosts", "127.0.0.1 localhost\n169.254.169.254 metadata.test\n127.0.0.1 here.test\n");
    let task = node.container("server").image(&image).spawn();
    let (silent, _) = other(&task, |stream| {
        let mut reader = BufReader::new(stream);
        request(&mut reader);
        thread::sleep(SOON);
    });
    let (rude, _) = other(&task, drop);
    let (told, _) = other(&task, tell);
    let (plain, _) = other(&task, |mut stream| stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap());
    assert_eq!(fetch(&task, &format!("http://here.test:{told}/")).status, 203, "a name of the image's");
    for (url, error) in [
        ("http://127.0.0.1:1/".to_owned(), "connection-refused"),
        (format!("300,http://127.0.0.1:{silent}/"), "connection-read-timeout"),
        (format!("http://127.0.0.1:{rude}/"), "connection-terminated"),
        (format!("https://127.0.0.1:{plain}/"), "TLS-protocol-error"),
        (format!("https://127.0.0.1:{rude}/"), "connection-terminated"),
        ("http://nowhere.invalid/".to_owned(), "DNS-error"),
        // The node's metadata address, by number, by name, and in its IPv6 forms.
        ("http://169.254.169.254/latest/meta-data/".to_owned(), "destination-IP-prohibited"),
        ("https://169.254.169.254/".to_owned(), "destination-IP-prohibited"),
        ("http://metadata.test/".to_owned(), "destination-IP-prohibited"),
        ("http://[::ffff:169.254.169.254]/".to_owned(), "destination-IP-prohibited"),
        ("http://[64:ff9b::a9fe:a9fe]/".to_owned(), "destination-IP-prohibited"),
        ("http://[fe80::1]/".to_owned(), "destination-IP-prohibited"),
    ] {
        assert_eq!(fetch(&task, &url).short(), (502, format!("{error}\n"), true), "{url}");
    }
    task.discard();
    node.finish();
}

#[test]
fn link_local_addresses_are_reached_only_where_the_nodes_option_says_so() {
    let node = Node::start();
    let hosts = format!("127.0.0.1 localhost\n{LINK_LOCAL} link-local.test\n");
    let image = image("server").file("/etc/hosts", hosts);
    let file = node.dir().join("options.toml");
    for (id, allowed) in [("refused", false), ("allowed", true)] {
        fs::write(&file, format!("link_local_requests = {allowed}\n")).unwrap();
        let options = ["--runtime-config-path", file.to_str().unwrap()];
        let task = node.container(id).image(&image).flag(options).spawn();
        task.add_to_loopback(LINK_LOCAL);
        let (port, connections) = other_at(&task, LINK_LOCAL, tell);
        let (status, text) = if allowed { (203, "GET / HTTP/1.1\n") } else { (502, "destination-IP-prohibited\n") };
        for host in [LINK_LOCAL.to_string(), "link-local.test".to_owned()] {
            let answer = fetch(&task, &format!("http://{host}:{port}/"));
            assert_eq!(answer.short(), (status, text.to_owned(), true), "{host}, {allowed}");
        }
        assert_eq!(connections.load(Ordering::SeqCst) > 0, allowed, "whether anything has connected");
        task.discard();
    }
    node.finish();
}

#[test]
fn an_answer_that_breaks_off_is_not_handed_on_as_complete() {
    let node = Node::start();
    let task = server(&node, "server").spawn();
    let part = |stream: TcpStream, wait: Duration| {
        let mut reader = BufReader::new(stream);
        request(&mut reader);
        reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\na part").unwrap();
        thread::sleep(wait);
    };
    let (short, _) = other(&task, move |stream| part(stream, Duration::ZERO));
    let (stalled, _) = other(&task, move |stream| part(stream, SOON));
    for url in [format!("http://127.0.0.1:{short}/"), format!("300,http://127.0.0.1:{stalled}/")] {
        assert_eq!(fetch(&task, &url).short(), (200, "a part".to_owned(), false), "{url}");
    }
    assert_eq!(get(&task, "/hello").status, 200);
    task.discard();
    node.finish();
}

/// A TLS server on loopback, `api.test`, with a certificate of its own CA; and that CA's certificate.
struct Secured {
    config: Arc<ServerConfig>,
    ca: String,
}

impl Secured {
    fn new() -> Self {
        let mut of_ca = rcgen::CertificateParams::new(Vec::new()).unwrap();
        of_ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let ca_key = rcgen::KeyPair::generate().unwrap();
        let ca = of_ca.self_signed(&ca_key).unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let issuer = rcgen::Issuer::from_params(&of_ca, &ca_key);
        let certificate =
            rcgen::CertificateParams::new(vec!["api.test".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
            .unwrap();
        Self { config: Arc::new(config), ca: ca.pem() }
    }

    fn serve(&self, task: &Task<'_>) -> u16 {
        let config = Arc::clone(&self.config);
        let answer = move |stream: TcpStream| {
            let stream = StreamOwned::new(ServerConnection::new(Arc::clone(&config)).unwrap(), stream);
            let mut reader = BufReader::new(stream);
            while request(&mut reader).is_some() {
                reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nsecured").unwrap();
            }
        };
        other(task, answer).0
    }
}

#[test]
fn https_trusts_the_containers_own_certificates() {
    let secured = Secured::new();
    let refused = (502, "TLS-certificate-error\n".to_owned(), true);
    // The path of the CA's certificate, the environment variable for it, and whether the CA is trusted.
    for (place, variable, trusted) in [
        ("/ca.pem", Some("/ca.pem"), true),
        ("/etc/ssl/certs/ca-certificates.crt", None, true),
        ("/ca.pem", None, false),
    ] {
        let node = Node::start();
        let hosts = "127.0.0.1 localhost\n127.0.0.1 api.test\n127.0.0.1 other.test\n";
        let image = image("server").file("/etc/hosts", hosts).file(place, &secured.ca);
        let mut order = node.container("server").image(&image);
        if let Some(path) = variable {
            order = order.env("SSL_CERT_FILE", path);
        }
        let task = order.spawn();
        let port = secured.serve(&task);
        let answer = fetch(&task, &format!("https://api.test:{port}/")).short();
        let expected = if trusted { (200, "secured".to_owned(), true) } else { refused.clone() };
        assert_eq!(answer, expected, "{place}, {variable:?}: {}", task.stderr());
        assert_eq!(fetch(&task, &format!("https://other.test:{port}/")).short(), refused, "another name");
        task.discard();
        node.finish();
    }
}

#[test]
fn certificates_that_cannot_be_read_are_told_on_stderr() {
    let node = Node::start();
    let image = image("server").file("/empty.pem", "no certificate\n");
    for (path, words) in [("/nowhere.pem", "SSL_CERT_FILE"), ("/empty.pem", "/empty.pem has no certificate")] {
        let id = path.trim_matches(['/', '.']).replace('.', "-");
        let task = node.container(&id).image(&image).env("SSL_CERT_FILE", path).spawn();
        let answer = fetch(&task, "https://127.0.0.1:1/");
        assert_eq!((answer.status, answer.text().as_str()), (502, "error 37\n"), "configuration-error");
        wait_until(SOON, "its stderr", || task.stderr().contains(words).then_some(()));
        assert_eq!(fetch(&task, "http://127.0.0.1:1/").text(), "connection-refused\n", "without TLS none is needed");
        task.discard();
    }
    node.finish();
}
