//! A pod's sandbox container: created as any other, with a holder in place of a worker.

use std::os::fd::AsFd;
use std::time::Instant;

use catamaran_cgroup::Cgroup;
use catamaran_files::handover::Handover;
use catamaran_host::programs::{self, Program};
use log::{info, warn};

use super::create::bring_up;
use super::draft::JobDraft;
use super::{Container, Request, clean_up, open_streams};
use crate::cleanup::state::{Folder, State};
use crate::container::holder;
use crate::container::spawn::{self, Failure, Worker};
use crate::error::{Error, Result};
use crate::spec::bundle::Bundle;
use crate::stdio::Stdio;

impl Container {
    pub(super) async fn create_sandbox(request: Request, bundle: Bundle, begin: Instant) -> Result<Self> {
        let cgroup = Cgroup::plan(&bundle.cgroup, bundle.resources())?;
        let mut streams = open_streams(&request, &bundle)?;
        let mut state = State::new(cgroup.folders().to_vec());
        state.logger = streams.kept.logger();
        request.state.write(&request.id, &state)?;
        let holder = match start(&request.id, &bundle, &cgroup, &mut streams, (&request.state, &mut state)).await {
            Ok(holder) => holder,
            Err(e) => {
                let logger = streams.discard().map(|logger| (logger, tokio::time::Instant::now()));
                let left = (&request.state, request.id.as_str());
                if let Err(e) = clean_up(left, None, cgroup.folders(), logger, || state.poststop).await {
                    warn!("container {}: {e}", request.id);
                }
                return Err(e);
            }
        };
        let (id, pid) = (&request.id, holder.pid);
        info!("created id={id} holder pid={pid} milliseconds={}", begin.elapsed().as_millis());
        Ok(Self::made(request, bundle, cgroup, streams, holder, state))
    }
}

/// A holder, up to «ready».
async fn start(
    id: &str,
    bundle: &Bundle,
    cgroup: &Cgroup,
    streams: &mut Stdio,
    (states, state): (&Folder, &mut State),
) -> Result<Worker> {
    streams.ready().await?;
    let mut descriptors = Handover::default();
    let root = holder::root(&mut descriptors)?;
    let mut draft = JobDraft::new(bundle, &mut descriptors, root, Vec::new(), streams)?;
    holder::narrow(&mut draft, id);
    let program = holder::program(&mut descriptors)?;
    cgroup.create()?;
    let folder = cgroup.folder_to_clone_into()?.map(|folder| descriptors.add(folder));
    let job = draft.complete(program, folder);
    let start = spawn::Start {
        program: &Program::open(programs::HELPER)?,
        action: Some(programs::HOLD),
        id,
        module: "the pod's sandbox container",
        job: &job,
        descriptors: &descriptors,
        cgroup,
        further: false,
        stdout: streams.stdout.as_fd(),
        stderr: streams.stderr.as_fd(),
    };
    bring_up(start, bundle, states, state).await.map_err(|failure| match failure {
        Failure::Final(e) => spawn::explained(cgroup, e),
        Failure::Artifact(text) => Error::Worker(text),
    })
}
