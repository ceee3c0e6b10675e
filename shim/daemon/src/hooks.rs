//! `hooks` of the spec: programs of the host that are told of a container's life, its state on their standard input (OCI
//! runtime spec, «POSIX-platform Hooks» and «Lifecycle»).
//!
//! ```text
//! namespaces made -> prestart, createRuntime -> tree entered ... Start -> poststart ... Delete -> poststop
//! ```
//!
//! Those that would run inside the container, createContainer and startContainer, are refused: nothing of the host's or an
//! image's is executed there.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use log::warn;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use oci_spec::runtime::{ContainerState, Hook, Spec, State, StateBuilder};
use rustix::fs::MemfdFlags;
use serde::{Deserialize, Serialize};

use crate::child;
use crate::error::{Doing, Error, Result};
use crate::shortage;

/// So much of what a failed hook wrote is told to the client.
const MOST_WORDS: u64 = 2048;

/// The hooks of one container, by the moment at which they run.
#[derive(Debug, Default)]
pub(crate) struct Hooks {
    /// `prestart`, then `createRuntime`.
    pub(crate) create: Stage,
    pub(crate) poststart: Stage,
    pub(crate) poststop: Stage,
}

/// The hooks of one moment, and what they are told.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stage {
    hooks: Vec<Named>,
    state: State,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Named {
    /// `createRuntime[0]`.
    name: String,
    hook: Hook,
}

impl Hooks {
    /// Checks the spec's hooks, for the container `id` with its bundle at `bundle`.
    pub(crate) fn of(spec: &Spec, id: &str, bundle: &Path) -> Result<Self> {
        let Some(hooks) = spec.hooks() else { return Ok(Self::default()) };
        for (key, list) in [("createContainer", hooks.create_container()), ("startContainer", hooks.start_container())]
        {
            if list.as_ref().is_some_and(|list| !list.is_empty()) {
                let expected = "createRuntime, poststart or poststop: nothing is executed inside a Wasm container";
                return Err(refused(key, "set", expected));
            }
        }
        let state = |status| {
            StateBuilder::default()
                .version(spec.version())
                .id(id)
                .status(status)
                .bundle(bundle)
                .annotations(spec.annotations().clone().unwrap_or_default())
                .build()
                .map_err(|e| refused("", e.to_string(), "hooks"))
        };
        let stage = |status, lists: &[(&str, &Option<Vec<Hook>>)]| {
            let mut all = Vec::new();
            for (key, list) in lists {
                for (index, hook) in list.iter().flatten().enumerate() {
                    let name = format!("{key}[{index}]");
                    check(&name, hook)?;
                    all.push(Named { name, hook: hook.clone() });
                }
            }
            Ok(if all.is_empty() { Stage::default() } else { Stage { hooks: all, state: state(status)? } })
        };
        #[allow(deprecated, reason = "containerd and its plugins still write prestart hooks")]
        let prestart = hooks.prestart();
        Ok(Self {
            create: stage(
                ContainerState::Creating,
                &[("prestart", prestart), ("createRuntime", hooks.create_runtime())],
            )?,
            poststart: stage(ContainerState::Running, &[("poststart", hooks.poststart())])?,
            poststop: stage(ContainerState::Stopped, &[("poststop", hooks.poststop())])?,
        })
    }
}

fn refused(key: &str, found: impl Into<String>, expected: &str) -> Error {
    Error::refused(format!("config.json: hooks.{key}"), found, expected)
}

fn check(name: &str, hook: &Hook) -> Result<()> {
    if !hook.path().is_absolute() {
        return Err(refused(&format!("{name}.path"), hook.path().display().to_string(), "an absolute path"));
    }
    if hook.timeout().is_some_and(|seconds| seconds <= 0) {
        let found = hook.timeout().unwrap_or_default().to_string();
        return Err(refused(&format!("{name}.timeout"), found, "more than 0 seconds"));
    }
    if hook.env().iter().flatten().any(|entry| !entry.contains('=')) {
        return Err(refused(&format!("{name}.env"), "no «=» in an entry", "NAME=value"));
    }
    Ok(())
}

