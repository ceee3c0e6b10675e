//! A gRPC client for containerd's socket (grpc's `PROTOCOL-HTTP2.md`), on the h2 crate: one connection, calls with one answer or many.
//!
//! The size of each message, and the silence while waiting for one, are bounded.

use std::io::{self, ErrorKind};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use h2::client::{Builder, SendRequest};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use prost::Message;
use tokio::runtime::Runtime;

use super::socket;

/// The longest wait for the peer: for it to accept a request, and for the next part of an answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// The largest message that containerd makes (its `defaults.DefaultMaxSendMsgSize`).
const LARGEST_MESSAGE: usize = 16 << 20;
/// The largest request, which holds a few names.
const LARGEST_QUESTION: usize = 8 << 10;
/// The most bytes of a response's header fields.
const LARGEST_HEADERS: u32 = 64 << 10;
/// HTTP/2's flow control window, at its largest: only the socket's buffer slows the peer down.
const WINDOW: u32 = (1 << 31) - 1;
/// The bytes before a message: a flag for compression, and its length.
const PREFIX: usize = 5;
/// The most bytes of a refusal's text that are shown.
const LONGEST_TEXT: usize = 2048;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    #[error("connecting to {address}: {source}")]
    Connect { address: String, source: io::Error },
    #[error("{method}: {source}")]
    Connection { method: &'static str, source: Http2Error },
    /// containerd refused the call, with this text.
    #[error("{method}: {message} (status {code})")]
    Status { method: &'static str, code: u32, message: String },
    #[error("{method}: {what}")]
    Answer { method: &'static str, what: String },
}

impl CallError {
    const NOT_FOUND: u32 = 5;

    /// Whether containerd has no object of that name.
    pub(super) fn is_not_found(&self) -> bool {
        matches!(self, CallError::Status { code: Self::NOT_FOUND, .. })
    }
}

pub(super) fn wrong(method: &'static str, what: impl Into<String>) -> CallError {
    CallError::Answer { method, what: what.into() }
}

/// Why the connection delivers no answer, or no more of it.
#[derive(Debug, thiserror::Error)]
pub(super) enum Http2Error {
    #[error("{0}")]
    Socket(h2::Error),
    #[error("no answer within {PATIENCE:?}")]
    Late,
    #[error("the connection was closed")]
    Closed,
    #[error("the peer ended the call (HTTP/2 error {0})")]
    Reset(u32),
    #[error("the peer breaks the HTTP/2 protocol: {0}")]
    Protocol(h2::Error),
}

impl From<h2::Error> for Http2Error {
    fn from(e: h2::Error) -> Self {
        use ErrorKind::{BrokenPipe, ConnectionReset, Other, UnexpectedEof};
        match (e.get_io().map(io::Error::kind), e.reason()) {
            // h2 reports a connection that ends within a frame as `Other`.
            (Some(BrokenPipe | ConnectionReset | Other | UnexpectedEof), _) => Self::Closed,
            (Some(_), _) => Self::Socket(e),
            (None, Some(reason)) if e.is_reset() && e.is_remote() => Self::Reset(reason.into()),
            (None, Some(_)) if e.is_remote() => Self::Closed,
            (None, _) => Self::Protocol(e),
        }
    }
}

trait Method<T> {
    /// Names the call in the error.
    fn in_call(self, method: &'static str) -> Result<T, CallError>;
}

impl<T> Method<T> for Result<T, Http2Error> {
    fn in_call(self, method: &'static str) -> Result<T, CallError> {
        self.map_err(|source| CallError::Connection { method, source })
    }
}

/// Waits for the peer for at most [`PATIENCE`].
async fn patient<T>(coming: impl Future<Output = Result<T, h2::Error>>) -> Result<T, Http2Error> {
    match tokio::time::timeout(PATIENCE, coming).await {
        Ok(came) => Ok(came?),
        Err(_) => Err(Http2Error::Late),
    }
}

/// A connection for calls in one of containerd's namespaces.
pub(super) struct Connection {
    runtime: Runtime,
    requests: SendRequest<Bytes>,
    namespace: String,
}

impl Connection {
    pub(super) fn open(address: &str, namespace: &str) -> Result<Self, CallError> {
        let path = address.strip_prefix("unix://").unwrap_or(address);
        let opened = socket::connect(path, PATIENCE).and_then(|socket| Self::over(socket, namespace));
        opened.map_err(|source| CallError::Connect { address: address.to_owned(), source })
    }

    /// Opens the connection on a connected socket.
    fn over(socket: UnixStream, namespace: &str) -> io::Result<Self> {
        let runtime = socket::runtime()?;
        let requests = runtime.block_on(async {
            let (requests, connection) = Builder::new()
                .initial_window_size(WINDOW)
                .initial_connection_window_size(WINDOW)
                .max_header_list_size(LARGEST_HEADERS)
                .enable_push(false)
                .handshake(tokio::net::UnixStream::from_std(socket)?)
                .await
                .map_err(io::Error::other)?;
            // The connection's task runs while a call waits, and reports the connection's end to the call.
            tokio::spawn(connection);
            Ok::<_, io::Error>(requests)
        })?;
        Ok(Self { runtime, requests, namespace: namespace.to_owned() })
    }

    /// Makes a call with one answer.
    pub(super) fn call<A: Message + Default>(
        &mut self,
        method: &'static str,
        question: &impl Message,
    ) -> Result<A, CallError> {
        let mut answer = None;
        self.stream(method, question, |message| match answer.replace(message) {
            None => Ok(()),
            Some(_) => Err(wrong(method, "the answer has several messages")),
        })?;
        answer.ok_or_else(|| wrong(method, "the answer has no message"))
    }

    /// Makes a call with any number of answers, and passes each to `each`, whose error ends the call.
    pub(super) fn stream<A: Message + Default, E: From<CallError>>(
        &mut self,
        method: &'static str,
        question: &impl Message,
        mut each: impl FnMut(A) -> Result<(), E>,
    ) -> Result<(), E> {
        let request = request(method, &self.namespace).map_err(|e| wrong(method, e.to_string()))?;
        let framed = framed(question).map_err(|what| wrong(method, what))?;
        let requests = &mut self.requests;
        self.runtime.block_on(async {
            let response = ask(requests, request, framed).await.in_call(method)?;
            if response.status() != StatusCode::OK {
                return Err(wrong(method, format!("HTTP status {}", response.status().as_str())).into());
            }
            let (head, mut body) = response.into_parts();
            let mut buffer = BytesMut::new();
            while let Some(data) = patient(async { body.data().await.transpose() }).await.in_call(method)? {
                // Lets the peer send as many bytes again.
                let _ = body.flow_control().release_capacity(data.len());
                buffer.extend_from_slice(&data);
                while let Some(message) = whole(&mut buffer).map_err(|what| wrong(method, what))? {
                    let message = A::decode(message)
                        .map_err(|e| wrong(method, format!("the answer is no protobuf message: {e}")))?;
                    each(message)?;
                }
            }
            // A call that is refused at once has no trailers: its status is in the head.
            let trailers = patient(body.trailers()).await.in_call(method)?.unwrap_or(head.headers);
            match grpc_status(&trailers) {
                Some((0, _)) if buffer.is_empty() => Ok(()),
                Some((0, _)) => Err(wrong(method, "the answer ends within a message").into()),
                Some((code, message)) => Err(CallError::Status { method, code, message }.into()),
                None => Err(wrong(method, "the answer has no status").into()),
            }
        })
    }
}

fn request(method: &str, namespace: &str) -> http::Result<Request<()>> {
    Request::post(format!("http://localhost/{method}"))
        .header("content-type", HeaderValue::from_static("application/grpc"))
        .header("te", HeaderValue::from_static("trailers"))
        .header("containerd-namespace", namespace)
        .body(())
}

async fn ask(
    requests: &mut SendRequest<Bytes>,
    request: Request<()>,
    question: Bytes,
) -> Result<Response<h2::RecvStream>, Http2Error> {
    patient(std::future::poll_fn(|cx| requests.poll_ready(cx))).await?;
    let (response, mut body) = requests.send_request(request, false)?;
    body.send_data(question, true)?;
    patient(response).await
}

/// Frames a message: the flag for no compression, the length, the bytes.
fn framed(message: &impl Message) -> Result<Bytes, &'static str> {
    let length = message.encoded_len();
    if length > LARGEST_QUESTION {
        return Err("the question is too large");
    }
    let mut frame = BytesMut::with_capacity(PREFIX + length);
    frame.put_u8(0);
    frame.put_u32(length as u32);
    message.encode(&mut frame).map_err(|_| "the question is too large")?;
    Ok(frame.freeze())
}

/// Takes the first message off the buffer, if it is complete.
fn whole(buffer: &mut BytesMut) -> Result<Option<Bytes>, String> {
    let Some([compressed, length @ ..]) = buffer.first_chunk::<PREFIX>() else { return Ok(None) };
    if *compressed != 0 {
        return Err("a message is compressed, although the request did not allow that".to_owned());
    }
    let length = u32::from_be_bytes(*length) as usize;
    if length > LARGEST_MESSAGE {
        return Err(format!("a message has {length} bytes, and at most {LARGEST_MESSAGE} are read"));
    }
    if buffer.len() < PREFIX + length {
        return Ok(None);
    }
    buffer.advance(PREFIX);
    Ok(Some(buffer.split_to(length).freeze()))
}

/// Returns the gRPC status and its text.
fn grpc_status(fields: &HeaderMap) -> Option<(u32, String)> {
    let code = fields.get("grpc-status")?.to_str().ok()?.parse().ok()?;
    let text = fields.get("grpc-message").map(HeaderValue::as_bytes).unwrap_or_default();
    Some((code, percent_decoded(text.get(..LONGEST_TEXT).unwrap_or(text))))
}

fn percent_decoded(text: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, tail)) = rest.split_first() {
        let hex = tail.get(..2).and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match hex {
            Some(byte) if first == b'%' => {
                bytes.push(byte);
                rest = tail.get(2..).unwrap_or_default();
            }
            _ => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests;
