//! The programs that the tests run, from `tests/guests`.
//!
//! - WAT: `hello both args env exit cat spin sleep trap write read hog`, WASI preview 1, assembled on request.
//! - The native peer: the same programs as an ELF, for the same test on runc.
//! - Go: `kitchen`, one program with subcommands, built for `wasip1`; tools of Go itself.
//! - C, in `tests/guests/c`: the kitchen again, `compute`, `errors` (the kernel's refusals), `churn` (many files) and others; each for
//!   preview 1, for WASIX and as a native program.
//! - C, in `tests/guests/wasix`: the features that only WASIX has, threads, sockets, fork and signals.
//! - C, in `tests/guests/http`: a component that serves HTTP.
//! - busybox, for native containers: fetched, see `provision-busybox`.
//!
//! Products are kept in `CATAMARAN_CACHE/guests`, by a digest of the source with its headers and the compiler's version. The C compiler for
//! Wasm is fetched, see `provision-clang`.

mod built;
mod busybox;
mod c;
mod component;
mod go;
mod http;
mod large;
mod rust;

use std::fs;
use std::path::{Path, PathBuf};

use crate::image::Image;
use crate::runtime::Runtime;

pub(crate) use built::kept;
pub use busybox::busybox;
pub(crate) use c::wasm_ld;
pub use c::{c, clang, native, peer, wasix};
pub(crate) use component::{ADAPTER, component};
pub(crate) use go::{GO_STAYS_HOME, go_version};
pub use go::{go, go_native, go_root, go_test, go_tool};
pub use http::{http, http_3, http_of};
pub use large::{idle_of_size, large, of_size};
pub(crate) use rust::Rust;

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../guests").join(name)
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()))
}

/// A module from `tests/guests/NAME.wat`.
pub fn wat(name: &str) -> Vec<u8> {
    wat_file(&source(&format!("{name}.wat")))
}

/// Assembles a module from a file of text.
pub fn wat_file(path: &Path) -> Vec<u8> {
    wat::parse_file(path).unwrap_or_else(|error| panic!("{error}"))
}

/// An image whose entrypoint is `/NAME`: the module for Catamaran, the native peer for runc.
pub fn image(runtime: Runtime, name: &str) -> Image {
    let path = format!("/{name}");
    let (program, suffix) = match runtime {
        Runtime::Catamaran => (wat(name), "wasm"),
        Runtime::Runc => (peer(), "native"),
    };
    Image::new(&format!("{name}-{suffix}")).file(&path, program).entrypoint([&path])
}

/// The image of the module `tests/guests/NAME.wat`, whose entrypoint is `/NAME`.
pub fn wasm(name: &str) -> Image {
    image(Runtime::Catamaran, name)
}

/// The output of `hello`.
pub fn greeting(runtime: Runtime) -> &'static str {
    match runtime {
        Runtime::Catamaran => "hello from wasm\n",
        Runtime::Runc => "hello from native\n",
    }
}

/// An image whose entrypoint is `/NAME.wasm`, with this module.
pub fn of(name: &str, module: impl AsRef<[u8]>) -> Image {
    let path = format!("/{name}.wasm");
    Image::new(name).file(&path, module).entrypoint([&path])
}

/// The image of the Go kitchen.
pub fn kitchen() -> Image {
    of("kitchen", go("kitchen"))
}

#[cfg(test)]
mod tests {
    use super::wat;

    #[test]
    fn every_wat_guest_assembles() {
        for name in ["hello", "both", "args", "env", "exit", "cat", "spin", "sleep", "trap", "write", "read", "hog"] {
            assert_eq!(&wat(name)[..8], b"\0asm\x01\0\0\0", "{name}");
        }
    }
}
