//! The holder: the process of a pod's sandbox container, which keeps the namespaces that the other containers join. It needs
//! no image.
//!
//! The helper's action `hold` is started like a worker, with a job (`shim/worker/src/hold.rs`). It confines itself in the new
//! namespaces and becomes the holder's small program (`shim/holder`).

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

/// The annotation by which CRI marks the pod's sandbox container.
const KIND: &str = "io.kubernetes.cri.container-type";
const SANDBOX: &str = "sandbox";

/// Whether the spec asks for a holder: its container is the pod's first.
pub(crate) fn keeps(spec: &Spec) -> bool {
    spec.annotations().as_ref().is_some_and(is_asked_for)
}

/// Does the same as [`keeps`], by the annotations alone.
pub(crate) fn is_asked_for(annotations: &HashMap<String, String>) -> bool {
    annotations.get(KIND).is_some_and(|kind| kind == SANDBOX)
}

/// Adds a holder's root: an empty folder.
pub(crate) fn root(descriptors: &mut Handover) -> Result<Fd> {
    let root = catamaran_worker::empty_root().doing(|| "making the holder's root".to_owned())?;
    Ok(descriptors.add(root))
}

/// Adds the holder's program, which takes the place of machine code in its job.
pub(crate) fn program(descriptors: &mut Handover) -> Result<Fd> {
    let program = Program::open(PROGRAM)?;
    Ok(descriptors.add(File::open(program.link()).on(program.path())?.into()))
}

/// Turns a container's job into a holder's. Drops all that a spec takes from an image, because a holder has no image.
pub(crate) fn narrow(draft: &mut JobDraft, id: &str) {
    draft.guest.args = vec![PROGRAM.to_owned(), id.to_owned()];
    draft.guest.env = Vec::new();
    draft.guest.cwd = "/".to_owned();
    draft.world.root.readonly = true;
    draft.world.masked = Vec::new();
    draft.world.readonly = Vec::new();
    // The holder's own filter allows less than any profile under which a program can run.
    draft.seccomp = None;
}
