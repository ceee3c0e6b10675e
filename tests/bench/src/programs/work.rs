//! The programs that are measured for their own speed, in C, the same source everywhere: native, by `cc -O2`, and as modules.

use catamaran_harness::{Engine, guests};

/// What one of them does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Work {
    /// A function that calls itself twice.
    Fib,
    /// Ackermann's function.
    Recursion,
    /// Calls through a pointer in each object.
    Shapes,
    /// A heap sort whose comparison is a parameter.
    Sort,
    /// Trees that are made, counted and freed.
    Trees,
    /// Floating point without memory.
    Mandelbrot,
    /// Floating point with memory.
    Matrix,
    /// Integers in registers.
    Sha256,
    /// Integers by SIMD.
    ChaCha,
    /// Floating point by SIMD.
    Floats,
    /// Loads and stores all over 8 MB.
    Table,
    /// Copies of some hundred bytes.
    Copy,
    /// `longjmp`, which is Wasm's exceptions.
    Jumps,
    /// Reading the clock.
    Clock,
    /// Random bytes.
    Random,
    /// Asking for a file's size.
    Stat,
    /// Listing a folder, from open to close.
    List,
    /// A small file, opened, read and closed.
    Open,
    /// Reading 64 bytes of an open file.
    Read,
    /// Mandelbrot by two threads, or by the one that there is.
    Threads,
}

/// A work's program: a source in `tests/guests/c`, and its arguments.
struct Program {
    guest: &'static str,
    words: [&'static str; 2],
}

impl Work {
    /// All, in the order of the tables.
    pub const ALL: [Self; 20] = [
        Self::Fib,
        Self::Recursion,
        Self::Shapes,
        Self::Sort,
        Self::Trees,
        Self::Mandelbrot,
        Self::Matrix,
        Self::Sha256,
        Self::ChaCha,
        Self::Floats,
        Self::Table,
        Self::Copy,
        Self::Jumps,
        Self::Clock,
        Self::Random,
        Self::Stat,
        Self::List,
        Self::Open,
        Self::Read,
        Self::Threads,
    ];

    /// The work in a few words.
    pub fn title(self) -> &'static str {
        match self {
            Self::Fib => "fib(38), small functions",
            Self::Recursion => "Ackermann, deep recursion",
            Self::Shapes => "methods, calls through pointers",
            Self::Sort => "heap sort with a callback",
            Self::Trees => "trees, malloc and free",
            Self::Mandelbrot => "Mandelbrot, floating point",
            Self::Matrix => "matrix product",
            Self::Sha256 => "SHA-256",
            Self::ChaCha => "ChaCha20, SIMD integers",
            Self::Floats => "filter, SIMD floating point",
            Self::Table => "hash table of 8 MB",
            Self::Copy => "copies of 16 to 271 bytes",
            Self::Jumps => "longjmp, exceptions",
            Self::Clock => "reading the clock",
            Self::Random => "16 random bytes",
            Self::Stat => "asking for a file's size",
            Self::List => "listing a folder",
            Self::Open => "opening, reading and closing a small file",
            Self::Read => "reading 64 bytes of an open file",
            Self::Threads => "Mandelbrot by two threads",
        }
    }

    fn program(self) -> Program {
        let (guest, words) = match self {
            Self::Fib => ("compute", ["fib", "38"]),
            Self::Recursion => ("calls", ["recursion", "10"]),
            Self::Shapes => ("calls", ["shapes", "8000"]),
            Self::Sort => ("calls", ["sort", "10"]),
            Self::Trees => ("calls", ["trees", "100"]),
            Self::Mandelbrot => ("compute", ["mandelbrot", "800"]),
            Self::Matrix => ("memory", ["matrix", "10"]),
            Self::Sha256 => ("compute", ["sha256", "40000"]),
            Self::ChaCha => ("vector", ["chacha", "400"]),
            Self::Floats => ("vector", ["floats", "40"]),
            Self::Table => ("memory", ["table", "4000"]),
            Self::Copy => ("memory", ["copy", "4000"]),
            Self::Jumps => ("jumps", ["near", "50000"]),
            Self::Clock => ("system", ["clock", "500000"]),
            Self::Random => ("system", ["random", "100000"]),
            Self::Stat => ("system", ["stat", "20000"]),
            Self::List => ("system", ["list", "5000"]),
            Self::Open => ("system", ["open", "10000"]),
            Self::Read => ("system", ["read", "50000"]),
            Self::Threads => ("parallel", ["two", "800"]),
        };
        Program { guest, words }
    }

    /// The name of the source in `tests/guests/c`.
    pub fn guest(self) -> &'static str {
        self.program().guest
    }

    /// The program's arguments.
    pub fn words(self) -> [&'static str; 2] {
        self.program().words
    }

    /// Whether Wasmer gets the program as a WASIX module, because preview 1 has no threads.
    pub fn is_wasix(self) -> bool {
        self == Self::Threads
    }

    /// The module for an engine.
    pub fn module(self, engine: Engine) -> Vec<u8> {
        match engine {
            Engine::Wasmer if self.is_wasix() => guests::wasix(self.guest()),
            _ => guests::c(self.guest()),
        }
    }
}
