//! Fuzz targets: the code that reads foreign input, given any bytes. A target panics on a finding; `make fuzz` looks for one, and
//! `tests/corpus.rs` replays earlier findings and valid inputs.
//!
//! ```text
//! target        reads                                     and is compared with
//! annotations   a pod's annotations, a server's variables the bounds of docs/reference.md
//! config        config.json                               -
//! dns           a server's messages, hosts, resolv.conf   -
//! job           the messages between shim and worker      the same message, written again
//! manifest      an image's documents, on both sides       the driver's reading of the reader's message
//! options       a handler's options                       -
//! seccomp       a profile, compiled                       the profile's rules, evaluated one by one
//! tree          a path in a container's tree              openat2(2)
//! ```
//!
//! All of them have three bounds: of memory ([`meter`]), of time (libFuzzer's), and of the text about the input ([`told`]).

mod annotations;
pub mod bpf;
mod calls;
mod config;
mod dns;
mod job;
mod lines;
mod manifest;
pub mod meter;
mod options;
pub mod profile;
pub mod seccomp;
mod told;
pub mod tree;

/// Whether the reader accepted the whole input.
pub type Taken = bool;

/// Reads an input.
pub type Target = fn(&[u8]) -> Taken;

/// All targets by their names.
pub const TARGETS: [(&str, Target); 8] = [
    ("annotations", annotations::target),
    ("config", config::target),
    ("dns", dns::target),
    ("job", job::target),
    ("manifest", manifest::target),
    ("options", options::target),
    ("seccomp", seccomp::target),
    ("tree", tree::target),
];

/// Gives the input to a target.
///
/// # Panics
/// On a finding.
pub fn run(target: Target, input: &[u8]) -> Taken {
    meter::bounded(input.len(), || target(input))
}
