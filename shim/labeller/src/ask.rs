//! Asks an installer for its progress.

use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::error::words;

/// The time limit of one request, from the connection to the last byte of the answer.
const ANSWER: Duration = Duration::from_secs(5);
/// The most bytes of an answer that are read.
const LONGEST: usize = 64 << 10;

/// The fields of an installer's `/status` that are used here.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Status {
    /// The mode that the installer has read; None if it could not read one.
    pub(crate) mode: Option<String>,
    /// "working", "ready", "failed", "refused" or "uninstalled".
    pub(crate) state: String,
    #[serde(default)]
    pub(crate) message: String,
}

/// Returns the installer's status, or a text about the answer that came instead.
pub(crate) async fn status(address: SocketAddr) -> Result<Status, String> {
    let answered = timeout(ANSWER, get(address)).await;
    answered.unwrap_or_else(|_| Err(format!("no answer after {} s", ANSWER.as_secs())))
}

async fn get(address: SocketAddr) -> Result<Status, String> {
    let stream = TcpStream::connect(address).await.map_err(|e| e.to_string())?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|e| words(&e))?;
    let asked = async {
        let request = Request::get("/status").header(header::HOST, address.to_string());
        let request = request.body(Empty::<Bytes>::new()).map_err(|e| e.to_string())?;
        let response = sender.send_request(request).await.map_err(|e| words(&e))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), LONGEST).collect().await.map_err(|e| e.to_string())?.to_bytes();
        // The answer is read: dropping the sender ends the connection.
        drop(sender);
        if status != StatusCode::OK {
            return Err(format!("/status answers {status}"));
        }
        serde_json::from_slice(&body).map_err(|e| format!("/status does not answer with an installer's status: {e}"))
    };
    let (answer, _ended) = tokio::join!(asked, connection);
    answer
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// Returns the result for an answer that is sent over a socket.
    async fn asked(answer: String) -> Result<Status, String> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let read = stream.read(&mut [0; 1024]).await.unwrap();
            assert!(read > 0);
            stream.write_all(answer.as_bytes()).await.unwrap();
        };
        let (status, ()) = tokio::join!(status(address), serving);
        status
    }

    fn http(code: &str, body: &str) -> String {
        format!("HTTP/1.1 {code}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    }

    #[tokio::test]
    async fn a_status_is_read() {
        let body = r#"{"mode": "uninstall", "state": "working", "message": "m", "handler": "catamaran", "version": "1", "node_ready": false}"#;
        let status = asked(http("200 OK", body)).await.unwrap();
        assert_eq!(status, Status { mode: Some("uninstall".into()), state: "working".into(), message: "m".into() });
        let status = asked(http("200 OK", r#"{"mode": null, "state": "failed"}"#)).await.unwrap();
        assert_eq!(status, Status { mode: None, state: "failed".into(), message: String::new() });
    }

    #[tokio::test]
    async fn an_answer_that_is_no_status_is_reported() {
        for (answer, expected) in [
            (http("404 Not Found", "{}"), "/status answers 404 Not Found"),
            (http("200 OK", "{\"state\": 1}"), "/status does not answer with an installer's status: invalid type"),
            (http("200 OK", "hello"), "/status does not answer with an installer's status: expected value"),
            (http("200 OK", &" ".repeat(LONGEST + 1)), "length limit exceeded"),
            ("SSH-2.0\r\n\r\n".to_owned(), "invalid HTTP version"),
        ] {
            let e = asked(answer).await.unwrap_err();
            assert!(e.contains(expected), "{e}");
        }
    }

    #[tokio::test]
    async fn a_refused_connection_is_reported() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let e = status(address).await.unwrap_err();
        assert!(e.contains("Connection refused"), "{e}");
    }
}
