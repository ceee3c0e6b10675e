//! gRPC on containerd's socket (grpc's `PROTOCOL-HTTP2.md`): one connection, calls with one answer or a stream of them.
//!
//! Every answer is bounded, in bytes and in the time that it may take.

use std::future::{Future, poll_fn};
use std::io;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use h2::client::SendRequest;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use tokio::net::UnixStream;
use tokio::task::JoinHandle;

use super::wire::{Malformed, Message};

/// A connection is made, a call answered, and a stream goes on within this.
const PATIENCE: Duration = Duration::from_secs(20);
/// As large as containerd makes a message (its `defaults.DefaultMaxSendMsgSize`).
const LARGEST_MESSAGE: usize = 16 << 20;
/// Before a message: whether it is compressed, and its length.
const PREFIX: usize = 5;
/// So much is on its way at a time: a blob comes in pieces of this size.
const WINDOW: u32 = 1 << 20;
/// A status comes with a text, of which so much is shown.
const LARGEST_HEADERS: u32 = 64 << 10;
const LONGEST_TEXT: usize = 2048;

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    #[error("connecting to {address}: {source}")]
    Connect { address: String, source: io::Error },
    #[error("{method}: {source}")]
    Connection { method: &'static str, source: h2::Error },
    #[error("{method}: nothing came within {PATIENCE:?}")]
    Late { method: &'static str },
    /// containerd's own words.
    #[error("{method}: {message} (status {code})")]
    Status { method: &'static str, code: u32, message: String },
    #[error("{method}: {what}")]
    Answer { method: &'static str, what: String },
}

impl CallError {
    const NOT_FOUND: u32 = 5;

    /// Whether containerd has no such thing.
    pub(super) fn is_not_found(&self) -> bool {
        matches!(self, CallError::Status { code: Self::NOT_FOUND, .. })
    }
}

fn wrong(method: &'static str, what: impl Into<String>) -> CallError {
    CallError::Answer { method, what: what.into() }
}

pub(super) trait Method<T> {
    /// Names the call whose answer is malformed.
    fn of(self, method: &'static str) -> Result<T, CallError>;
}

impl<T> Method<T> for Result<T, Malformed> {
    fn of(self, method: &'static str) -> Result<T, CallError> {
        self.map_err(|e| wrong(method, e.to_string()))
    }
}

impl<T> Method<T> for Result<T, h2::Error> {
    fn of(self, method: &'static str) -> Result<T, CallError> {
        self.map_err(|source| CallError::Connection { method, source })
    }
}

async fn in_time<T>(method: &'static str, call: impl Future<Output = Result<T, CallError>>) -> Result<T, CallError> {
    tokio::time::timeout(PATIENCE, call).await.unwrap_or(Err(CallError::Late { method }))
}

/// A connection to containerd, for calls in one of its namespaces.
pub(super) struct Connection {
    client: SendRequest<Bytes>,
    namespace: HeaderValue,
    /// Moves the bytes of all calls.
    driver: JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Connection {
    pub(super) async fn open(address: &str, namespace: &str) -> Result<Self, CallError> {
        const HANDSHAKE: &str = "HTTP/2 handshake";
        let namespace = HeaderValue::from_str(namespace).map_err(|_| wrong(HANDSHAKE, "no name of a namespace"))?;
        let failed = |source| CallError::Connect { address: address.to_owned(), source };
        let path = address.strip_prefix("unix://").unwrap_or(address);
        let stream = UnixStream::connect(path).await.map_err(failed)?;
        let mut settings = h2::client::Builder::new();
        settings
            .initial_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .max_header_list_size(LARGEST_HEADERS)
            .enable_push(false);
        let shaken = in_time(HANDSHAKE, async { settings.handshake(stream).await.of(HANDSHAKE) });
        let (client, connection) = shaken.await?;
        // What ends the connection ends each call with the same error.
        let driver = tokio::spawn(async move { drop(connection.await) });
        Ok(Self { client, namespace, driver })
    }

    /// A call with one answer.
    pub(super) async fn call(&self, method: &'static str, message: &Message) -> Result<Bytes, CallError> {
        let mut answers = self.stream(method, message).await?;
        let answer = answers.next().await?.ok_or_else(|| wrong(method, "the answer has no message"))?;
        match answers.next().await? {
            None => Ok(answer),
            Some(_) => Err(wrong(method, "the answer has several messages")),
        }
    }

    /// A call with any number of answers.
    pub(super) async fn stream(&self, method: &'static str, message: &Message) -> Result<Answers, CallError> {
        in_time(method, async {
            let request = Request::post(format!("http://localhost/{method}"))
                .header("content-type", "application/grpc")
                .header("te", "trailers")
                .header("containerd-namespace", self.namespace.clone())
                .body(())
                .map_err(|e| wrong(method, e.to_string()))?;
            let mut client = self.client.clone().ready().await.of(method)?;
            let (response, upload) = client.send_request(request, false).of(method)?;
            send(upload, framed(message)).await.of(method)?;
            let (head, body) = response.await.of(method)?.into_parts();
            if head.status != StatusCode::OK {
                return Err(wrong(method, format!("HTTP status {}", head.status)));
            }
            Ok(Answers { method, head: head.headers, body, buffer: BytesMut::new() })
        })
        .await
    }
}

/// Not compressed, the length, the message.
fn framed(message: &Message) -> Bytes {
    let message = message.as_ref();
    let mut frame = Vec::with_capacity(PREFIX + message.len());
    frame.push(0);
    // What is asked here is a few names.
    frame.extend_from_slice(&(message.len() as u32).to_be_bytes());
    frame.extend_from_slice(message);
    frame.into()
}

async fn send(mut upload: SendStream<Bytes>, mut frame: Bytes) -> Result<(), h2::Error> {
    upload.reserve_capacity(frame.len());
    while !frame.is_empty() {
        // None: the stream was closed. Why is in the response.
        let Some(room) = poll_fn(|context| upload.poll_capacity(context)).await else { return Ok(()) };
        let part = frame.split_to(room?.min(frame.len()));
        upload.send_data(part, frame.is_empty())?;
    }
    Ok(())
}

/// The answers of one call. Dropped before their end, the call is cancelled.
pub(super) struct Answers {
    method: &'static str,
    head: HeaderMap,
    body: RecvStream,
    buffer: BytesMut,
}

impl Answers {
    /// The next answer; none at the end of a call that succeeded.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, CallError> {
        in_time(self.method, async {
            loop {
                if let Some(message) = take(&mut self.buffer).map_err(|what| wrong(self.method, what))? {
                    return Ok(Some(message));
                }
                let Some(chunk) = self.body.data().await else { break };
                let chunk = chunk.of(self.method)?;
                self.body.flow_control().release_capacity(chunk.len()).of(self.method)?;
                self.buffer.extend_from_slice(&chunk);
            }
            // A call that was refused at once has its status in the first headers.
            let trailers = self.body.trailers().await.of(self.method)?;
            check(self.method, trailers.as_ref().unwrap_or(&self.head))?;
            if self.buffer.is_empty() { Ok(None) } else { Err(wrong(self.method, "a message was cut")) }
        })
        .await
    }
}

/// Takes a whole message off the buffer.
fn take(buffer: &mut BytesMut) -> Result<Option<Bytes>, &'static str> {
    let Some([compressed, length @ ..]) = buffer.first_chunk::<PREFIX>() else { return Ok(None) };
    if *compressed != 0 {
        return Err("a message is compressed, which nobody asked for");
    }
    let length = u32::from_be_bytes(*length) as usize;
    if length > LARGEST_MESSAGE {
        return Err("a message is larger than containerd makes them");
    }
    if buffer.len() < PREFIX + length {
        return Ok(None);
    }
    buffer.advance(PREFIX);
    Ok(Some(buffer.split_to(length).freeze()))
}

/// An error unless the call succeeded.
fn check(method: &'static str, headers: &HeaderMap) -> Result<(), CallError> {
    let code = headers.get("grpc-status").and_then(|code| code.to_str().ok()?.parse().ok());
    match code {
        Some(0) => Ok(()),
        Some(code) => {
            let text = headers.get("grpc-message").map(HeaderValue::as_bytes).unwrap_or_default();
            let message = percent_decoded(text.get(..LONGEST_TEXT).unwrap_or(text));
            Err(CallError::Status { method, code, message })
        }
        None => Err(wrong(method, "the answer has no status")),
    }
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
mod tests {
    use super::*;

    #[test]
    fn messages_come_in_any_pieces() {
        let whole = [framed(&Message::default().with(1, "abc")), framed(&Message::default())].concat();
        let mut buffer = BytesMut::new();
        let mut found = Vec::new();
        for byte in &whole {
            buffer.extend_from_slice(&[*byte]);
            found.extend(take(&mut buffer).unwrap());
        }
        assert_eq!(found, [Bytes::from_static(b"\x0a\x03abc"), Bytes::new()]);
        assert!(buffer.is_empty());
    }

    #[test]
    fn a_message_that_is_too_large_or_compressed_is_not_waited_for() {
        assert!(take(&mut BytesMut::from(&[0, 0xff, 0xff, 0xff, 0xff][..])).is_err());
        assert!(take(&mut BytesMut::from(&[1, 0, 0, 0, 0][..])).is_err());
    }

    #[test]
    fn a_status_is_read() {
        let headers = |pairs: &[(&'static str, &'static str)]| {
            pairs.iter().map(|(k, v)| ((*k).try_into().unwrap(), HeaderValue::from_static(v))).collect::<HeaderMap>()
        };
        assert!(check("m", &headers(&[("grpc-status", "0")])).is_ok());
        let refused = check("m", &headers(&[("grpc-status", "5"), ("grpc-message", "100%25 of %C3%A9 %zz %4")]));
        let refused = refused.unwrap_err();
        assert!(refused.is_not_found());
        assert_eq!(refused.to_string(), "m: 100% of é %zz %4 (status 5)");
        assert!(check("m", &headers(&[])).is_err());
        assert!(!check("m", &headers(&[("grpc-status", "x")])).unwrap_err().is_not_found());
    }
}
