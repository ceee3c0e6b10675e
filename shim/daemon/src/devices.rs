//! The default devices of a container (OCI runtime spec, «Default Devices»), as far as a Wasm guest can use them.
//!
//! Each is a bind mount of the host's node: nothing is made by mknod, and every other mount is `nodev`.

use std::ffi::CStr;

use catamaran_worker::job::{Mount, Source};

use crate::error::{Doing, Result};
use crate::spawn::Handover;

const DEVICES: [&CStr; 5] = [c"/dev/null", c"/dev/zero", c"/dev/full", c"/dev/random", c"/dev/urandom"];

/// The devices' mounts, to come after those of the spec.
pub(crate) fn prepare(handover: &mut Handover) -> Result<Vec<Mount>> {
    DEVICES.iter().map(|path| prepare_one(path, handover)).collect()
}

fn prepare_one(path: &CStr, handover: &mut Handover) -> Result<Mount> {
    let destination = path.to_string_lossy().into_owned();
    let tree = catamaran_worker::devices::readonly(path).on(&destination)?;
    Ok(Mount { destination, source: Source::Tree { fd: handover.add(tree), folder: false } })
}
