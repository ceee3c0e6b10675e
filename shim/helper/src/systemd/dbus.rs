//! Implements the part of the D-Bus protocol (D-Bus specification, "Message Protocol") that systemd's private socket needs: little endian,
//! calls with few argument types, and the first texts of replies and signals.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Instant;

use catamaran_cgroup::request::{Property, Value};

const OBJECT: &str = "/org/freedesktop/systemd1";
const DESTINATION: &str = "org.freedesktop.systemd1";
const INTERFACE: &str = "org.freedesktop.systemd1.Manager";
/// The most bytes of a header or body, far more than these messages have.
const LONGEST: u32 = 1 << 20;
/// The most bytes of an answer to the greeting: one short line.
const LONGEST_LINE: usize = 256;
/// The bytes of a message's fixed part, which ends with the length of the header fields.
const FIXED: usize = 16;
// Header fields, by their codes.
const PATH: u8 = 1;
const FIELD_INTERFACE: u8 = 2;
const MEMBER: u8 = 3;
const ERROR_NAME: u8 = 4;
const REPLY_SERIAL: u8 = 5;
const FIELD_DESTINATION: u8 = 6;
const SIGNATURE: u8 = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Call,
    Return,
    Error,
    Signal,
}

/// A received message, with the header fields that are used.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) kind: Kind,
    pub(super) member: Option<String>,
    pub(super) error: Option<String>,
    pub(super) reply_to: Option<u32>,
    body: Vec<u8>,
}

/// Encoded values, each aligned to a multiple of its size.
#[derive(Default)]
pub(super) struct Body(Vec<u8>);

impl Body {
    fn align(&mut self, size: usize) {
        self.0.resize(self.0.len().next_multiple_of(size), 0);
    }

    fn word(&mut self, value: u32) -> &mut Self {
        self.align(4);
        self.0.extend(value.to_le_bytes());
        self
    }

    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        self.word(text.len() as u32);
        self.0.extend(text.as_bytes());
        self.0.push(0);
        self
    }

    pub(super) fn flag(&mut self, value: bool) -> &mut Self {
        self.word(value.into())
    }

    fn signature(&mut self, text: &str) -> &mut Self {
        self.0.push(text.len() as u8);
        self.0.extend(text.as_bytes());
        self.0.push(0);
        self
    }

    /// Adds an array, after its length in bytes. The length excludes the padding before the first element.
    fn array(&mut self, alignment: usize, fill: impl FnOnce(&mut Self)) -> &mut Self {
        self.word(0);
        let length = self.0.len() - 4;
        self.align(alignment);
        let begin = self.0.len();
        fill(self);
        let bytes = (self.0.len() - begin) as u32;
        self.0[length..length + 4].copy_from_slice(&bytes.to_le_bytes());
        self
    }

    /// Adds `a(sv)`.
    pub(super) fn properties(&mut self, properties: &[Property]) -> &mut Self {
        self.array(8, |body| {
            for Property(name, value) in properties {
                body.align(8);
                body.text(name).value(value);
            }
        })
    }

    /// Adds an empty `a(sa(sv))`.
    pub(super) fn no_units(&mut self) -> &mut Self {
        self.array(8, |_| {})
    }

    /// Adds `v`.
    fn value(&mut self, value: &Value) {
        match value {
            Value::Text(text) => self.signature("s").text(text),
            Value::Flag(flag) => self.signature("b").flag(*flag),
            Value::Number(n) => {
                self.signature("t").align(8);
                self.0.extend(n.to_le_bytes());
                self
            }
            Value::Bytes(bytes) => self.signature("ay").array(1, |body| body.0.extend(bytes)),
            Value::Pids(pids) => self.signature("au").array(4, |body| {
                for pid in pids {
                    body.word(*pid);
                }
            }),
        };
    }
}

/// Reads values of a body or a header. Fails with `InvalidData` at a missing or malformed value.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> io::Result<&'a [u8]> {
        let end = self.at.checked_add(count).filter(|end| *end <= self.bytes.len()).ok_or_else(broken)?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn align(&mut self, size: usize) {
        self.at = self.at.next_multiple_of(size);
    }

    fn byte(&mut self) -> io::Result<u8> {
        Ok(self.take(1)?[0])
    }

    fn word(&mut self) -> io::Result<u32> {
        self.align(4);
        let bytes = self.take(4)?;
        Ok(u32::from_le_bytes(bytes.try_into().map_err(|_| broken())?))
    }

    fn string(&mut self, length: usize) -> io::Result<String> {
        let text = self.take(length)?;
        self.take(1)?;
        String::from_utf8(text.to_vec()).map_err(|_| broken())
    }

    fn text(&mut self) -> io::Result<String> {
        let length = self.word()? as usize;
        self.string(length)
    }

    fn signature(&mut self) -> io::Result<String> {
        let length = self.byte()?.into();
        self.string(length)
    }
}

fn broken() -> io::Error {
    io::Error::new(ErrorKind::InvalidData, "a message of systemd's is not understood")
}

impl Message {
    fn reader(&self) -> Reader<'_> {
        Reader { bytes: &self.body, at: 0 }
    }

    /// Reads the body of a reply: an object's path.
    pub(super) fn path(&self) -> io::Result<String> {
        self.reader().text()
    }

    /// Reads the body of an error: its text.
    pub(super) fn text(&self) -> io::Result<String> {
        self.reader().text()
    }

    /// Reads the body of JobRemoved (`uoss`): the job's path, and its result.
    pub(super) fn job_removed(&self) -> io::Result<(String, String)> {
        let mut reader = self.reader();
        reader.word()?;
        let job = reader.text()?;
        reader.text()?;
        Ok((job, reader.text()?))
    }
}

