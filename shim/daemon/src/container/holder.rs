//! The holder: the process of a pod's sandbox container, which keeps the namespaces that the others join. No image is
//! mounted or run for it.
//!
//! It is started as a worker is, with a job (`shim/worker/src/hold.rs`), by the helper. That confines itself
//! in the new namespaces and becomes the holder's small program (`shim/holder`).

use std::collections::HashMap;
use std::fs::File;

use catamaran_files::handover::Handover;
use catamaran_host::programs::Program;
use catamaran_worker::job::Fd;

use super::draft::JobDraft;
use crate::error::{Doing, Result};
use crate::spec::oci::Spec;

/// The holder's program, which lies beside the shim's own.
pub(crate) const PROGRAM: &str = "catamaran-holder";

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

/// The holder's program, for a job in place of machine code.
pub(crate) fn program(descriptors: &mut Handover) -> Result<Fd> {
    let program = Program::open(PROGRAM)?;
    Ok(descriptors.add(File::open(program.link()).on(program.path())?.into()))
}

/// Makes a holder's job of a container's. What the spec says of the image is not for it: there is none.
pub(crate) fn narrow(draft: &mut JobDraft, id: &str) {
    draft.guest.args = vec![PROGRAM.to_owned(), id.to_owned()];
    draft.guest.env = Vec::new();
    draft.guest.cwd = "/".to_owned();
    draft.world.root.readonly = true;
    draft.world.masked = Vec::new();
    draft.world.readonly = Vec::new();
    // Its own is narrower than any profile that a program runs under.
    draft.seccomp = None;
}
