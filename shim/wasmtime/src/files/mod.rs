//! Files, where wasmtime-wasi's answer is not that of a container.
//!
//! It follows no link to an absolute path, of which images have many (`/var/run`), and what it does not know of the kernel's
//! error numbers it calls an error of input or output: a read-only mount, another mount. So whatever it refuses that way is
//! looked at once more. And of some calls it is not asked at all: it takes no name that is not UTF-8 (a module of preview 1 has
//! such names), makes and removes `name/` by another name, and opens nothing without waiting.
//!
//! ```text
//! call --> wasmtime-wasi --> any other answer: the guest's
//!   |          `--> «not permitted», «input or output error»
//!   '-----------------> links followed by hand (links)
//!                              |--> to open it, or to look at it, for a component: wasmtime-wasi again, with the path without links
//!                              `--> all else: the kernel, below the folder that was found (kernel)
//! ```
//!
//! What holds a guest is as before. The kernel: the process's root is the container's, and no path of it leads out. And
//! wasmtime-wasi's rule, that a descriptor gives what lies below it: only below the root that the guest was given at its
//! start links lead from the root, and what is opened in the end is opened beneath that, without magic links, whatever has
//! become of the path meanwhile. Any other call is wasmtime-wasi's alone and costs what it did.

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

use wasmtime::{Linker, Result};

pub(crate) use opened::Preview1;
pub(crate) use preview2::add_types_to_linker;

/// Defines the functions of preview 1 over wasmtime-wasi's, for which shadowing has to be allowed.
pub(crate) fn add_to_linker(linker: &mut Linker<Preview1>) -> Result<()> {
    preview1::add_to_linker(linker)?;
    open::add_to_linker(linker)?;
    descriptors::add_to_linker(linker)
}
