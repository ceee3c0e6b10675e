//! A pod's sandbox container: created as any other, with a holder in place of a worker.

use std::os::fd::AsFd;
use std::path::Path;
use std::time::Instant;

use log::{info, warn};

use super::create::{bring_up, make_job};
use super::{Container, Request, clean_up, open_streams};
use crate::cgroup::Cgroup;
use crate::cleanup::state::{Folder, State};
use crate::container::holder;
use crate::container::spawn::{self, Failure, Worker};
use crate::error::{Error, Result};
use crate::files::handover::Handover;
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
    let mut job = make_job(bundle, &mut descriptors, root, Vec::new(), streams)?;
    holder::make_job(&mut job, id, &mut descriptors)?;
    cgroup.create()?;
    job.cgroup = cgroup.folder_to_clone_into()?.map(|folder| descriptors.add(folder));
    let start = spawn::Start {
        // By this link the child starts the program that runs here, also after an upgrade has replaced its file.
        program: Path::new("/proc/self/exe"),
        name: "containerd-shim-catamaran-v1",
        action: Some(holder::ACTION),
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
        Failure::Final(e) => cgroup.explain(e),
        Failure::Artifact(text) => Error::Worker(text),
    })
}
