//! A pod's sandbox container: created like a Wasm container, with a holder in place of a worker.

use std::time::Instant;

use catamaran_files::handover::Handover;
use catamaran_host::programs::{self, Program};
use catamaran_worker::job::Rules;

use super::create::Creation;
use super::draft::JobDraft;
use super::{Container, Request};
use crate::container::holder;
use crate::container::line::{Event, Field, Line};
use crate::container::spawn::{self, Failure, Worker};
use crate::error::{Error, Result};
use crate::spec::bundle::Bundle;

impl Container {
    pub(super) async fn create_sandbox(request: Request, bundle: Bundle, begin: Instant) -> Result<Self> {
        let mut creation = Creation::begin(request, bundle)?;
        let holder = match creation.make_holder().await {
            Ok(holder) => holder,
            Err(e) => {
                creation.undo().await;
                return Err(e);
            }
        };
        let (id, pid) = (&creation.request.id, holder.pid);
        let line = Line::new(Event::Created, id).with_word(Field::Holder).with(Field::Pid, pid);
        line.with(Field::Milliseconds, begin.elapsed().as_millis()).log();
        Ok(Self::made(creation, holder))
    }
}

/// A holder runs no component.
const NO_RULES: Rules = Rules { wasi_p3: false, link_local_requests: false };

impl Creation {
    /// Starts a holder, and waits until it is ready.
    async fn make_holder(&mut self) -> Result<Worker> {
        self.streams.ready().await?;
        let mut descriptors = Handover::default();
        let root = holder::root(&mut descriptors)?;
        let mut draft = JobDraft::new(&self.bundle, &mut descriptors, root, Vec::new(), &self.streams)?;
        holder::narrow(&mut draft, &self.request.id);
        let program = holder::program(&mut descriptors)?;
        self.cgroup.create()?;
        let cgroup = spawn::ways_into(&self.cgroup, self.cgroup.folder_to_clone_into()?, &mut descriptors);
        let job = draft.complete(program, cgroup, None, NO_RULES)?;
        let helper = Program::open(programs::HELPER)?;
        let made =
            self.bring_up(&helper, Some(programs::HOLD), "the pod's sandbox container", &job, &descriptors).await;
        made.map_err(|failure| match failure {
            Failure::Final(e) => spawn::explained(&self.cgroup, e),
            Failure::Artifact(text) => Error::Worker(text),
        })
    }
}
