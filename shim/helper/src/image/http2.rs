//! HTTP/2 on a socket (RFC 9113), as far as it takes to ask one question after the other.
//!
//! There are crates for all of it. One of them cost each idle shim 73 kB of private memory for code that it never runs, since a
//! static program writes every address in its tables when it starts; this costs little, and blocks, as its caller may.

use std::io::{self, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::net::sockopt::Timeout;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::hpack::{self, Field};

/// The peer takes what is written, and goes on with an answer, within this.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// No frame is larger, of either side, unless one says that it may be, which we do not.
const LARGEST_FRAME: usize = 16 << 10;
/// A response's fields, as they are sent.
const LARGEST_HEADERS: usize = 64 << 10;
/// All that the peer may send on one connection: nothing holds it up but the socket. More is never asked for.
const WINDOW: u32 = (1 << 31) - 1;
/// What each side may send on a connection before it is told more (section 6.9.2).
const FIRST_WINDOW: u32 = 65_535;
/// A question is a few names.
const LARGEST_QUESTION: usize = 8 << 10;

mod kind {
    pub(super) const DATA: u8 = 0;
    pub(super) const HEADERS: u8 = 1;
    pub(super) const RST_STREAM: u8 = 3;
    pub(super) const SETTINGS: u8 = 4;
    pub(super) const PUSH_PROMISE: u8 = 5;
    pub(super) const PING: u8 = 6;
    pub(super) const GOAWAY: u8 = 7;
    pub(super) const WINDOW_UPDATE: u8 = 8;
    pub(super) const CONTINUATION: u8 = 9;
}

const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const PRIORITY: u8 = 0x20;
/// The code of a stream that nobody listens to any more.
const CANCEL: u32 = 8;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Http2Error {
    #[error("{0}")]
    Socket(#[from] io::Error),
    #[error("nothing came within {PATIENCE:?}")]
    Late,
    #[error("the connection was closed")]
    Closed,
    #[error("the peer ended the call (HTTP/2 error {0})")]
    Reset(u32),
    /// The peer does not speak HTTP/2 as it was asked to.
    #[error("{0}")]
    Protocol(&'static str),
}

/// A part of an answer.
#[derive(Debug)]
pub(super) enum Part {
    Headers(Vec<Field>),
    Data(Vec<u8>),
}

/// A frame as it comes.
struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

/// A connection, on which one question is asked at a time.
pub(super) struct Http2 {
    socket: BufReader<UnixStream>,
    /// The next question's stream: odd, and never twice.
    next: u32,
    /// What may still be sent as questions' bodies.
    room: usize,
}

impl Http2 {
    /// Connects to the socket at `path`.
    pub(super) fn connect(path: &str) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        // Before it is connected: a listener whose queue is full would hold us up without end.
        for timeout in [Timeout::Send, Timeout::Recv] {
            rustix::net::sockopt::set_socket_timeout(&socket, timeout, Some(PATIENCE))?;
        }
        rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
        Self::over(socket.into())
    }

    /// Speaks on a socket that is connected.
    pub(super) fn over(socket: UnixStream) -> io::Result<Self> {
        let mut settings = Vec::new();
        // No table, no pushed answers, as much of an answer as there is.
        for (setting, value) in [(1u16, hpack::TABLE_SIZE), (2, 0), (4, WINDOW), (6, LARGEST_HEADERS as u32)] {
            settings.extend_from_slice(&setting.to_be_bytes());
            settings.extend_from_slice(&value.to_be_bytes());
        }
        let mut hello = PREFACE.to_vec();
        hello.extend(frame(kind::SETTINGS, 0, 0, &settings));
        hello.extend(frame(kind::WINDOW_UPDATE, 0, 0, &(WINDOW - FIRST_WINDOW).to_be_bytes()));
        let mut http =
            Self { socket: BufReader::with_capacity(4 * LARGEST_FRAME, socket), next: 1, room: FIRST_WINDOW as usize };
        http.write(&hello)?;
        Ok(http)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.socket.get_mut().write_all(bytes)
    }

    /// Asks, and answers the stream on which the answer comes.
    pub(super) fn ask(&mut self, fields: &[(&str, &str)], body: &[u8]) -> Result<u32, Http2Error> {
        let block = hpack::encode(fields);
        if block.len() > LARGEST_QUESTION || body.len() > LARGEST_QUESTION.min(self.room) {
            return Err(Http2Error::Protocol("the question is too large"));
        }
        let stream = self.next;
        self.next += 2;
        self.room -= body.len();
        let mut question = frame(kind::HEADERS, END_HEADERS, stream, &block);
        question.extend(frame(kind::DATA, END_STREAM, stream, body));
        self.write(&question)?;
        Ok(stream)
    }

    /// The next part of an answer, and whether it is the last.
    pub(super) fn next(&mut self, stream: u32) -> Result<(Part, bool), Http2Error> {
        loop {
            let frame = self.frame()?;
            let end = frame.flags & END_STREAM != 0;
            let own = frame.stream == stream;
            match frame.kind {
                kind::DATA if own => return Ok((Part::Data(unpadded(&frame, 0)?.to_vec()), end)),
                kind::HEADERS => {
                    // Of any stream: one that was given up may still be answered.
                    let block = self.whole(&frame)?;
                    let fields = hpack::decode(&block).map_err(|_| Http2Error::Protocol("a malformed header block"))?;
                    if own {
                        return Ok((Part::Headers(fields), end));
                    }
                }
                kind::RST_STREAM if own => return Err(Http2Error::Reset(word(&frame.payload)?)),
                kind::GOAWAY if word(&frame.payload)? < stream => return Err(Http2Error::Closed),
                kind::SETTINGS if frame.flags & ACK == 0 => self.settings(&frame.payload)?,
                kind::PING if frame.flags & ACK == 0 => {
                    self.write(&self::frame(kind::PING, ACK, 0, &frame.payload))?;
                }
                kind::PUSH_PROMISE | kind::CONTINUATION => return Err(Http2Error::Protocol("an unexpected frame")),
                // Windows, priorities, and what later versions add.
                _ => {}
            }
        }
    }

    /// Gives an answer up that is not at its end. What of it is on its way is passed over later.
    pub(super) fn cancel(&mut self, stream: u32) {
        // A connection that is broken is so for the next question too, which tells it.
        let _ = self.write(&frame(kind::RST_STREAM, 0, stream, &CANCEL.to_be_bytes()));
    }

    fn settings(&mut self, payload: &[u8]) -> Result<(), Http2Error> {
        const FIRST_WINDOW_SIZE: u16 = 4;
        for setting in payload.chunks(6) {
            let [high, low, value @ ..] = setting else { return Err(Http2Error::Protocol("a setting was cut")) };
            let small = word(value)? < LARGEST_QUESTION as u32;
            if u16::from_be_bytes([*high, *low]) == FIRST_WINDOW_SIZE && small {
                return Err(Http2Error::Protocol("the peer takes no question in one piece"));
            }
        }
        Ok(self.write(&frame(kind::SETTINGS, ACK, 0, &[]))?)
    }

    /// A header block that may go on in further frames.
    fn whole(&mut self, first: &Frame) -> Result<Vec<u8>, Http2Error> {
        let priority = if first.flags & PRIORITY != 0 { 5 } else { 0 };
        let mut block = unpadded(first, priority)?.to_vec();
        let mut end = first.flags & END_HEADERS != 0;
        while !end {
            let next = self.frame()?;
            if next.kind != kind::CONTINUATION || next.stream != first.stream {
                return Err(Http2Error::Protocol("an unfinished header block"));
            }
            block.extend_from_slice(&next.payload);
            if block.len() > LARGEST_HEADERS {
                return Err(Http2Error::Protocol("a header block that is too large"));
            }
            end = next.flags & END_HEADERS != 0;
        }
        Ok(block)
    }

    fn frame(&mut self) -> Result<Frame, Http2Error> {
        let mut head = [0; 9];
        self.read(&mut head)?;
        let [l0, l1, l2, kind, flags, s0, s1, s2, s3] = head;
        let length = u32::from_be_bytes([0, l0, l1, l2]) as usize;
        if length > LARGEST_FRAME {
            return Err(Http2Error::Protocol("a frame that is larger than they may be"));
        }
        let mut payload = vec![0; length];
        self.read(&mut payload)?;
        Ok(Frame { kind, flags, stream: u32::from_be_bytes([s0 & 0x7f, s1, s2, s3]), payload })
    }

    fn read(&mut self, bytes: &mut [u8]) -> Result<(), Http2Error> {
        self.socket.read_exact(bytes).map_err(|e| match e.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Http2Error::Late,
            io::ErrorKind::UnexpectedEof => Http2Error::Closed,
            _ => Http2Error::Socket(e),
        })
    }
}

/// A frame as it is sent. None is larger than [`LARGEST_FRAME`].
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend_from_slice(&[kind, flags]);
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// The first four bytes, without the bit that is reserved.
fn word(payload: &[u8]) -> Result<u32, Http2Error> {
    let word = payload.first_chunk::<4>().ok_or(Http2Error::Protocol("a frame that is too short"))?;
    Ok(u32::from_be_bytes(*word) & (u32::MAX >> 1))
}

/// A frame's payload without its padding, and without the `skipped` bytes in front of it.
fn unpadded(frame: &Frame, skipped: usize) -> Result<&[u8], Http2Error> {
    let (padding, rest) = match (frame.flags & PADDED != 0, frame.payload.as_slice()) {
        (true, [padding, rest @ ..]) => (usize::from(*padding), rest),
        (true, []) => return Err(Http2Error::Protocol("a frame that is too short")),
        (false, rest) => (0, rest),
    };
    let end = rest.len().checked_sub(padding);
    end.and_then(|end| rest.get(skipped..end)).ok_or(Http2Error::Protocol("a frame that is all padding"))
}

#[cfg(test)]
mod tests;
