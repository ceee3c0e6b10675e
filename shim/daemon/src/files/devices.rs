//! The default devices of a container (OCI runtime spec, "Default Devices") that a Wasm guest can use, and the links to its streams that
//! every runtime makes beside them (`runtime-linux.md`, "Dev symbolic links").
//!
//! Each device is a bind mount of the host's device file: no mknod is needed, and every other mount is `nodev`. The links lead
//! into a procfs that a Wasm container does not have; the engines resolve them themselves.

use std::ffi::CStr;

use catamaran_files::handover::Handover;
use catamaran_worker::job::{Mount, Source};

use crate::error::{Doing, Result};

const DEVICES: [&CStr; 5] = [c"/dev/null", c"/dev/zero", c"/dev/full", c"/dev/random", c"/dev/urandom"];

/// The path and the target of each link.
const LINKS: [(&str, &str); 4] = [
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
];

/// Returns the mounts of the devices and the links, to follow the spec's own `mounts`. Returns none if the spec binds a host's folder to
/// `/dev`, because files would have to be made in that folder.
pub(crate) fn prepare(mounts: &[Mount], handover: &mut Handover) -> Result<Vec<Mount>> {
    if mounts.iter().any(|mount| mount.destination == "/dev" && matches!(mount.source, Source::Tree { .. })) {
        return Ok(Vec::new());
    }
    let link = |(at, to): (&str, &str)| Mount { destination: at.into(), source: Source::Link { target: to.into() } };
    DEVICES.iter().map(|path| prepare_one(path, handover)).chain(LINKS.map(link).map(Ok)).collect()
}

fn prepare_one(path: &CStr, handover: &mut Handover) -> Result<Mount> {
    let destination = path.to_string_lossy().into_owned();
    let tree = catamaran_worker::devices::readonly(path).on(&destination)?;
    Ok(Mount { destination, source: Source::Tree { fd: handover.add(tree), folder: false, later: None } })
}
