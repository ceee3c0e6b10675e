use std::io::{Read, Write};
use std::net::TcpStream;

use super::super::board::State;
use super::super::mode::Mode;
use super::*;
use crate::tree::Tree;

/// The server's answer to a client that sends these bytes.
fn exchange(address: SocketAddr, sent: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(sent.as_bytes()).unwrap();
    let mut read = String::new();
    stream.read_to_string(&mut read).unwrap();
    read
}

fn get(address: SocketAddr, path: &str) -> (String, String) {
    let read = exchange(address, &format!("GET {path} HTTP/1.1\r\nHost: node\r\n\r\n"));
    let (head, body) = read.split_once("\r\n\r\n").unwrap();
    (head.to_ascii_lowercase(), body.to_owned())
}

/// Serves while `client` runs on a thread of its own.
fn with(host: &Host, board: &Arc<Board>, client: impl FnOnce(SocketAddr) + Send + 'static) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (listener, address) = runtime.block_on(bind(&["127.0.0.1:0".parse().unwrap()])).unwrap();
    let client = std::thread::spawn(move || client(address));
    let ended = async {
        while !client.is_finished() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    runtime.block_on(serve(listener, host.clone(), board.clone(), ended));
    client.join().unwrap();
}

#[test]
fn the_pages_are_answered_over_a_socket() {
    let mut tree = Tree::new();
    tree.file("var/lib/catamaran/counters", "shim_deaths 3\n");
    let board = Arc::new(Board::new("catamaran", "0.1.0-0123456789ab"));
    let told = board.clone();
    with(&tree.host(), &board, move |address| {
        assert!(get(address, "/healthz").0.starts_with("http/1.1 200"));
        let (head, body) = get(address, "/readyz");
        assert!(head.starts_with("http/1.1 503") && body.contains("not looked at yet"), "{head}\n{body}");

        told.tell(Some(Mode::Uninstall), State::Refused, "pods use the handler \"catamaran\": default/a");
        let (head, body) = get(address, "/status");
        assert!(head.starts_with("http/1.1 200") && head.contains("content-type: application/json"), "{head}");
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        let expected = serde_json::json!({
            "mode": "uninstall", "state": "refused", "message": "pods use the handler \"catamaran\": default/a",
            "handler": "catamaran", "version": "0.1.0-0123456789ab", "node_ready": false,
        });
        assert_eq!(body, expected);
        assert!(get(address, "/readyz").1.contains("default/a"));

        told.tell(None, State::Failed, "no mode");
        assert!(get(address, "/status").1.contains("\"mode\":null"));
        told.tell(Some(Mode::Install), State::Ready, "it runs");
        let (head, body) = get(address, "/readyz");
        assert!(head.starts_with("http/1.1 200") && body == "ready\n", "{head}\n{body}");
        let (head, body) = get(address, "/metrics?x=1");
        assert!(head.starts_with("http/1.1 200") && head.contains("text/plain; version=0.0.4"), "{head}");
        assert!(body.contains("\ncatamaran_shim_deaths_total 3\n") && body.contains("\ncatamaran_node_ready 1\n"));
    });
}

#[test]
fn other_paths_methods_and_words_are_refused_and_the_server_goes_on() {
    let tree = Tree::new();
    let board = Arc::new(Board::new("catamaran", "0.1.0-0123456789ab"));
    with(&tree.host(), &board, |address| {
        for path in ["/", "/healthz/", "/../etc/passwd", "/Status"] {
            assert!(get(address, path).0.starts_with("http/1.1 404"), "{path}");
        }
        for method in ["POST", "PUT", "HEAD", "DELETE", "OPTIONS"] {
            let read =
                exchange(address, &format!("{method} /status HTTP/1.1\r\nHost: node\r\nContent-Length: 0\r\n\r\n"));
            assert!(read.starts_with("HTTP/1.1 405") && read.to_ascii_lowercase().contains("allow: get"), "{read}");
        }
        assert!(exchange(address, "no HTTP at all\r\n\r\n").starts_with("HTTP/1.1 400"));
        // Silent clients keep nobody out.
        let silent: Vec<_> = (0..8).map(|_| TcpStream::connect(address).unwrap()).collect();
        assert!(get(address, "/healthz").0.starts_with("http/1.1 200"));
        drop(silent);
    });
}
