//! Tests calls against a peer whose frames are written here byte by byte.

use std::io::{Read, Write};
use std::thread::JoinHandle;

use super::*;
use crate::image::messages::Named;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const PRIORITY: u8 = 0x20;
const LAST: u8 = END_HEADERS | END_STREAM;

fn frame_of(stream: u8, kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = (payload.len() as u32).to_be_bytes();
    [&length[..], &[kind, flags, 0, 0, 0, stream], payload].concat()
}

fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    frame_of(1, kind, flags, payload)
}

/// Encodes header fields as literals (RFC 7541, section 6.2.2), for short texts.
fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
    let text = |text: &str| [&[text.len() as u8], text.as_bytes()].concat();
    fields.iter().flat_map(|(name, value)| [vec![0], text(name), text(value)].concat()).collect()
}

fn ok() -> Vec<u8> {
    frame(HEADERS, END_HEADERS, &[0x88])
}

fn trailers(code: &str, text: &str) -> Vec<u8> {
    frame(HEADERS, LAST, &fields(&[("grpc-status", code), ("grpc-message", text)]))
}

/// Starts a peer that answers one request after the other with these frames. Its thread returns all that it received.
fn peer(answers: Vec<Vec<Vec<u8>>>) -> (Connection, JoinHandle<Vec<u8>>) {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let thread = std::thread::spawn(move || {
        // The client may send no request, or leave before the end of an answer.
        let _ = theirs.write_all(&frame_of(0, SETTINGS, 0, &[0, 5, 0, 0, 64, 0]));
        let mut heard = vec![0; 24];
        let _ = theirs.read_exact(&mut heard);
        for answer in answers {
            loop {
                let mut head = [0; 9];
                theirs.read_exact(&mut head).unwrap();
                let [l0, l1, l2, kind, flags, ..] = head;
                let mut payload = vec![0; u32::from_be_bytes([0, l0, l1, l2]) as usize];
                theirs.read_exact(&mut payload).unwrap();
                heard.extend([&head[..], &payload].concat());
                if kind == DATA && flags & END_STREAM != 0 {
                    break;
                }
            }
            let _ = theirs.write_all(&answer.concat());
        }
        let _ = theirs.shutdown(std::net::Shutdown::Write);
        let _ = theirs.read_to_end(&mut heard);
        heard
    });
    (Connection::over(ours, "n").unwrap(), thread)
}

fn ask_for(connection: &mut Connection, messages: &mut Vec<String>) -> Result<(), CallError> {
    connection.stream("s/m", &named("x"), |Named { name }| {
        messages.push(name);
        Ok(())
    })
}

fn named(name: &str) -> Named {
    Named { name: name.to_owned() }
}

fn message(name: &str) -> Vec<u8> {
    framed(&named(name)).unwrap().to_vec()
}

/// Makes a call whose answer is these frames. Returns the messages and the result.
fn answered(frames: &[Vec<u8>]) -> (Vec<String>, Result<(), CallError>) {
    let (mut connection, thread) = peer(vec![frames.to_vec()]);
    let mut messages = Vec::new();
    let ended = ask_for(&mut connection, &mut messages);
    drop(connection);
    thread.join().unwrap();
    (messages, ended)
}

fn failure(frames: &[Vec<u8>]) -> CallError {
    answered(frames).1.unwrap_err()
}

