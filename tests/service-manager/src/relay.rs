//! Adds systemd's name as the sender to the messages of a private connection: zbus sends none there, and accepts no well-known name as a
//! sender (D-Bus specification, "Message Protocol").

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

/// The fixed part of a message, including the length of its header fields.
const FIXED: usize = 16;
const LITTLE_ENDIAN: u8 = b'l';
/// The code of the header field that names the sender.
const SENDER: u8 = 7;

/// Returns the stream to serve in place of `client`: bytes written to it reach the client with the sender.
pub(crate) fn with_sender(client: UnixStream, name: &'static str) -> UnixStream {
    let (served, ours) = UnixStream::pair().expect("a pair of sockets");
    let there = [client.try_clone(), ours.try_clone()].map(|stream| stream.expect("cannot duplicate a descriptor"));
    std::thread::spawn(move || {
        let [mut from, mut to] = there;
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Both);
    });
    std::thread::spawn(move || {
        let mut to = client;
        let _ = forward(&mut BufReader::new(ours), &mut to, name);
        let _ = to.shutdown(Shutdown::Both);
    });
    served
}

fn forward(from: &mut impl BufRead, to: &mut impl Write, name: &str) -> io::Result<()> {
    loop {
        match from.fill_buf()?.first() {
            None => return Ok(()),
            Some(&LITTLE_ENDIAN) => to.write_all(&marked(from, name)?)?,
            // A line of the greeting. Descriptors are not passed on.
            Some(_) => {
                let mut line = Vec::new();
                from.read_until(b'\n', &mut line)?;
                let line = if line == b"AGREE_UNIX_FD\r\n" { b"ERROR\r\n".to_vec() } else { line };
                to.write_all(&line)?;
            }
        }
    }
}

/// Reads a message, and returns it with one more header field.
fn marked(from: &mut impl Read, name: &str) -> io::Result<Vec<u8>> {
    let mut message = vec![0; FIXED];
    from.read_exact(&mut message)?;
    let word =
        |bytes: &[u8], at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]) as usize;
    let (body, fields) = (word(&message, 4), word(&message, 12));
    let mut rest = vec![0; fields.next_multiple_of(8) + body];
    from.read_exact(&mut rest)?;
    message.extend(&rest[..fields]);
    // Each field begins at a multiple of eight, and so does the body.
    message.resize(message.len().next_multiple_of(8), 0);
    message.extend([SENDER, 1, b's', 0]);
    message.extend(u32::try_from(name.len()).expect("a short name").to_le_bytes());
    message.extend(name.as_bytes());
    message.push(0);
    let length = u32::try_from(message.len() - FIXED).expect("a short header");
    message[12..FIXED].copy_from_slice(&length.to_le_bytes());
    message.resize(message.len().next_multiple_of(8), 0);
    message.extend(&rest[fields.next_multiple_of(8)..]);
    Ok(message)
}

#[cfg(test)]
mod tests {
    use super::forward;

    #[test]
    fn a_message_gets_a_sender_and_a_line_of_the_greeting_is_unchanged() {
        // A return without a body, whose only field is the serial of its call.
        let message = b"l\x02\x01\x01\0\0\0\0\x01\0\0\0\x08\0\0\0\x05\x01u\0\x02\0\0\0";
        let marked = b"l\x02\x01\x01\0\0\0\0\x01\0\0\0\x15\0\0\0\x05\x01u\0\x02\0\0\0\x07\x01s\0\x04\0\0\0a.bc\0\0\0\0";
        let mut given = b"OK 0123\r\n".to_vec();
        given.extend(message);
        let mut got = Vec::new();
        forward(&mut given.as_slice(), &mut got, "a.bc").unwrap();
        assert_eq!(got, [b"OK 0123\r\n".as_slice(), marked].concat());
    }
}