/// A connection to systemd's private socket.
pub(super) struct Connection {
    stream: UnixStream,
    until: Instant,
    serial: u32,
}

impl Connection {
    /// Connects and authenticates. The whole conversation must end by `until`.
    pub(super) fn open(socket: &Path, until: Instant) -> io::Result<Self> {
        let mut connection = Self { stream: UnixStream::connect(socket)?, until, serial: 0 };
        // The user's number, with its decimal digits in hexadecimal, must match the user that the kernel reports to systemd.
        let user = rustix::process::geteuid().as_raw().to_string();
        let user: String = user.bytes().map(|digit| format!("{digit:02x}")).collect();
        // Sent at once up to BEGIN, as systemctl does, and nothing more until the answer: systemd 252 leaves a message that it reads
        // together with BEGIN in its buffer until the next one arrives.
        connection.send(format!("\0AUTH EXTERNAL {user}\r\nBEGIN\r\n").as_bytes())?;
        let line = connection.line()?;
        if !line.starts_with("OK ") {
            let text = format!("systemd refuses this user, who must be root: {:?}", line.trim_end());
            return Err(io::Error::new(ErrorKind::PermissionDenied, text));
        }
        Ok(connection)
    }

    /// Limits the next read or write to the remaining time.
    fn limit(&self) -> io::Result<()> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::Error::new(ErrorKind::TimedOut, "systemd has not answered in time"));
        }
        self.stream.set_read_timeout(Some(left))?;
        self.stream.set_write_timeout(Some(left))
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.limit()?;
        self.stream.write_all(bytes).map_err(in_time)
    }

    fn fill(&mut self, mut bytes: &mut [u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            self.limit()?;
            match self.stream.read(bytes).map_err(in_time)? {
                0 => return Err(io::Error::new(ErrorKind::UnexpectedEof, "systemd closed the connection")),
                n => bytes = &mut bytes[n..],
            }
        }
        Ok(())
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            if line.len() == LONGEST_LINE {
                return Err(broken());
            }
            let mut byte = [0];
            self.fill(&mut byte)?;
            line.extend(byte);
        }
        String::from_utf8(line).map_err(|_| broken())
    }

    /// Calls a method of the manager. Returns the serial number that the reply will name.
    pub(super) fn call(&mut self, method: &str, signature: &str, body: &Body) -> io::Result<u32> {
        self.serial += 1;
        let mut message = Body(vec![b'l', 1, 0, 1]);
        message.word(body.0.len() as u32).word(self.serial);
        message.array(8, |header| {
            let mut field = |code: u8, kind: &str, text: &str| {
                header.align(8);
                header.0.push(code);
                header.signature(kind);
                if kind == "g" {
                    header.signature(text)
                } else {
                    header.text(text)
                };
            };
            field(PATH, "o", OBJECT);
            field(FIELD_INTERFACE, "s", INTERFACE);
            field(MEMBER, "s", method);
            field(FIELD_DESTINATION, "s", DESTINATION);
            field(SIGNATURE, "g", signature);
        });
        message.align(8);
        message.0.extend(&body.0);
        self.send(&message.0)?;
        Ok(self.serial)
    }

    /// Receives the next message.
    pub(super) fn receive(&mut self) -> io::Result<Message> {
        let mut fixed = [0; FIXED];
        self.fill(&mut fixed)?;
        let mut reader = Reader { bytes: &fixed, at: 4 };
        let body = reader.word()?;
        reader.word()?;
        let fields = reader.word()?;
        if fixed[0] != b'l' || body > LONGEST || fields > LONGEST {
            return Err(broken());
        }
        let kind = match fixed[1] {
            1 => Kind::Call,
            2 => Kind::Return,
            3 => Kind::Error,
            4 => Kind::Signal,
            _ => return Err(broken()),
        };
        let mut header = vec![0; (fields as usize).next_multiple_of(8)];
        self.fill(&mut header)?;
        header.truncate(fields as usize);
        let mut message = Message { kind, member: None, error: None, reply_to: None, body: vec![0; body as usize] };
        self.fill(&mut message.body)?;
        message.read_header(&header)?;
        Ok(message)
    }
}

/// Turns `WouldBlock`, the error of a read or write whose time is over, into a timeout.
fn in_time(e: io::Error) -> io::Error {
    match e.kind() {
        ErrorKind::WouldBlock => io::Error::new(ErrorKind::TimedOut, "systemd has not answered in time"),
        _ => e,
    }
}

impl Message {
    /// Reads the header fields, `a(yv)`. Offsets count from their start, which is aligned because the fixed part has 16 bytes.
    fn read_header(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut reader = Reader { bytes, at: 0 };
        while reader.at < bytes.len() {
            reader.align(8);
            let code = reader.byte()?;
            match (code, reader.signature()?.as_str()) {
                (REPLY_SERIAL, "u") => self.reply_to = Some(reader.word()?),
                (MEMBER, "s") => self.member = Some(reader.text()?),
                (ERROR_NAME, "s") => self.error = Some(reader.text()?),
                (_, "s" | "o") => drop(reader.text()?),
                (_, "g") => drop(reader.signature()?),
                (_, "u") => drop(reader.word()?),
                _ => return Err(broken()),
            }
        }
        Ok(())
    }
}
