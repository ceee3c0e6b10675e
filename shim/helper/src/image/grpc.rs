//! gRPC on containerd's socket (grpc's `PROTOCOL-HTTP2.md`): one connection, calls with one answer or many.
//!
//! Every answer is bounded, in bytes and in the time in which nothing of it may come.

use std::io;

use catamaran_host::wire::{Malformed, Message};

use super::hpack::Field;
use super::http2::{Http2, Http2Error, Part};

/// As large as containerd makes a message (its `defaults.DefaultMaxSendMsgSize`).
const LARGEST_MESSAGE: usize = 16 << 20;
/// Before a message: whether it is compressed, and its length.
const PREFIX: usize = 5;
/// So much of a refusal's text is shown.
const LONGEST_TEXT: usize = 2048;

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    #[error("connecting to {address}: {source}")]
    Connect { address: String, source: io::Error },
    #[error("{method}: {source}")]
    Connection { method: &'static str, source: Http2Error },
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
    /// Names the call whose answer it was.
    fn of(self, method: &'static str) -> Result<T, CallError>;
}

impl<T> Method<T> for Result<T, Malformed> {
    fn of(self, method: &'static str) -> Result<T, CallError> {
        self.map_err(|e| wrong(method, e.to_string()))
    }
}

impl<T> Method<T> for Result<T, Http2Error> {
    fn of(self, method: &'static str) -> Result<T, CallError> {
        self.map_err(|source| CallError::Connection { method, source })
    }
}

/// A connection to containerd, for calls in one of its namespaces.
pub(super) struct Connection {
    http: Http2,
    namespace: String,
}

impl Connection {
    pub(super) fn open(address: &str, namespace: &str) -> Result<Self, CallError> {
        let path = address.strip_prefix("unix://").unwrap_or(address);
        let http = Http2::connect(path);
        let http = http.map_err(|source| CallError::Connect { address: address.to_owned(), source })?;
        Ok(Self { http, namespace: namespace.to_owned() })
    }

    /// A call with one answer.
    pub(super) fn call(&mut self, method: &'static str, message: &Message) -> Result<Vec<u8>, CallError> {
        let mut answer = None;
        self.stream(method, message, |message| match answer.replace(message.to_vec()) {
            None => Ok(()),
            Some(_) => Err(wrong(method, "the answer has several messages")),
        })?;
        answer.ok_or_else(|| wrong(method, "the answer has no message"))
    }

    /// A call with any number of answers, of which `each` is told. Its error ends the call.
    pub(super) fn stream<E: From<CallError>>(
        &mut self,
        method: &'static str,
        message: &Message,
        mut each: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let path = format!("/{method}");
        let fields = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path.as_str()),
            (":authority", "localhost"),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
            ("containerd-namespace", &self.namespace),
        ];
        let stream = self.http.ask(&fields, &framed(message)).of(method)?;
        let mut tell = |buffer: &mut Vec<u8>| -> Result<(), E> {
            while let Some(length) = whole(buffer).map_err(|what| wrong(method, what))? {
                each(buffer.get(PREFIX..length).unwrap_or_default())?;
                buffer.drain(..length);
            }
            Ok(())
        };
        let mut buffer = Vec::new();
        let mut status = None;
        loop {
            let (part, end) = self.http.next(stream).of(method)?;
            let read = match part {
                Part::Headers(fields) => {
                    status = grpc_status(&fields);
                    check_http(&fields).map_err(|what| wrong(method, what).into())
                }
                Part::Data(data) => {
                    buffer.extend_from_slice(&data);
                    tell(&mut buffer)
                }
            };
            if let Err(e) = read {
                if !end {
                    self.http.cancel(stream);
                }
                return Err(e);
            }
            if end {
                break;
            }
        }
        match status {
            Some((0, _)) if buffer.is_empty() => Ok(()),
            Some((0, _)) => Err(wrong(method, "a message was cut").into()),
            Some((code, message)) => Err(CallError::Status { method, code, message }.into()),
            None => Err(wrong(method, "the answer has no status").into()),
        }
    }
}

/// Not compressed, the length, the message.
fn framed(message: &Message) -> Vec<u8> {
    let message = message.as_ref();
    let mut frame = vec![0];
    // What is asked here is a few names.
    frame.extend_from_slice(&(message.len() as u32).to_be_bytes());
    frame.extend_from_slice(message);
    frame
}

/// Where the first message in the buffer ends, if it is there whole.
fn whole(buffer: &[u8]) -> Result<Option<usize>, String> {
    let Some([compressed, length @ ..]) = buffer.first_chunk::<PREFIX>() else { return Ok(None) };
    if *compressed != 0 {
        return Err("a message is compressed, which nobody asked for".to_owned());
    }
    let length = u32::from_be_bytes(*length) as usize;
    if length > LARGEST_MESSAGE {
        return Err("a message is larger than containerd makes them".to_owned());
    }
    Ok(Some(PREFIX + length).filter(|end| *end <= buffer.len()))
}

fn value<'a>(fields: &'a [Field], name: &str) -> Option<&'a [u8]> {
    fields.iter().find(|field| field.name == name.as_bytes()).map(|field| field.value.as_slice())
}

/// Trailers have no HTTP status, and only an answer of gRPC's has that of success.
fn check_http(fields: &[Field]) -> Result<(), String> {
    match value(fields, ":status") {
        None | Some(b"200") => Ok(()),
        Some(other) => Err(format!("HTTP status {}", String::from_utf8_lossy(other))),
    }
}

