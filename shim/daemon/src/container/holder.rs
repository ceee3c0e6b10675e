//! The holder: the process of a pod's sandbox container, which keeps the namespaces that the others join. No image is
//! mounted or run for it.
//!
//! It is started as a worker is, with a job (`shim/worker/src/hold.rs`), by the shim's own executable. That confines itself
//! in the new namespaces and becomes the holder's small program (`shim/holder`).

use std::collections::HashMap;
use std::fs::File;

use catamaran_worker::job::{Fd, Job, World};

use crate::engine::beside_the_shim;
use crate::error::{Doing, Result};
use crate::files::handover::Handover;
use crate::spec::oci::Spec;

/// What the shim's executable is started with to become a holder.
pub(crate) const ACTION: &str = "hold";
/// The holder's program, which lies beside the shim's own.
const PROGRAM: &str = "catamaran-holder";

/// By these CRI says what a container is to its pod.
const KIND: &str = "io.kubernetes.cri.container-type";
const SANDBOX: &str = "sandbox";

/// Whether a holder is what the spec asks for: it is a pod's first container.
pub(crate) fn keeps(spec: &Spec) -> bool {
    spec.annotations().as_ref().is_some_and(is_asked_for)
}

/// The same by the spec's annotations alone.
pub(crate) fn is_asked_for(annotations: &HashMap<String, String>) -> bool {
    annotations.get(KIND).is_some_and(|kind| kind == SANDBOX)
}

/// A holder's root: empty.
pub(crate) fn root(descriptors: &mut Handover) -> Result<Fd> {
    let root = catamaran_worker::empty_root().doing(|| "making the holder's root".to_owned())?;
    Ok(descriptors.add(root))
}

/// Makes a holder's job of a container's. What the spec says of the image is not for it: there is none.
pub(crate) fn make_job(job: &mut Job, id: &str, descriptors: &mut Handover) -> Result<()> {
    let program = beside_the_shim(PROGRAM)?;
    job.artifact = descriptors.add(File::open(&program).on(&program)?.into());
    job.guest.args = vec![PROGRAM.to_owned(), id.to_owned()];
    job.guest.env = Vec::new();
    if let World::New(world) = &mut job.world {
        world.root.readonly = true;
        world.masked = Vec::new();
        world.readonly = Vec::new();
    }
    // Its own is narrower than any profile that a program runs under.
    job.seccomp = None;
    Ok(())
}
