//! Tests the conversation with systemd against a fake systemd.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::thread::JoinHandle;

use catamaran_cgroup::request::Value;

use super::*;

/// The answer of systemd 252 to StopUnit of a missing unit, byte for byte.
const NO_SUCH_UNIT: &[u8] = b"l\x03\x01\x01\x22\0\0\0\x01\0\0\0\x67\0\0\0\x05\x01u\0\x01\0\0\0\
    \x04\x01s\0\x23\0\0\0org.freedesktop.systemd1.NoSuchUnit\0\0\0\0\0\
    \x07\x01s\0\x18\0\0\0org.freedesktop.systemd1\0\0\0\0\0\0\0\0\
    \x08\x01g\0\x01s\0\0\x1d\0\0\0Unit nobody.scope not loaded.\0";
/// The bytes of that call, which systemd 252 accepted.
const STOP_UNIT: &[u8] = b"l\x01\0\x01\x20\0\0\0\x01\0\0\0\xa0\0\0\0\
    \x01\x01o\0\x19\0\0\0/org/freedesktop/systemd1\0\0\0\0\0\0\0\
    \x02\x01s\0\x20\0\0\0org.freedesktop.systemd1.Manager\0\0\0\0\0\0\0\0\
    \x03\x01s\0\x08\0\0\0StopUnit\0\0\0\0\0\0\0\0\
    \x06\x01s\0\x18\0\0\0org.freedesktop.systemd1\0\0\0\0\0\0\0\0\
    \x08\x01g\0\x02ss\0\x0c\0\0\0nobody.scope\0\0\0\0\x07\0\0\0replace\0";

const JOB: &str = "/org/freedesktop/systemd1/job/7";

/// A fake systemd. It expects the calls of a script, and answers each with the script's messages.
struct Systemd {
    socket: PathBuf,
    thread: Option<JoinHandle<Vec<Vec<u8>>>>,
}

type Script = Vec<(&'static str, Vec<Vec<u8>>)>;

impl Systemd {
    fn new(name: &str, script: Script) -> Self {
        let socket = std::env::temp_dir().join(format!("catamaran-systemd-{name}-{}", std::process::id()));
        let listener = UnixListener::bind(&socket).unwrap();
        let thread = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            // "0" is 30 in hexadecimal. The whole greeting arrives at once.
            let mut greeting = [0; 28];
            let count = stream.read(&mut greeting).unwrap();
            assert_eq!(&greeting[..count], b"\0AUTH EXTERNAL 30\r\nBEGIN\r\n");
            stream.write_all(b"OK 0123456789abcdef\r\n").unwrap();
            let mut heard = Vec::new();
            for (method, answers) in script {
                let call = read_call(&mut stream);
                let named = call.windows(method.len()).any(|bytes| bytes == method.as_bytes());
                assert!(named, "{method}: {}", String::from_utf8_lossy(&call));
                heard.push(call);
                answers.iter().for_each(|answer| stream.write_all(answer).unwrap());
            }
            // The connection stays open until the client closes it, so that the client waits in silence and sees no end.
            let _ = stream.read(&mut [0]);
            heard
        });
        Self { socket, thread: Some(thread) }
    }

    /// Carries out a request. Returns the answer and the calls that it made.
    fn asked(mut self, request: &Request) -> (Answer, Vec<Vec<u8>>) {
        let answer = carry_out(&self.socket, request, Duration::from_secs(1));
        let heard = self.thread.take().unwrap().join().unwrap();
        (answer, heard)
    }
}

impl Drop for Systemd {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.socket);
    }
}

fn read_call(stream: &mut UnixStream) -> Vec<u8> {
    let mut call = vec![0; 16];
    stream.read_exact(&mut call).unwrap();
    let word = |at: usize| u32::from_le_bytes(call[at..at + 4].try_into().unwrap()) as usize;
    let rest = word(12).next_multiple_of(8) + word(4);
    call.resize(16 + rest, 0);
    stream.read_exact(&mut call[16..]).unwrap();
    call
}

/// Encodes a message of systemd: its kind, header fields (code, type, value), the body's first number, and its texts.
fn message(kind: u8, fields: &[(u8, &str, &str)], head: Option<u32>, texts: &[&str]) -> Vec<u8> {
    let padded = |bytes: &mut Vec<u8>, size: usize| bytes.resize(bytes.len().next_multiple_of(size), 0);
    let mut header = Vec::new();
    for (code, kind, value) in fields {
        padded(&mut header, 8);
        header.extend([*code, 1, kind.as_bytes()[0], 0]);
        if *kind == "u" {
            header.extend(value.parse::<u32>().unwrap().to_le_bytes());
        } else {
            header.extend((value.len() as u32).to_le_bytes());
            header.extend(value.as_bytes());
            header.push(0);
        }
    }
    let mut body: Vec<u8> = head.iter().flat_map(|word| word.to_le_bytes()).collect();
    for text in texts {
        padded(&mut body, 4);
        body.extend((text.len() as u32).to_le_bytes());
        body.extend(text.as_bytes());
        body.push(0);
    }
    let mut all = vec![b'l', kind, 0, 1];
    for word in [body.len() as u32, 1, header.len() as u32] {
        all.extend(word.to_le_bytes());
    }
    padded(&mut header, 8);
    [all, header, body].concat()
}

