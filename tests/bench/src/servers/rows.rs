//! What is measured of servers.

use std::fmt;

use bytes::Bytes;

use super::OVERLOAD;
use crate::rows::{InWords, Words};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Work {
    Hello,
    Echo,
    Body,
}

impl Work {
    pub(crate) const ALL: [Self; 3] = [Self::Hello, Self::Echo, Self::Body];

    /// The path, and what is sent.
    pub(crate) fn request(self) -> (&'static str, Bytes) {
        static SENT: [u8; 10_000] = [b'x'; 10_000];
        match self {
            Self::Hello => ("/hello", Bytes::new()),
            Self::Echo => ("/echo", Bytes::from_static(&SENT)),
            Self::Body => ("/bytes?1000000", Bytes::new()),
        }
    }

    /// For names.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Hello => "hello",
            Self::Echo => "echo",
            Self::Body => "body",
        }
    }

    /// Of the answer, in bytes.
    pub(crate) fn length(self) -> usize {
        match self {
            Self::Hello => "hello from http\n".len(),
            Self::Echo => 10_000,
            Self::Body => 1_000_000,
        }
    }
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hello => "hello",
            Self::Echo => "echo of 10 kB",
            Self::Body => "body of 1 MB",
        })
    }
}

/// A row of the servers' table. The order here is the table's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ServerRow {
    /// With so many connections, each of which asks again as soon as it is answered.
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

/// Ten times as many requests at once as a server of ours is told to handle.
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