#[test]
fn an_answer_has_messages_and_a_status() {
    // The last message has an unknown field, of a later version.
    let three = [message("a"), message(""), vec![0, 0, 0, 0, 5, 0x78, 7, 0x0a, 1, b'b']].concat();
    let (one, other) = three.split_at(7);
    let said = [ok(), frame(DATA, 0, one), frame(DATA, 0, other), trailers("0", "")];
    let (messages, ended) = answered(&said);
    assert_eq!((messages, ended.is_ok()), (vec!["a".to_owned(), String::new(), "b".to_owned()], true));
    // Calls that are refused at once, and after a message.
    let at_once = [vec![0x88], fields(&[("grpc-status", "5")])].concat();
    assert!(failure(&[frame(HEADERS, LAST, &at_once)]).is_not_found());
    let (messages, ended) = answered(&[ok(), frame(DATA, 0, &message("")), trailers("13", "why%21")]);
    assert_eq!((messages.len(), ended.unwrap_err().to_string().as_str()), (1, "s/m: why! (status 13)"));
    for (frames, word) in [
        (vec![ok(), frame(DATA, 0, &[0, 0, 0, 0, 2, 8]), trailers("0", "")], "within a message"),
        (vec![ok(), frame(DATA, END_STREAM, &[0, 0, 0, 0, 0])], "no status"),
        (vec![ok(), frame(DATA, 0, &[1, 0, 0, 0, 0]), trailers("0", "")], "compressed"),
        (vec![ok(), frame(DATA, 0, &[0, 1, 0, 0, 1]), trailers("0", "")], "at most"),
        (vec![ok(), frame(DATA, 0, &[0, 0, 0, 0, 2, 0x0a, 9]), trailers("0", "")], "no protobuf message"),
        (vec![frame(HEADERS, END_HEADERS, &[0x8d]), trailers("0", "")], "HTTP status 404"),
        (vec![ok(), frame(DATA, 0, &[0])], "closed"),
    ] {
        let e = failure(&frames).to_string();
        assert!(e.contains(word), "{word} is missing in {e}");
    }
}

#[test]
fn a_call_carries_its_namespace_and_reads_a_streamed_answer() {
    let block = fields(&[("grpc-status", "0")]);
    let (first, rest) = block.split_at(5);
    let said = [
        frame_of(0, PING, 0, b"12345678"),
        frame_of(1, 0x77, 0xff, b"from a later version"),
        frame(HEADERS, END_HEADERS | PADDED | PRIORITY, &[2, 0, 0, 0, 0, 0, 0x88, 0, 0]),
        frame(DATA, PADDED, &[&[3], &message("some")[..], &[0; 3]].concat()),
        frame(HEADERS, END_STREAM, first),
        frame(CONTINUATION, END_HEADERS, rest),
    ];
    let (mut connection, thread) = peer(vec![said.to_vec()]);
    let Named { name } = connection.call("s/m", &named("body")).unwrap();
    assert_eq!(name, "some");
    drop(connection);
    let heard = thread.join().unwrap();
    for part in [
        frame_of(0, SETTINGS, ACK, &[]),
        frame_of(0, PING, ACK, b"12345678"),
        frame(DATA, END_STREAM, &message("body")),
    ] {
        assert!(heard.windows(part.len()).any(|window| window == part), "{part:?} was not said");
    }
}

#[test]
fn an_abandoned_answer_does_not_disturb_the_next_call() {
    let next = |kind, flags, payload: &[u8]| frame_of(3, kind, flags, payload);
    let first = vec![ok(), frame(DATA, 0, &message("a")), frame(DATA, 0, &message("b"))];
    let second = vec![
        // Frames of the first answer that were on their way.
        frame(DATA, 0, &message("c")),
        trailers("0", ""),
        next(HEADERS, END_HEADERS, &[0x88]),
        next(DATA, 0, &message("next")),
        next(HEADERS, LAST, &fields(&[("grpc-status", "0")])),
    ];
    let (mut connection, thread) = peer(vec![first, second]);
    let given_up = connection.stream("s/m", &named("x"), |Named { .. }| Err(wrong("s/m", "enough")));
    assert_eq!(given_up.unwrap_err().to_string(), "s/m: enough");
    let mut messages = Vec::new();
    ask_for(&mut connection, &mut messages).unwrap();
    assert_eq!(messages, ["next"]);
    drop(connection);
    let cancelled = frame(RST_STREAM, 0, &[0, 0, 0, 8]);
    let heard = thread.join().unwrap();
    assert!(heard.windows(cancelled.len()).any(|window| window == cancelled), "it was not given up");
}

