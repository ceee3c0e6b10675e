//! Programs that are measured for their starts.

use catamaran_harness::guests;

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Some hundred bytes.
    Hello,
    /// Some 20 kB, from C.
    C,
    /// 6 MB, from Go.
    Go,
}

impl Start {
    /// All, in the order of the table.
    pub const ALL: [Self; 3] = [Self::Hello, Self::C, Self::Go];

    /// The program in a few words.
    pub fn title(self) -> &'static str {
        match self {
            Self::Hello => "hello, 180 bytes of Wasm",
            Self::C => "a program in C, 20 kB",
            Self::Go => "a program in Go, 6 MB",
        }
    }

    /// Its module.
    pub fn module(self) -> Vec<u8> {
        match self {
            Self::Hello => guests::wat("hello"),
            Self::C => guests::c("compute"),
            Self::Go => guests::go("report"),
        }
    }

    /// Its arguments.
    pub fn words(self) -> &'static [&'static str] {
        match self {
            Self::Hello => &[],
            Self::C => &["fib", "1"],
            Self::Go => &["two words"],
        }
    }
}
