//! File calls for which wasmtime-wasi's answer differs from a native container's.
//!
//! wasmtime-wasi follows no link to an absolute path, of which images have many (`/var/run`), and reports each error number that it does
//! not know (of a read-only mount, of another mount) as an I/O error. So a call that it refuses in these ways is made once more. Some calls
//! skip it altogether: it takes no name that is not UTF-8 (a module of preview 1 has such names), makes and removes `name/` under another
//! name, and opens no file without waiting.
//!
//! ```text
//! call --> wasmtime-wasi --> any other answer goes to the guest
//!   |          `--> "not permitted", "input or output error"
//!   '-----------------> links followed by hand (links)
//!                              |--> a component opens a file, or looks at one: wasmtime-wasi again, with a path without links
//!                              `--> any other call: the kernel, below the folder that was found (kernel)
//! ```
//!
//! The guest stays confined as before. The kernel confines it: the process's root is the container's, and no path leads out of it. So does
//! wasmtime-wasi's rule that a descriptor gives access to what lies below it: links lead from the root only below the root that the guest
//! was given at its start, and the final open goes beneath that root, without magic links, whatever has become of the path meanwhile. Any
//! other call is wasmtime-wasi's alone and costs what it did.

mod descriptors;
mod kernel;
mod names;
mod open;
mod opened;
mod poll;
mod preview1;
mod preview2;
mod refused;
mod times;
mod vectors;

use wasmtime::{Linker, Result};

pub(crate) use opened::Preview1;
pub(crate) use preview2::add_types_to_linker;

/// Replaces wasmtime-wasi's functions of preview 1; the linker must allow shadowing.
pub(crate) fn add_to_linker(linker: &mut Linker<Preview1>) -> Result<()> {
    preview1::add_to_linker(linker)?;
    open::add_to_linker(linker)?;
    descriptors::add_to_linker(linker)
}