impl Stage {
    pub(crate) fn is_empty(&self) -> bool {
        self.hooks.is_empty()
    }

    /// Runs the hooks in their order, up to the first that fails. `pid` is the container's process, as the host sees it.
    pub(crate) async fn run(&self, pid: u32) -> Result<()> {
        for hook in &self.hooks {
            hook.run(&self.told(Some(pid))?).await?;
        }
        Ok(())
    }

    /// Runs the hooks in their order, all of them: the container is gone, and one that fails is a matter for the log.
    pub(crate) async fn run_all(&self) {
        for hook in &self.hooks {
            let ran = match self.told(None) {
                Ok(state) => hook.run(&state).await,
                Err(e) => Err(e),
            };
            if let Err(e) = ran {
                warn!("container {}: {e}", self.state.id());
            }
        }
    }

    fn told(&self, pid: Option<u32>) -> Result<Vec<u8>> {
        let mut state = self.state.clone();
        state.set_pid(pid.map(u32::cast_signed));
        serde_json::to_vec(&state).doing(|| "writing the state for the hooks".to_owned())
    }
}

impl Named {
    async fn run(&self, state: &[u8]) -> Result<()> {
        let path = self.hook.path();
        let failed = |reason: String| Error::Hook { hook: self.name.clone(), path: path.display().to_string(), reason };
        // Files, not pipes: a hook that reads nothing, or writes much, holds up nobody.
        let (input, mut output) = (memory("state", state)?, memory("output", &[])?);
        let doing = || format!("starting the hook {}", self.name);
        let writer = || output.try_clone().map(Stdio::from).doing(doing);
        let mut command = Command::new(path);
        let args = self.hook.args().iter().flatten();
        command.arg0(args.clone().next().map_or(path.as_os_str(), AsRef::as_ref)).args(args.skip(1));
        command.env_clear().envs(self.hook.env().iter().flatten().filter_map(|entry| entry.split_once('=')));
        command.process_group(0).stdin(input).stdout(writer()?).stderr(writer()?);
        let child = command.spawn().map_err(|e| failed(shortage::of_processes(e).to_string()))?;
        let group = Pid::from_raw(child.id().cast_signed());
        let code = self.ended(child::pidfd(child)?, group).await?;
        match code {
            Some(0) => Ok(()),
            Some(code) => Err(failed(format!("ended with {code}{}", words(&mut output)))),
            None => {
                let limit = self.hook.timeout().unwrap_or_default();
                Err(failed(format!("did not end within {limit} s: killed{}", words(&mut output))))
            }
        }
    }

    /// The hook's exit code; none when it was killed at its time-out, with all of its process group.
    async fn ended(&self, pidfd: OwnedFd, group: Pid) -> Result<Option<u32>> {
        let handle = pidfd.try_clone().doing(|| format!("watching the hook {}", self.name))?;
        let Some(seconds) = self.hook.timeout() else { return Ok(Some(child::exit_code(child::wait(handle).await?))) };
        match tokio::time::timeout(Duration::from_secs(seconds.unsigned_abs()), child::wait(handle)).await {
            Ok(status) => Ok(Some(child::exit_code(status?))),
            Err(_) => {
                // Not reaped yet, so that its group's number is still its own.
                let _ = killpg(group, Signal::SIGKILL);
                child::wait(pidfd).await?;
                Ok(None)
            }
        }
    }
}

/// A file in memory that holds `content`, to be read from its beginning.
fn memory(name: &str, content: &[u8]) -> Result<File> {
    let doing = || "making a hook's streams".to_owned();
    let mut file = File::from(rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC).doing(doing)?);
    file.write_all(content).doing(doing)?;
    file.rewind().doing(doing)?;
    Ok(file)
}

/// What a hook wrote, as the tail of a sentence.
fn words(output: &mut File) -> String {
    let mut text = Vec::new();
    // Its words are an addition to the error that is told.
    let _ = output.rewind().and_then(|()| output.take(MOST_WORDS).read_to_end(&mut text));
    match String::from_utf8_lossy(&text).trim() {
        "" => String::new(),
        text => format!(": {text}"),
    }
}
