//! Connections beyond those that there may be: each is told so, and closed when its client has heard it.

use std::sync::Arc;
use std::time::Duration;

use rustix::net::{Shutdown, shutdown};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::tasks;

pub(crate) const TOO_MANY: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n";
/// As many are waited for at once: each has a descriptor. Further ones are closed at once.
pub(crate) const MOST: usize = 32;
/// A client that has not closed its side by then does not read.
const LONGEST: Duration = Duration::from_secs(1);
/// A request's head, and the begin of its body.
const READ_MOST: usize = 64 << 10;

/// Tells them.
#[derive(Clone)]
pub(crate) struct Refusal(Arc<Semaphore>);

impl Refusal {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(MOST)))
    }

    /// Answers with 503. A request that lies unread in a socket that is closed would reset the connection, and the answer with it.
    pub(crate) fn tell(&self, stream: TcpStream) {
        // What fits into an empty buffer.
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
