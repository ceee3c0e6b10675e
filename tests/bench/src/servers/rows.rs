//! The measurements of servers.

use std::fmt;

use bytes::Bytes;

use super::OVERLOAD;
use crate::rows::{InWords, Words};

/// A kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Work {
    Hello,
    Echo,
    Body,
    /// A long body in both directions at once.
    Stream,
    /// The guest makes one request of its own and passes its answer on.
    Outgoing,
}

impl Work {
    pub(crate) const ALL: &[Self] = &[Self::Hello, Self::Echo, Self::Body, Self::Stream, Self::Outgoing];
    /// The answers of the guest of WASI 0.3, tests/guests/http/service.c.
    pub(crate) const OF_WASI_3: &[Self] = &[Self::Hello, Self::Echo, Self::Stream];
    /// The answers of the native servers.
    pub(crate) const NATIVE: &[Self] = &[Self::Hello, Self::Echo, Self::Body, Self::Stream];

    /// The path, and the body to send.
    pub(crate) fn request(self) -> (&'static str, Bytes) {
        static SENT: [u8; 1_000_000] = [b'x'; 1_000_000];
        match self {
            Self::Hello => ("/hello", Bytes::new()),
            Self::Echo => ("/echo", Bytes::from_static(&SENT[..10_000])),
            Self::Body => ("/bytes?1000000", Bytes::new()),
            Self::Stream => ("/echo", Bytes::from_static(&SENT)),
            // The port is `UPSTREAM_PORT`.
            Self::Outgoing => ("/fetch?http://127.0.0.1:8081/hello", Bytes::new()),
        }
    }

    /// The word in names.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Hello => "hello",
            Self::Echo => "echo",
            Self::Body => "body",
            Self::Stream => "stream",
            Self::Outgoing => "outgoing",
        }
    }

    /// Whether the body of an answer is the expected one; each guest's greeting differs.
    pub(crate) fn is_answer(self, body: &[u8]) -> bool {
        match self {
            Self::Hello | Self::Outgoing => body.starts_with(b"hello from "),
            Self::Echo => body.len() == 10_000,
            Self::Body | Self::Stream => body.len() == 1_000_000,
        }
    }
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hello => "hello",
            Self::Echo => "echo of 10 kB",
            Self::Body => "body of 1 MB",
            Self::Stream => "echo of 1 MB",
            Self::Outgoing => "outgoing request",
        })
    }
}

/// A row of the servers' table. The order here is the table's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ServerRow {
    /// With this number of connections, each of which sends its next request as soon as it has the answer to the last.
    Load(Work, usize, Figure),
    Overload(Overload),
    Cold,
    Warm,
    IdlePss,
    IdlePssAll,
    LoadedPss,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Figure {
    PerProcessorSecond,
    PerSecond,
    P50,
    P99,
    NotAnswered,
}

impl Figure {
    pub(super) const ALL: [Self; 5] =
        [Self::PerProcessorSecond, Self::PerSecond, Self::P50, Self::P99, Self::NotAnswered];
}

impl Overload {
    pub(super) const ALL: [Self; 3] = [Self::PerSecond, Self::P99, Self::NotAnswered];
}

/// Ten times as many concurrent requests as our server's limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Overload {
    PerSecond,
    P99,
    NotAnswered,
}

impl InWords for ServerRow {
    fn words(self) -> Words {
        let (title, unit, decimals, goal) = match self {
            Self::Load(work, connections, Figure::PerProcessorSecond) => (
                format!("{work}, {connections} at once: requests a CPU-second of the server"),
                "1/s",
                0,
                if (work, connections) == (Work::Hello, 64) { ">= 1.3 x serve" } else { ">= 1 x serve" },
            ),
            Self::Load(_, _, Figure::PerSecond) => ("- requests a second".to_owned(), "1/s", 0, ""),
            Self::Load(_, _, Figure::P50) => ("- half of them within".to_owned(), "ms", 2, ""),
            Self::Load(_, _, Figure::P99) => ("- 99 % of them within".to_owned(), "ms", 2, ""),
            Self::Load(_, _, Figure::NotAnswered) => ("- not answered".to_owned(), "%", 1, ""),
            Self::Overload(Overload::PerSecond) => {
                (format!("hello, {OVERLOAD} at once: answered a second"), "1/s", 0, "")
            }
            Self::Overload(Overload::P99) => ("- 99 % of the answered within".to_owned(), "ms", 1, ""),
            Self::Overload(Overload::NotAnswered) => ("- refused, with 503 by ours".to_owned(), "%", 1, ""),
            Self::Cold => ("Create to the first answer, empty cache".to_owned(), "ms", 1, ""),
            Self::Warm => ("Create to the first answer".to_owned(), "ms", 1, "<= 40"),
            Self::IdlePss => ("idle server of 20: PSS in the container".to_owned(), "MB", 2, ""),
            Self::IdlePssAll => ("- and with the shim".to_owned(), "MB", 2, "<= 2.5"),
            Self::LoadedPss => ("hello, 64 at once: PSS in the container".to_owned(), "MB", 2, ""),
        };
        Words { title: title.into(), unit, decimals, goal }
    }
}
