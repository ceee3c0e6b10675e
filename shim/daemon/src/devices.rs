//! The default devices of a container (OCI runtime spec, «Default Devices»), as far as a Wasm guest can use them.
//!
//! Each is a bind mount of the host's node: nothing is made by mknod, and every other mount is `nodev`.

use std::ffi::CStr;

use catamaran_worker::job::{Mount, Source};

use crate::error::{Doing, Result};
use crate::spawn::Handover;

const DEVICES: [&CStr; 5] = [c"/dev/null", c"/dev/zero", c"/dev/full", c"/dev/random", c"/dev/urandom"];

/// The devices' mounts, to come after those of the spec, which are `mounts`. None where the spec binds a folder of the
/// host's to `/dev`: files for them would have to be made in it.
pub(crate) fn prepare(mounts: &[Mount], handover: &mut Handover) -> Result<Vec<Mount>> {
    if mounts.iter().any(|mount| mount.destination == "/dev" && matches!(mount.source, Source::Tree { .. })) {
        return Ok(Vec::new());
    }
    DEVICES.iter().map(|path| prepare_one(path, handover)).collect()
}

fn prepare_one(path: &CStr, handover: &mut Handover) -> Result<Mount> {
    let destination = path.to_string_lossy().into_owned();
    let tree = catamaran_worker::devices::readonly(path).on(&destination)?;
    Ok(Mount { destination, source: Source::Tree { fd: handover.add(tree), folder: false, later: None } })
}
