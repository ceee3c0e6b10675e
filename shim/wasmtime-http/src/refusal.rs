//! Refuses connections beyond the limit: tells each client so, and closes the connection when its client has heard it.

use std::sync::Arc;
use std::time::Duration;

use rustix::net::{Shutdown, shutdown};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::tasks;

pub(crate) const TOO_MANY: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n";
/// The most refused clients to wait for, because each has a descriptor. Further connections are closed at once.
pub(crate) const MOST: usize = 32;
/// How long to wait for a client to close its side: a client that has not by then does not read.
const LONGEST: Duration = Duration::from_secs(1);
/// The most bytes to read: a request's head, and the beginning of its body.
const READ_MOST: usize = 64 << 10;

/// Tells the clients.
#[derive(Clone)]
pub(crate) struct Refusal(Arc<Semaphore>);

impl Refusal {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(MOST)))
    }

    /// Answers with 503, and reads the request: closing a socket with a request unread would reset the connection, and lose the answer.
    pub(crate) fn tell(&self, stream: TcpStream) {
        // The answer fits into an empty buffer.
        let told = stream.try_write(TOO_MANY).is_ok() && shutdown(&stream, Shutdown::Write).is_ok();
        if let (true, Ok(permit)) = (told, Arc::clone(&self.0).try_acquire_owned()) {
            tasks::spawn(async move {
                let _ = tokio::time::timeout(LONGEST, read(stream)).await;
                drop(permit);
            });
        }
    }
}

async fn read(stream: TcpStream) {
    let (mut bytes, mut left) = ([0; 4096], READ_MOST);
    while left > 0 && stream.readable().await.is_ok() {
        match stream.try_read(&mut bytes) {
            Ok(0) => return,
            Ok(n) => left = left.saturating_sub(n),
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}