/// The call's own status and its text: in the trailers, or in the headers of a call that was refused at once.
fn grpc_status(fields: &[Field]) -> Option<(u32, String)> {
    let code = std::str::from_utf8(value(fields, "grpc-status")?).ok()?.parse().ok()?;
    let text = value(fields, "grpc-message").unwrap_or_default();
    Some((code, percent_decoded(text.get(..LONGEST_TEXT).unwrap_or(text))))
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
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::image::hpack;

    const DATA: u8 = 0;
    const HEADERS: u8 = 1;
    const END_OF_HEADERS: u8 = 4;
    const LAST: u8 = END_OF_HEADERS | 1;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let head = [0, (payload.len() >> 8) as u8, payload.len() as u8, kind, flags, 0, 0, 0, 1];
        [&head, payload].concat()
    }

    /// What a call comes to whose answer is these frames: the messages, and how it ended.
    fn answered(frames: &[Vec<u8>]) -> (Vec<Vec<u8>>, Result<(), CallError>) {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(&frames.concat()).unwrap();
        theirs.shutdown(std::net::Shutdown::Write).unwrap();
        let http = Http2::over(ours).unwrap();
        let mut connection = Connection { http, namespace: "n".to_owned() };
        let mut messages = Vec::new();
        let ended = connection.stream("s/m", &Message::default().with(1, "x"), |message| {
            messages.push(message.to_vec());
            Ok::<(), CallError>(())
        });
        (messages, ended)
    }

    #[test]
    fn an_answer_is_its_messages_and_its_status() {
        let ok = frame(HEADERS, END_OF_HEADERS, &[0x88]);
        let trailers = |code: &str, text: &str| {
            frame(HEADERS, LAST, &hpack::encode(&[("grpc-status", code), ("grpc-message", text)]))
        };
        let three = [framed(&Message::default().with(1, "a")), framed(&Message::default()), vec![0, 0, 0, 0, 2, 8]];
        let said = [ok.clone(), frame(DATA, 0, &three.concat()), frame(DATA, 0, &[1]), trailers("0", "")];
        let (messages, ended) = answered(&said);
        assert_eq!((messages, ended.is_ok()), (vec![b"\x0a\x01a".to_vec(), vec![], vec![8, 1]], true));
        // Refused at once, and in the middle.
        let at_once = [vec![0x88], hpack::encode(&[("grpc-status", "5")])].concat();
        assert!(answered(&[frame(HEADERS, LAST, &at_once)]).1.unwrap_err().is_not_found());
        let (messages, ended) = answered(&[ok.clone(), frame(DATA, 0, &[0, 0, 0, 0, 0]), trailers("13", "why%21")]);
        assert_eq!((messages.len(), ended.unwrap_err().to_string().as_str()), (1, "s/m: why! (status 13)"));
        for (frames, word) in [
            (vec![ok.clone(), frame(DATA, 0, &[0, 0, 0, 0, 2, 8]), trailers("0", "")], "cut"),
            (vec![ok.clone(), frame(DATA, 1, &[0, 0, 0, 0, 0])], "no status"),
            (vec![ok.clone(), frame(DATA, 0, &[1, 0, 0, 0, 0]), trailers("0", "")], "compressed"),
            (vec![ok.clone(), frame(DATA, 0, &[0, 1, 0, 0, 1]), trailers("0", "")], "larger"),
            (vec![frame(HEADERS, END_OF_HEADERS, &[0x8d]), trailers("0", "")], "HTTP status 404"),
            (vec![ok, frame(DATA, 0, &[0])], "closed"),
        ] {
            let e = answered(&frames).1.unwrap_err().to_string();
            assert!(e.contains(word), "{word} is missing in {e}");
        }
    }

    #[test]
    fn a_message_is_whole_when_all_of_it_is_there() {
        let framed = framed(&Message::default().with(1, "abc"));
        for end in 0..framed.len() {
            assert_eq!(whole(&framed[..end]), Ok(None));
        }
        assert_eq!(whole(&[&framed[..], b"next"].concat()), Ok(Some(framed.len())));
        assert_eq!(whole(&super::framed(&Message::default())), Ok(Some(PREFIX)));
    }

    #[test]
    fn a_message_that_is_too_large_or_compressed_is_not_waited_for() {
        assert!(whole(&[0, 0xff, 0xff, 0xff, 0xff]).is_err());
        assert!(whole(&[1, 0, 0, 0, 0]).is_err());
    }

    #[test]
    fn a_status_is_read() {
        let fields = |pairs: &[(&str, &str)]| -> Vec<Field> {
            pairs.iter().map(|(name, value)| Field { name: (*name).into(), value: (*value).into() }).collect()
        };
        assert_eq!(grpc_status(&fields(&[("grpc-status", "0")])), Some((0, String::new())));
        let refused = fields(&[("grpc-status", "5"), ("grpc-message", "100%25 of %C3%A9 %zz %4")]);
        assert_eq!(grpc_status(&refused), Some((5, "100% of é %zz %4".to_owned())));
        for none in [&[][..], &[("grpc-status", "x")], &[("grpc-status", "-1")], &[("grpc-status", "99999999999")]] {
            assert_eq!(grpc_status(&fields(none)), None);
        }
        assert!(check_http(&fields(&[(":status", "200")])).is_ok());
        assert_eq!(check_http(&fields(&[(":status", "404")])), Err("HTTP status 404".to_owned()));
    }
}