fn returned(serial: &str) -> Vec<u8> {
    message(2, &[(5, "u", serial)], None, &[JOB])
}

fn error(serial: &str, name: &str) -> Vec<u8> {
    message(3, &[(4, "s", name), (5, "u", serial)], None, &["a reason"])
}

fn removed(job: &str, result: &str) -> Vec<u8> {
    message(4, &[(1, "o", "/o"), (3, "s", "JobRemoved")], Some(7), &[job, "a.scope", result])
}

fn start() -> Request {
    let properties = vec![Property("Slice".to_owned(), Value::Text("a.slice".to_owned()))];
    Request::Start { unit: "a.scope".to_owned(), properties }
}

#[test]
fn systemds_job_is_waited_for() {
    let other = removed("/org/freedesktop/systemd1/job/6", "failed");
    let news = message(4, &[(1, "o", "/o"), (3, "s", "UnitNew")], None, &["b.scope"]);
    for answers in [
        vec![news.clone(), returned("1"), other.clone(), removed(JOB, "done")],
        // The signal arrives before the reply.
        vec![other.clone(), removed(JOB, "done"), news, returned("1")],
    ] {
        let systemd = Systemd::new("job", vec![("StartTransientUnit", answers)]);
        assert_eq!(systemd.asked(&start()).0, Answer::Done);
    }
}

#[test]
fn a_failed_unit_is_reset_and_started_again() {
    let script = vec![
        ("StartTransientUnit", vec![error("1", EXISTS)]),
        ("ResetFailedUnit", vec![message(2, &[(5, "u", "2")], None, &[])]),
        ("StartTransientUnit", vec![returned("3"), removed(JOB, "done")]),
    ];
    assert_eq!(Systemd::new("again", script).asked(&start()).0, Answer::Done);
    let script = vec![
        ("StartTransientUnit", vec![error("1", EXISTS)]),
        ("ResetFailedUnit", vec![error("2", NOT_THERE[0])]),
        ("StartTransientUnit", vec![error("3", EXISTS)]),
    ];
    assert_eq!(Systemd::new("exists", script).asked(&start()).0, Answer::Exists);
}

#[test]
fn a_failed_job_says_its_result() {
    let script = vec![
        ("StartTransientUnit", vec![returned("1"), removed(JOB, "failed")]),
        ("ResetFailedUnit", vec![message(2, &[(5, "u", "2")], None, &[])]),
    ];
    let answer = Systemd::new("failed", script).asked(&start()).0;
    assert_eq!(answer, Answer::Failed("its job ended with \"failed\"".to_owned()));
    let script = vec![("StartTransientUnit", vec![error("1", "org.freedesktop.DBus.Error.AccessDenied")])];
    let answer = Systemd::new("denied", script).asked(&start()).0;
    assert_eq!(answer, Answer::Failed("org.freedesktop.DBus.Error.AccessDenied: a reason".to_owned()));
}

#[test]
fn stopping_a_missing_unit_succeeds() {
    let script = vec![("StopUnit", vec![NO_SUCH_UNIT.to_vec()]), ("ResetFailedUnit", vec![error("2", NOT_THERE[0])])];
    let request = Request::Stop { unit: "nobody.scope".to_owned() };
    let (answer, heard) = Systemd::new("gone", script).asked(&request);
    assert_eq!(answer, Answer::Done);
    assert_eq!(heard[0], STOP_UNIT);
}

#[test]
fn a_silent_or_garbled_systemd_is_a_failure() {
    let short = {
        let mut cut = NO_SUCH_UNIT.to_vec();
        // A header field longer than the header.
        cut[29] = 0xff;
        cut
    };
    let lies = [
        (vec![], "not answered in time"),
        (vec![short], "not understood"),
        (vec![b"B\x03\x01\x01\0\0\0\0\0\0\0\0\0\0\0\0".to_vec()], "not understood"),
        (vec![b"l\x03\x01\x01\xff\xff\xff\xff\0\0\0\0\0\0\0\0".to_vec()], "not understood"),
    ];
    for (answers, word) in lies {
        let begin = Instant::now();
        let systemd = Systemd::new("silence", vec![("StopUnit", answers)]);
        let answer = systemd.asked(&Request::Stop { unit: "a.scope".to_owned() }).0;
        assert!(matches!(&answer, Answer::Failed(text) if text.contains(word)), "{word}: {answer:?}");
        assert!(begin.elapsed() < Duration::from_secs(5));
    }
    let nobody = carry_out(Path::new("/nonexistent"), &start(), Duration::from_secs(1));
    assert!(matches!(nobody, Answer::Failed(text) if text.starts_with("/nonexistent: ")));
}
