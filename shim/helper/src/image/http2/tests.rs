use super::*;

/// A connection whose peer has said all this beforehand, and the peer's end of it.
fn peer(said: &[Vec<u8>]) -> (Http2, UnixStream) {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    theirs.write_all(&said.concat()).unwrap();
    let http = Http2::over(ours).unwrap();
    (http, theirs)
}

/// What the peer hears until the connection is dropped.
fn heard(http: Http2, mut theirs: UnixStream) -> Vec<u8> {
    drop(http);
    let mut bytes = Vec::new();
    theirs.read_to_end(&mut bytes).unwrap();
    bytes
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

fn ok() -> Vec<u8> {
    frame(kind::HEADERS, END_HEADERS, 1, &[0x88])
}

fn failure(said: &[Vec<u8>]) -> Http2Error {
    let (mut http, theirs) = peer(said);
    theirs.shutdown(std::net::Shutdown::Write).unwrap();
    let stream = http.ask(&[(":method", "POST")], b"body").unwrap();
    loop {
        if let Err(e) = http.next(stream) {
            return e;
        }
    }
}

#[test]
fn a_question_is_asked_and_answered() {
    let block = hpack::encode(&[("grpc-status", "0")]);
    let (first, rest) = block.split_at(5);
    let said = [
        frame(kind::SETTINGS, 0, 0, &[0, 5, 0, 0, 64, 0]),
        frame(kind::SETTINGS, ACK, 0, &[]),
        frame(kind::WINDOW_UPDATE, 0, 0, &[0, 0, 1, 0]),
        frame(kind::PING, 0, 0, b"12345678"),
        frame(0x77, 0xff, 1, b"from a later version"),
        frame(kind::HEADERS, END_HEADERS | PADDED | PRIORITY, 1, &[2, 0, 0, 0, 0, 0, 0x88, 0, 0]),
        frame(kind::DATA, 0, 1, b"some"),
        frame(kind::DATA, PADDED, 1, b"\x03thing\0\0\0"),
        frame(kind::HEADERS, END_STREAM, 1, first),
        frame(kind::CONTINUATION, END_HEADERS, 1, rest),
    ];
    let (mut http, theirs) = peer(&said);
    assert_eq!(http.ask(&[(":path", "/a")], b"body").unwrap(), 1);
    let (Part::Headers(fields), false) = http.next(1).unwrap() else { panic!("no headers") };
    assert_eq!((&fields[0].name[..], &fields[0].value[..]), (&b":status"[..], &b"200"[..]));
    let mut data = Vec::new();
    let trailers = loop {
        match http.next(1).unwrap() {
            (Part::Data(part), false) => data.extend(part),
            (Part::Headers(fields), true) => break fields,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(data, b"something");
    assert_eq!((&trailers[0].name[..], &trailers[0].value[..]), (&b"grpc-status"[..], &b"0"[..]));
    let heard = heard(http, theirs);
    assert!(heard.starts_with(PREFACE));
    for part in [
        frame(kind::SETTINGS, ACK, 0, &[]),
        frame(kind::PING, ACK, 0, b"12345678"),
        frame(kind::DATA, END_STREAM, 1, b"body"),
    ] {
        assert!(contains(&heard, &part), "{part:?} was not said");
    }
}

#[test]
fn an_answer_that_is_given_up_does_not_disturb_the_next() {
    let said = [
        ok(),
        frame(kind::DATA, 0, 1, b"much"),
        frame(kind::DATA, 0, 1, b"more"),
        frame(kind::HEADERS, END_HEADERS | END_STREAM, 1, &[0x88]),
        frame(kind::RST_STREAM, 0, 1, &[0, 0, 0, 8]),
        frame(kind::DATA, END_STREAM, 3, b"next"),
    ];
    let (mut http, theirs) = peer(&said);
    let first = http.ask(&[], b"").unwrap();
    http.next(first).unwrap();
    http.next(first).unwrap();
    http.cancel(first);
    let second = http.ask(&[], b"").unwrap();
    assert!(matches!(http.next(second).unwrap(), (Part::Data(data), true) if data == b"next"));
    assert!(contains(&heard(http, theirs), &frame(kind::RST_STREAM, 0, 1, &CANCEL.to_be_bytes())));
}

#[test]
fn a_peer_that_ends_or_breaks_the_rules_is_told_apart() {
    use Http2Error::{Closed, Protocol, Reset};
    assert!(matches!(failure(&[ok()]), Closed));
    assert!(matches!(failure(&[ok()[..5].to_vec()]), Closed));
    assert!(matches!(failure(&[frame(kind::RST_STREAM, 0, 1, &[0, 0, 0, 7])]), Reset(7)));
    assert!(matches!(failure(&[frame(kind::GOAWAY, 0, 0, &[0; 8])]), Closed));
    let broken = [
        // Larger than frames may be.
        vec![0, 0x40, 1, 0, 0, 0, 0, 0, 1],
        vec![0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1],
        frame(kind::PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2, 0x88]),
        frame(kind::CONTINUATION, END_HEADERS, 1, &[0x88]),
        frame(kind::HEADERS, END_HEADERS, 1, &[0xbe]),
        frame(kind::DATA, PADDED, 1, &[]),
        frame(kind::DATA, PADDED, 1, &[9, 0, 0]),
        frame(kind::HEADERS, END_HEADERS | PRIORITY, 1, &[0, 0]),
        frame(kind::RST_STREAM, 0, 1, &[0]),
        frame(kind::GOAWAY, 0, 0, &[]),
        frame(kind::SETTINGS, 0, 0, &[0, 4, 0]),
        frame(kind::SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 1]),
        [frame(kind::HEADERS, 0, 1, &[0x88]), frame(kind::DATA, 0, 1, b"x")].concat(),
        [frame(kind::HEADERS, 0, 1, &[0x88]), frame(kind::CONTINUATION, END_HEADERS, 3, &[])].concat(),
    ];
    for said in broken {
        let e = failure(std::slice::from_ref(&said));
        assert!(matches!(e, Protocol(_)), "{said:?}: {e}");
    }
    let endless = std::iter::once(frame(kind::HEADERS, 0, 1, &[]));
    let endless: Vec<_> = endless.chain((0..5).map(|_| frame(kind::CONTINUATION, 0, 1, &[0; LARGEST_FRAME]))).collect();
    assert!(matches!(failure(&endless), Protocol("a header block that is too large")));
}

#[test]
fn a_question_that_is_too_large_is_not_asked() {
    let (mut http, _theirs) = peer(&[]);
    assert!(http.ask(&[], &[0; LARGEST_QUESTION + 1]).is_err());
    assert!(http.ask(&[("name", &"x".repeat(LARGEST_QUESTION))], &[]).is_err());
    // Nor are more than fit in the window that the peer has for all of them.
    let asked = (0..20).map_while(|_| http.ask(&[], &[0; LARGEST_QUESTION]).ok()).count();
    assert_eq!(asked, FIRST_WINDOW as usize / LARGEST_QUESTION);
}
