//! Sessions of `kubectl attach` and `kubectl exec`: streams in the messages of one websocket, whose first byte names the stream
//! (Kubernetes' remotecommand, `v4.channel.k8s.io`).

use std::io::ErrorKind;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::Value;
use tungstenite::client::IntoClientRequest;
use tungstenite::http::HeaderValue;
use tungstenite::{Error, Message as Frame, WebSocket};

use super::Running;
use crate::api::cri::streams::{AttachRequest, AttachResponse, ExecRequest, ExecResponse};
use crate::deadline::PATIENCE;
use crate::grpc::Status;

const PROTOCOL: &str = "v4.channel.k8s.io";
const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const STATUS: u8 = 3;
const SIZE: u8 = 4;

/// One client's streams to a process of a container. They close when it is dropped.
pub struct Session {
    socket: WebSocket<TcpStream>,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    /// How it ended, in the words of Kubernetes' `Status`.
    status: Option<Value>,
}

impl Running<'_> {
    /// Attaches to its process, with the streams that it was created with.
    ///
    /// # Errors
    /// The CRI's refusal.
    pub fn attach(&self, tty: bool) -> Result<Session, Status> {
        // A terminal has no stderr.
        let container_id = self.id.clone();
        let request = AttachRequest { container_id, stdin: true, tty, stdout: true, stderr: !tty };
        let answer: AttachResponse = self.ask("Attach", &request)?;
        Ok(Session::open(&answer.url))
    }

    /// Executes a program in it, with all of its streams, with or without a terminal.
    ///
    /// # Errors
    /// The CRI's refusal.
    pub fn exec<'w>(&self, words: impl IntoIterator<Item = &'w str>, tty: bool) -> Result<Session, Status> {
        let (container_id, cmd) = (self.id.clone(), words.into_iter().map(str::to_owned).collect());
        let request = ExecRequest { container_id, cmd, tty, stdin: true, stdout: true, stderr: !tty };
        let answer: ExecResponse = self.ask("Exec", &request)?;
        Ok(Session::open(&answer.url))
    }
}

impl Session {
    /// Opens the session at the address in the CRI's answer.
    fn open(url: &str) -> Self {
        let authority = url.strip_prefix("http://").and_then(|rest| rest.split('/').next()).expect("an address");
        let stream = TcpStream::connect(authority).expect("cannot connect to the CRI's streams");
        let mut request = url.replacen("http", "ws", 1).into_client_request().expect("an address");
        request.headers_mut().insert("Sec-WebSocket-Protocol", HeaderValue::from_static(PROTOCOL));
        let (socket, _) = tungstenite::client(request, stream).expect("the CRI's streams are no websocket");
        Self { socket, stdout: Vec::new(), stderr: Vec::new(), status: None }
    }

    fn send(&mut self, channel: u8, bytes: &[u8]) {
        let frame = [&[channel], bytes].concat();
        self.socket.send(Frame::binary(frame)).expect("cannot write to the session");
    }

    /// Types on its stdin.
    ///
    /// # Panics
    /// When the session has ended.
    pub fn write(&mut self, text: &str) {
        self.send(STDIN, text.as_bytes());
    }

    /// Changes the size of the terminal's window.
    ///
    /// # Panics
    /// When the session has ended.
    pub fn resize(&mut self, width: u16, height: u16) {
        self.send(SIZE, serde_json::json!({"Width": width, "Height": height}).to_string().as_bytes());
    }

    /// Returns stdout and stderr so far.
    pub fn heard(&self) -> (String, String) {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (text(&self.stdout), text(&self.stderr))
    }

    /// Takes one message, if one comes before `until`; returns false if the session has ended.
    fn take(&mut self, until: Instant) -> bool {
        let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        self.socket.get_ref().set_read_timeout(Some(left)).expect("cannot set a limit");
        match self.socket.read() {
            Ok(Frame::Binary(frame)) => {
                match frame.split_first() {
                    Some((&STDOUT, bytes)) => self.stdout.extend_from_slice(bytes),
                    Some((&STDERR, bytes)) => self.stderr.extend_from_slice(bytes),
                    Some((&STATUS, bytes)) if !bytes.is_empty() => {
                        self.status = Some(serde_json::from_slice(bytes).expect("the status is no JSON"));
                    }
                    _ => {}
                }
                true
            }
            Ok(Frame::Close(_)) | Err(Error::ConnectionClosed | Error::AlreadyClosed | Error::Protocol(_)) => false,
            Ok(_) => true,
            Err(Error::Io(e)) if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&e.kind()) => true,
            Err(Error::Io(e)) if e.kind() == ErrorKind::ConnectionReset => false,
            Err(e) => panic!("reading a session: {e}"),
        }
    }

    /// Waits until stdout holds this text.
    ///
    /// # Panics
    /// When it does not within 30 s.
    pub fn expect(&mut self, text: &str) {
        let until = Instant::now() + PATIENCE;
        while !self.heard().0.contains(text) {
            let more = Instant::now() < until && self.take(until);
            assert!(more, "no {text:?} in {:?}, status {:?}", self.heard(), self.status);
        }
    }

    /// Waits for the session's end, and returns the exit code if there is one.
    ///
    /// # Panics
    /// When it does not end within 30 s.
    pub fn end(&mut self) -> Option<i32> {
        let until = Instant::now() + PATIENCE;
        while self.take(until) {
            assert!(Instant::now() < until, "the session does not end: {:?}", self.heard());
        }
        let status = self.status.as_ref()?;
        if status["status"] == "Success" {
            return Some(0);
        }
        let causes = status["details"]["causes"].as_array()?;
        let code = causes.iter().find(|cause| cause["reason"] == "ExitCode")?;
        code["message"].as_str()?.parse().ok()
    }
}
