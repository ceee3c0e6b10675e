//! The job of a container's first process, without the two parts that exist only later: its machine code and its cgroup.

use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use catamaran_files::handover::Handover;
use catamaran_worker::Guest;
use catamaran_worker::job::{self, Job};
use nix::libc;

use crate::engine::annotations::Key;
use crate::engine::http;
use crate::error::{Doing, Error, Result};
use crate::spec::bundle::Bundle;
use crate::stdio::Stdio;

/// The file system of namespaces' files (linux/magic.h).
const NSFS_MAGIC: i64 = 0x6e73_6673;

/// A job whose artifact and cgroup do not exist yet.
pub(crate) struct JobDraft {
    pub(crate) guest: Guest,
    pub(crate) world: job::NewWorld,
    pub(crate) seccomp: Option<job::Profile>,
    stdin: job::Fd,
    terminal: bool,
    user: job::User,
    rlimits: Vec<job::Rlimit>,
    oom_score_adj: Option<i32>,
    apparmor: Option<String>,
}

impl JobDraft {
    /// Drafts the job that the bundle asks for. `root` is the root file system, and `mounts` is all that is mounted in it.
    pub(super) fn new(
        bundle: &Bundle,
        descriptors: &mut Handover,
        root: job::Fd,
        mounts: Vec<job::Mount>,
        streams: &Stdio,
    ) -> Result<Self> {
        let stdin = streams.stdin.try_clone().doing(|| "handing over standard input".to_owned())?;
        Ok(Self {
            guest: bundle.guest.clone(),
            stdin: descriptors.add(stdin),
            terminal: bundle.spec.process().as_ref().and_then(|process| *process.terminal()).unwrap_or(false),
            world: make_world(bundle, descriptors, root, mounts)?,
            user: bundle.user.clone(),
            rlimits: bundle.rlimits.clone(),
            oom_score_adj: bundle.spec.process().as_ref().and_then(|p| *p.oom_score_adj()),
            seccomp: bundle.seccomp.clone(),
            apparmor: bundle.apparmor.clone(),
        })
    }

    /// Completes the job. `server` has the settings of an artifact that serves HTTP.
    ///
    /// # Errors
    /// If the pod's annotation for the server's certificate names no volume.
    pub(super) fn complete(
        mut self,
        artifact: job::Fd,
        cgroup: job::Cgroup,
        server: Option<job::Server>,
        rules: job::Rules,
    ) -> Result<Job> {
        if server.is_some() {
            http::without_consumed(&mut self.guest.env);
        }
        let folder = server.as_ref().and_then(|server| server.tls.as_deref());
        let certificate = folder.map(|folder| take_tree(&mut self.world.mounts, folder)).transpose()?;
        Ok(Job {
            guest: self.guest,
            stdin: self.stdin,
            terminal: self.terminal,
            artifact,
            cgroup,
            world: job::World::New(Box::new(self.world)),
            user: self.user,
            rlimits: self.rlimits,
            oom_score_adj: self.oom_score_adj,
            seccomp: self.seccomp,
            apparmor: self.apparmor,
            server,
            certificate,
            rules,
        })
    }
}

/// Takes the mount at `folder` out of `mounts`, so that the guest does not see that, and returns the mount's tree.
fn take_tree(mounts: &mut Vec<job::Mount>, folder: &str) -> Result<job::Fd> {
    let place = mounts.iter().rposition(|mount| mount.destination == folder);
    let found = place.map(|place| mounts.remove(place).source);
    let instead = match found {
        Some(job::Source::Tree { fd, folder: true, .. }) => return Ok(fd),
        Some(job::Source::Tree { .. }) => "a file is mounted there",
        Some(_) => "no volume is mounted there",
        None => "nothing is mounted there",
    };
    Err(Error::refused(
        format!("annotation {}", Key::TLS),
        format!("{folder:?}, and {instead}"),
        "the mountPath of a volume that holds the secret, which the guest then does not see",
    ))
}

fn make_world(
    bundle: &Bundle,
    descriptors: &mut Handover,
    root: job::Fd,
    mounts: Vec<job::Mount>,
) -> Result<job::NewWorld> {
    let mut namespaces = Vec::new();
    for namespace in &bundle.namespaces {
        let join = match &namespace.path {
            Some(path) => Some(descriptors.add(open_namespace(path)?)),
            None => None,
        };
        namespaces.push(job::Namespace { kind: namespace.kind, join });
    }
    let linux = bundle.spec.linux().as_ref();
    Ok(job::NewWorld {
        namespaces,
        hostname: bundle.spec.hostname().clone().filter(|name| !name.is_empty()),
        domainname: bundle.spec.domainname().clone().filter(|name| !name.is_empty()),
        sysctl: linux.and_then(|l| l.sysctl().clone()).unwrap_or_default().into_iter().collect(),
        root: job::Root {
            tree: root,
            at: bundle.path.join("rootfs").to_string_lossy().into_owned(),
            readonly: bundle.spec.root().as_ref().and_then(|r| r.readonly()).unwrap_or(false),
        },
        mounts,
        masked: linux.and_then(|l| l.masked_paths().clone()).unwrap_or_default(),
        readonly: linux.and_then(|l| l.readonly_paths().clone()).unwrap_or_default(),
        hooks: !bundle.hooks.create.is_empty(),
    })
}

/// Opens a namespace by its path, without waiting for a FIFO and without taking a terminal. Refuses every other file.
fn open_namespace(path: &Path) -> Result<OwnedFd> {
    let file =
        std::fs::File::options().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path).on(path)?;
    if rustix::fs::fstatfs(&file).on(path)?.f_type as i64 != NSFS_MAGIC {
        let place = format!("config.json: linux.namespaces: {}", path.display());
        return Err(Error::refused(place, "not a namespace", "a file such as /proc/PID/ns/net or one bound to it"));
    }
    Ok(file.into())
}
