//! One call to containerd: a connection, a request, its answer or its status.
//!
//! `ctr` cannot create a task without starting it, nor show the code of an error; tests of the lifecycle need both.

use std::fmt;
use std::future::poll_fn;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderMap, Request};
use prost::Message;
use tokio::net::UnixStream;

use crate::deadline::stretched;

/// The code of a refused call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "gRPC's own words")]
pub enum Code {
    Cancelled = 1,
    Unknown = 2,
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    NotFound = 5,
    AlreadyExists = 6,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    FailedPrecondition = 9,
    Aborted = 10,
    OutOfRange = 11,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    DataLoss = 15,
    Unauthenticated = 16,
}

impl Code {
    const ALL: [Self; 16] = [
        Self::Cancelled,
        Self::Unknown,
        Self::InvalidArgument,
        Self::DeadlineExceeded,
        Self::NotFound,
        Self::AlreadyExists,
        Self::PermissionDenied,
        Self::ResourceExhausted,
        Self::FailedPrecondition,
        Self::Aborted,
        Self::OutOfRange,
        Self::Unimplemented,
        Self::Internal,
        Self::Unavailable,
        Self::DataLoss,
        Self::Unauthenticated,
    ];
}

/// The refusal of a call by containerd, or by the shim behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The code.
    pub code: Code,
    /// The text.
    pub message: String,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.code, self.message)
    }
}

impl std::error::Error for Status {}

/// The socket to call, and the containerd namespace.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    pub(crate) socket: PathBuf,
    pub(crate) namespace: String,
}

impl Address {
    /// Calls `method` (`package.Service/Method`). A failed connection is `Unavailable`, an exceeded limit `DeadlineExceeded`.
    ///
    /// # Panics
    /// When the answer is not the message that the caller names.
    pub(crate) fn call<A>(&self, method: &str, request: &impl Message, limit: Duration) -> Result<A, Status>
    where
        A: Message + Default,
    {
        let answer = self.exchange(method, request.encode_to_vec(), limit)?;
        Ok(A::decode(&*answer).unwrap_or_else(|error| panic!("the answer of {method} is another message: {error}")))
    }

    fn exchange(&self, method: &str, body: Vec<u8>, limit: Duration) -> Result<Vec<u8>, Status> {
        let limit = stretched(limit);
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().expect("cannot make an event loop");
        runtime.block_on(async {
            match tokio::time::timeout(limit, exchange(&self.socket, &self.namespace, method, body)).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(error)) => Err(Status { code: Code::Unavailable, message: format!("{method}: {error}") }),
                Err(_) => Err(Status {
                    code: Code::DeadlineExceeded,
                    message: format!("{method}: no answer within {} s", limit.as_secs_f32()),
                }),
            }
        })
    }
}

type Failure = Box<dyn std::error::Error>;

async fn exchange(
    socket: &Path,
    namespace: &str,
    method: &str,
    body: Vec<u8>,
) -> Result<Result<Vec<u8>, Status>, Failure> {
    let stream = UnixStream::connect(socket).await?;
    let (client, connection) = h2::client::handshake(stream).await?;
    let driver = tokio::spawn(connection);
    let answer = request(client, namespace, method, body).await;
    driver.abort();
    answer
}

async fn request(
    client: SendRequest<Bytes>,
    namespace: &str,
    method: &str,
    body: Vec<u8>,
) -> Result<Result<Vec<u8>, Status>, Failure> {
    let request = Request::post(format!("http://localhost/{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("containerd-namespace", namespace)
        .body(())?;
    let mut client = client.ready().await?;
    let (response, mut upload) = client.send_request(request, false)?;
    send(&mut upload, framed(&body)?).await?;

    let (head, mut download) = response.await?.into_parts();
    let mut data = Vec::new();
    while let Some(chunk) = download.data().await {
        let chunk = chunk?;
        download.flow_control().release_capacity(chunk.len())?;
        data.extend_from_slice(&chunk);
    }
    // The status of a call that is refused at once is in the first headers.
    let trailers = download.trailers().await?.unwrap_or(head.headers);
    match status(&trailers)? {
        Some(refused) => Ok(Err(refused)),
        None => Ok(Ok(first_message(&data).ok_or("an answer without a message")?.to_vec())),
    }
}

/// Returns the first message of an answer, because a stream has several.
fn first_message(data: &[u8]) -> Option<&[u8]> {
    let ([_, length @ ..], rest) = data.split_first_chunk::<5>()?;
    rest.get(..usize::try_from(u32::from_be_bytes(*length)).ok()?)
}

/// gRPC's frame: not compressed, the length, the message.
fn framed(body: &[u8]) -> Result<Bytes, Failure> {
    let mut frame = vec![0];
    frame.extend_from_slice(&u32::try_from(body.len())?.to_be_bytes());
    frame.extend_from_slice(body);
    Ok(frame.into())
}

async fn send(upload: &mut h2::SendStream<Bytes>, mut frame: Bytes) -> Result<(), Failure> {
    upload.reserve_capacity(frame.len());
    while !frame.is_empty() {
        let room = poll_fn(|context| upload.poll_capacity(context)).await.ok_or("the stream was closed")??;
        let part = frame.split_to(room.min(frame.len()));
        upload.send_data(part, frame.is_empty())?;
    }
    Ok(())
}

fn status(headers: &HeaderMap) -> Result<Option<Status>, Failure> {
    let code: usize = headers.get("grpc-status").ok_or("an answer without a status")?.to_str()?.parse()?;
    let Some(index) = code.checked_sub(1) else { return Ok(None) };
    let code = Code::ALL.get(index).copied().unwrap_or(Code::Unknown);
    let message = headers.get("grpc-message").map(|text| percent_decoded(text.as_bytes())).unwrap_or_default();
    Ok(Some(Status { code, message }))
}

fn percent_decoded(text: &[u8]) -> String {
    let mut bytes = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let hex = text.get(at + 1..at + 3).and_then(|hex| u8::from_str_radix(str::from_utf8(hex).ok()?, 16).ok());
        match hex {
            Some(byte) if text[at] == b'%' => {
                bytes.push(byte);
                at += 3;
            }
            _ => {
                bytes.push(text[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::percent_decoded;

    #[test]
    fn messages_are_percent_encoded() {
        assert_eq!(percent_decoded(b"100%25 of \"%C3%A9\" %zz %4"), "100% of \"é\" %zz %4");
    }
}
