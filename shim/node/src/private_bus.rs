//! systemd's private socket, which a node without a bus, such as kind's, has too.
//!
//! On this socket systemd names itself as the sender by its well-known name, but zbus accepts only unique names (D-Bus specification,
//! "Message Protocol"). So systemd's messages are handed on with a unique name of the same length as the sender.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::Duration;

use zbus::blocking::Connection;
use zbus::connection::Builder;

/// systemd's name as the sender: the field's code, the signature of a string, its length, the string and its final zero.
const SENDER: &[u8] = b"\x07\x01s\0\x18\0\0\0org.freedesktop.systemd1\0";
/// The replacement: a unique name that nobody else has on this socket.
const UNIQUE: &[u8] = b"\x07\x01s\0\x18\0\0\0:1.000000000000000000001\0";
/// The fixed part of a message, including the length of its header fields.
const FIXED: usize = 16;
/// Far more than any answer of systemd.
const LONGEST: usize = 16 << 20;

/// Connects to systemd's own socket, which only root may do.
pub(crate) fn connect(socket: &Path, limit: Duration) -> zbus::Result<Connection> {
    let stream = with_unique_sender(UnixStream::connect(socket)?)?;
    stream.set_nonblocking(true)?;
    let connection = zbus::block_on(async {
        let stream = tokio::net::UnixStream::from_std(stream)?;
        Builder::unix_stream(stream).p2p().method_timeout(limit).build().await
    })?;
    Ok(connection.into())
}

/// Returns the stream to use in place of `systemd`. Two threads serve this stream until one of its ends is closed.
fn with_unique_sender(systemd: UnixStream) -> io::Result<UnixStream> {
    let (served, ours) = UnixStream::pair()?;
    let (mut up_from, mut up_to) = (ours.try_clone()?, systemd.try_clone()?);
    thread::spawn(move || {
        let _ = io::copy(&mut up_from, &mut up_to);
        let _ = up_to.shutdown(Shutdown::Both);
    });
    thread::spawn(move || {
        let mut to = ours;
        let _ = forward(&mut BufReader::new(systemd), &mut to);
        let _ = to.shutdown(Shutdown::Both);
    });
    Ok(served)
}

/// Forwards the lines of the greeting, then messages.
fn forward(from: &mut impl BufRead, to: &mut impl Write) -> io::Result<()> {
    loop {
        match from.fill_buf()?.first() {
            None => return Ok(()),
            // The byte order, with which a message begins.
            Some(b'l' | b'B') => to.write_all(&message(from)?)?,
            Some(_) => {
                let mut line = Vec::new();
                from.read_until(b'\n', &mut line)?;
                // No file descriptors: they would be lost here.
                to.write_all(if line == b"AGREE_UNIX_FD\r\n" { b"ERROR\r\n" } else { &line })?;
            }
        }
    }
}

/// Reads a message and renames its sender.
fn message(from: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut message = vec![0; FIXED];
    from.read_exact(&mut message)?;
    let little = message.first() == Some(&b'l');
    let length = |at: usize| {
        let bytes = message.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).unwrap_or_default();
        if little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) }
    };
    let (body, fields) = (length(4) as usize, length(12) as usize);
    // Each length is checked by itself, because their sum may not fit.
    if body > LONGEST || fields > LONGEST {
        return Err(io::Error::new(ErrorKind::InvalidData, format!("a message of {fields} and {body} bytes")));
    }
    let mut rest = vec![0; fields.next_multiple_of(8) + body];
    from.read_exact(&mut rest)?;
    let header = rest.get_mut(..fields).unwrap_or_default();
    if let Some(at) = header.windows(SENDER.len()).position(|window| window == SENDER)
        && let Some(found) = header.get_mut(at..at + SENDER.len())
    {
        found.copy_from_slice(UNIQUE);
    }
    message.extend(rest);
    Ok(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sender_gets_a_unique_name_and_all_else_stays() {
        assert_eq!(SENDER.len(), UNIQUE.len());
        // A return: the serial that it answers, the sender, and a body that contains the sender's bytes too.
        let message = |sender: &[u8]| {
            let fields = [b"\x05\x01u\0\x02\0\0\0".as_slice(), sender].concat();
            let mut message = [b"l\x02\x01\x01".as_slice(), &33_u32.to_le_bytes(), &1_u32.to_le_bytes()].concat();
            message.extend(u32::try_from(fields.len()).unwrap().to_le_bytes());
            message.extend(fields);
            message.resize(message.len().next_multiple_of(8), 0);
            [message, SENDER.to_vec()].concat()
        };
        let given = [b"OK 0123\r\nAGREE_UNIX_FD\r\n".to_vec(), message(SENDER), message(SENDER)].concat();
        let expected = [b"OK 0123\r\nERROR\r\n".to_vec(), message(UNIQUE), message(UNIQUE)].concat();
        let mut got = Vec::new();
        forward(&mut given.as_slice(), &mut got).unwrap();
        assert_eq!(got, expected);
    }

    #[test]
    fn a_message_that_is_cut_off_or_too_long_ends_the_connection() {
        let long = [b"l\x02\x01\x01".as_slice(), &[0xff; 12]].concat();
        for given in [&b"l\x02\x01"[..], &long] {
            assert!(forward(&mut &given[..], &mut Vec::new()).is_err());
        }
    }
}
