//! A server in a container, and a client of HTTP/1.1 that sends any bytes, wrong or right, over a socket of its own.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use catamaran_harness::{Container, Image, Node, Task, guests};

/// The port of a server that gets no other address.
pub const PORT: u16 = 8080;
/// How long an idle server may take to stop.
const SOON: Duration = Duration::from_secs(10);
/// How long an answer may take in any test.
const LIMIT: Duration = Duration::from_secs(60);

/// The HTTP guest for one of its worlds, as `/NAME.wasm`.
pub fn image(world: &str) -> Image {
    crate::component(world, guests::http(world))
}

/// The order for a container of the guest's whole world.
pub fn server<'n>(node: &'n Node, id: &str) -> Container<'n> {
    node.container(id).image(&image("server"))
}

/// One request on a connection of its own, in the task's network namespace.
pub fn get(task: &Task<'_>, path: &str) -> Answer {
    task.within(|| Client::connect(PORT).get(path))
}

/// Runs a server on a node of its own for `ask`. The server must still run afterwards, and end with 0 on SIGTERM.
///
/// # Panics
/// When it does not, and with the panic of `ask`.
pub fn with_server(ask: impl FnOnce(&Task<'_>)) {
    with_server_of(|order| order, ask);
}

/// The same with an annotation on the server.
///
/// # Panics
/// As [`with_server`].
pub fn with_annotated_server(key: &str, value: &str, ask: impl FnOnce(&Task<'_>)) {
    with_server_of(|order| order.annotation(key, value), ask);
}

/// The same with an order that `order` changes.
///
/// # Panics
/// As [`with_server`].
pub fn with_server_of(order: impl for<'n> FnOnce(Container<'n>) -> Container<'n>, ask: impl FnOnce(&Task<'_>)) {
    let node = Node::start();
    let task = order(server(&node, "server")).spawn();
    ask(&task);
    assert_eq!(get(&task, "/hello").status, 200, "the server goes on");
    task.kill("TERM");
    assert_eq!(task.wait(SOON).code, 0, "{}", task.stderr());
    task.delete();
    node.finish();
}

/// A server's answer.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    /// The first line's version: `HTTP/1.1`.
    pub version: String,
    /// The first line's number.
    pub status: u16,
    /// The headers, with names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body without its transfer coding.
    pub body: Vec<u8>,
    /// The trailers after a chunked body.
    pub trailers: Vec<(String, String)>,
    /// Whether the body came to its declared end, by its length or its last chunk.
    pub complete: bool,
}

impl Answer {
    /// Returns a header's value; None unless the header is there exactly once.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(known, _)| known == name);
        let (_, value) = values.next()?;
        values.next().is_none().then_some(value)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Returns the status, the body as text and whether the body is complete.
    pub fn short(&self) -> (u16, String, bool) {
        (self.status, self.text(), self.complete)
    }

    /// Whether the server closes the connection after the answer.
    pub fn closes(&self) -> bool {
        self.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}

/// A client's connection.
pub struct Client(BufReader<TcpStream>);

impl Client {
    /// Connects to a port of this network namespace's loopback.
    ///
    /// # Panics
    /// When nothing listens there.
    pub fn connect(port: u16) -> Self {
        Self::connect_to((Ipv4Addr::LOCALHOST, port).into())
    }

    /// Connects to any address.
    ///
    /// # Panics
    /// When nothing listens there.
    pub fn connect_to(address: SocketAddr) -> Self {
        Self::try_connect(address).unwrap_or_else(|error| panic!("cannot connect to {address}: {error}"))
    }

    /// Connects to any address.
    ///
    /// # Errors
    /// The kernel's.
    pub fn try_connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.set_write_timeout(Some(LIMIT))?;
        stream.set_nodelay(true)?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Its socket.
    pub fn stream(&self) -> &TcpStream {
        self.0.get_ref()
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// The kernel's.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.0.get_mut().write_all(bytes.as_ref())
    }

    /// Sends bytes as they are.
    ///
    /// # Panics
    /// When they cannot be sent.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).unwrap();
    }

    /// Closes the sending side.
    ///
    /// # Panics
    /// When the connection is gone.
    pub fn end(&self) {
        self.stream().shutdown(Shutdown::Write).unwrap();
    }

    /// Asks for a path and keeps the connection.
    ///
    /// # Panics
    /// When no answer comes.
    pub fn get(&mut self, path: &str) -> Answer {
        self.request("GET", path, &[], b"")
    }

    /// Sends a request with its body's length, and reads the answer.
    ///
    /// # Panics
    /// When no answer comes.
    pub fn request(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut text = format!("{method} {path} HTTP/1.1\r\nhost: pod\r\n");
        for (name, value) in headers {
            text += &format!("{name}: {value}\r\n");
        }
        if !body.is_empty() {
            text += &format!("content-length: {}\r\n", body.len());
        }
        // In one piece, as far as the kernel takes it.
        self.send([(text + "\r\n").as_bytes(), body].concat());
        if method == "HEAD" { self.head() } else { self.answer() }
    }