#[test]
fn a_closed_connection_is_not_reported_as_a_protocol_error() {
    let source = |said: &[Vec<u8>]| match failure(said) {
        CallError::Connection { source, .. } => source,
        other => panic!("{said:?}: {other}"),
    };
    assert!(matches!(source(&[ok()]), Http2Error::Closed));
    assert!(matches!(source(&[ok()[..5].to_vec()]), Http2Error::Closed));
    assert!(matches!(source(&[frame(RST_STREAM, 0, &[0, 0, 0, 7])]), Http2Error::Reset(7)));
    assert!(matches!(source(&[frame_of(0, GOAWAY, 0, &[0; 8])]), Http2Error::Closed));
    let broken = [
        // Frames larger than allowed.
        vec![0, 0x40, 1, 0, 0, 0, 0, 0, 1],
        vec![0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1],
        frame(PUSH_PROMISE, END_HEADERS, &[0, 0, 0, 2, 0x88]),
        frame(CONTINUATION, END_HEADERS, &[0x88]),
        frame(HEADERS, END_HEADERS, &[0xff]),
        frame(DATA, PADDED, &[]),
        frame(DATA, PADDED, &[9, 0, 0]),
        frame(HEADERS, END_HEADERS | PRIORITY, &[0, 0]),
        frame(RST_STREAM, 0, &[0]),
        frame_of(0, GOAWAY, 0, &[]),
        frame_of(0, SETTINGS, 0, &[0, 4, 0]),
        [frame(HEADERS, 0, &[0x88]), frame(DATA, 0, b"x")].concat(),
        [frame(HEADERS, 0, &[0x88]), frame_of(3, CONTINUATION, END_HEADERS, &[])].concat(),
        // A header block that does not end.
        [vec![frame(HEADERS, 0, &[])], vec![frame(CONTINUATION, 0, &[0; 16 << 10]); 8]].concat().concat(),
    ];
    for said in broken {
        let e = source(std::slice::from_ref(&said));
        assert!(matches!(e, Http2Error::Protocol(_)), "{:?}: {e}", &said[..said.len().min(40)]);
    }
    // More header fields than are accepted.
    let name = "x".repeat(100);
    let many = fields(&vec![(name.as_str(), name.as_str()); 79]);
    let mut said = vec![frame(HEADERS, 0, &many)];
    said.extend(std::iter::repeat_n(frame(CONTINUATION, 0, &many), 5));
    said.push(frame(CONTINUATION, END_HEADERS, &many));
    assert!(answered(&said).1.is_err());
}

#[test]
fn a_request_that_is_too_large_is_not_sent() {
    let (mut connection, thread) = peer(vec![]);
    let e = connection.call::<Named>("s/m", &named(&"x".repeat(LARGEST_QUESTION))).unwrap_err();
    assert_eq!(e.to_string(), "s/m: the question is too large");
    drop(connection);
    thread.join().unwrap();
}

#[test]
fn an_incomplete_message_is_not_decoded() {
    let whole = |bytes: &[u8]| whole(&mut BytesMut::from(bytes));
    let framed = message("abc");
    for end in 0..framed.len() {
        assert_eq!(whole(&framed[..end]), Ok(None));
    }
    assert_eq!(whole(&[&framed[..], b"next"].concat()), Ok(Some(Bytes::from_static(b"\x0a\x03abc"))));
    assert_eq!(whole(&message("")), Ok(Some(Bytes::new())));
    // A message that is too large or compressed is refused before it is complete.
    assert!(whole(&[0, 0xff, 0xff, 0xff, 0xff]).is_err());
    assert!(whole(&[1, 0, 0, 0, 0]).is_err());
}

#[test]
fn a_status_is_read() {
    let fields = |pairs: &[(&'static str, &str)]| -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    };
    assert_eq!(grpc_status(&fields(&[("grpc-status", "0")])), Some((0, String::new())));
    let refused = fields(&[("grpc-status", "5"), ("grpc-message", "100%25 of %C3%A9 %zz %4")]);
    assert_eq!(grpc_status(&refused), Some((5, "100% of é %zz %4".to_owned())));
    for none in [&[][..], &[("grpc-status", "x")], &[("grpc-status", "-1")], &[("grpc-status", "99999999999")]] {
        assert_eq!(grpc_status(&fields(none)), None);
    }
}