    /// Reads an answer.
    ///
    /// # Panics
    /// When none comes.
    pub fn answer(&mut self) -> Answer {
        self.try_answer().unwrap_or_else(|error| panic!("no answer: {error}"))
    }

    /// Reads an answer. An answer whose body breaks off is returned as incomplete.
    ///
    /// # Errors
    /// When its head does not come.
    pub fn try_answer(&mut self) -> io::Result<Answer> {
        let mut answer = self.try_head()?;
        answer.complete = match (answer.header("transfer-encoding"), answer.header("content-length")) {
            _ if matches!(answer.status, 100..=199 | 204 | 304) => true,
            (Some("chunked"), None) => self.chunks(&mut answer).is_ok(),
            (None, Some(length)) => {
                let length = length.parse().map_err(|_| io::ErrorKind::InvalidData)?;
                let read = (&mut self.0).take(length).read_to_end(&mut answer.body);
                read.is_ok_and(|read| read as u64 == length)
            }
            // The body lasts until the connection ends.
            (None, None) => self.0.read_to_end(&mut answer.body).is_ok(),
            other => panic!("an answer has {other:?}"),
        };
        Ok(answer)
    }

    /// Reads the head of an answer.
    ///
    /// # Panics
    /// When it does not come.
    pub fn head(&mut self) -> Answer {
        self.try_head().unwrap_or_else(|error| panic!("no head: {error}"))
    }

    fn try_head(&mut self) -> io::Result<Answer> {
        let first = self.line()?;
        let mut words = first.splitn(3, ' ');
        let version = words.next().unwrap_or_default().to_owned();
        let status = words.next().and_then(|word| word.parse().ok());
        let status = status.ok_or_else(|| io::Error::other(format!("no status line: {first:?}")))?;
        Ok(Answer { version, status, headers: self.fields()?, ..Answer::default() })
    }

    /// Reads a chunked body until this many bytes of it have come.
    ///
    /// # Panics
    /// When it ends before.
    pub fn some_chunks(&mut self, bytes: usize) -> Vec<u8> {
        let mut body = Vec::new();
        while body.len() < bytes {
            assert!(self.chunk(&mut body).unwrap(), "the body ends after {} bytes", body.len());
        }
        body
    }

    /// Reads one chunk of a chunked body; returns None after the last one, whose trailers are read too.
    ///
    /// # Panics
    /// When the body breaks off.
    pub fn next_chunk(&mut self) -> Option<Vec<u8>> {
        let mut chunk = Vec::new();
        if self.chunk(&mut chunk).unwrap() {
            return Some(chunk);
        }
        self.fields().unwrap();
        None
    }

    /// Reads this many bytes of a body with a length, and passes them on as they come.
    ///
    /// # Panics
    /// When the body breaks off.
    pub fn take_bytes(&mut self, mut bytes: u64, mut each: impl FnMut(&[u8])) {
        while bytes > 0 {
            let come = self.0.fill_buf().unwrap();
            assert!(!come.is_empty(), "the body ends {bytes} bytes too early");
            let part = come.len().min(usize::try_from(bytes).unwrap_or(usize::MAX));
            each(&come[..part]);
            self.0.consume(part);
            bytes -= part as u64;
        }
    }

    fn chunks(&mut self, answer: &mut Answer) -> io::Result<()> {
        while self.chunk(&mut answer.body)? {}
        answer.trailers = self.fields()?;
        Ok(())
    }

    /// Reads one chunk into `body`; returns false at the last one.
    fn chunk(&mut self, body: &mut Vec<u8>) -> io::Result<bool> {
        let line = self.line()?;
        let length = u64::from_str_radix(&line, 16).map_err(io::Error::other)?;
        if length == 0 {
            return Ok(false);
        }
        if (&mut self.0).take(length).read_to_end(body)? as u64 != length || !self.line()?.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(true)
    }

    fn fields(&mut self) -> io::Result<Vec<(String, String)>> {
        let mut fields = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(fields);
            }
            let (name, value) = line.split_once(':').ok_or(io::ErrorKind::InvalidData)?;
            fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        self.0.read_until(b'\n', &mut line)?;
        let line = line.strip_suffix(b"\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(String::from_utf8_lossy(line).into_owned())
    }

    /// Waits for the server to close the connection, and returns the bytes that come before.
    ///
    /// # Panics
    /// When it does not.
    pub fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        match self.0.read_to_end(&mut rest) {
            Ok(_) => rest,
            // The server closed with bytes of the client unread.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => rest,
            Err(error) => panic!("the connection is not closed: {error}"),
        }
    }

    /// Whether neither bytes nor the end come within this time.
    ///
    /// # Panics
    /// When the socket is gone.
    pub fn is_silent(&mut self, time: Duration) -> bool {
        self.stream().set_read_timeout(Some(time)).unwrap();
        let read = self.0.fill_buf().map(<[u8]>::len);
        self.stream().set_read_timeout(Some(LIMIT)).unwrap();
        read.is_err_and(|error| matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut))
    }
}
