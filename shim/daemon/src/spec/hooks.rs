//! Runs the spec's `hooks`: programs of the host that run at certain moments of a container's life, and get its state on standard input
//! (OCI runtime spec, "POSIX-platform Hooks" and "Lifecycle").
//!
//! ```text
//! namespaces made -> prestart, createRuntime -> tree entered ... Start -> poststart ... Delete -> poststop
//! ```
//!
//! Hooks that would run inside the container, createContainer and startContainer, are refused, because a Wasm container executes no
//! program of the host or the image.

use std::fs::File;
use std::io::{Seek, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use catamaran_host::child;
use catamaran_host::limits;
use catamaran_host::readable::readable;
use log::warn;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use oci_spec::runtime::{ContainerState, Hook, State, StateBuilder};
use rustix::fs::MemfdFlags;
use rustix::pipe::PipeFlags;
use serde::{Deserialize, Serialize};
use tokio::io::unix::AsyncFd;
use tokio::task::JoinHandle;

use crate::error::{Doing, Error, Result};
use crate::spec::oci::Spec;

/// The most bytes of a failed hook's output that the client is told.
const MOST_WORDS: usize = 2048;
/// The most bytes that are read at once.
const CHUNK: usize = 16 << 10;
/// How long a failed hook's output may take to end, if a process that the hook left behind still has it open.
const LAST_WORDS: Duration = Duration::from_millis(50);

/// The hooks of one container, by the moment at which they run.
#[derive(Debug, Default)]
pub(crate) struct Hooks {
    /// `prestart`, then `createRuntime`.
    pub(crate) create: Stage,
    pub(crate) poststart: Stage,
    pub(crate) poststop: Stage,
}

/// The hooks of one moment, and the state that they get.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stage {
    hooks: Vec<Named>,
    state: State,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Named {
    /// Such as `createRuntime[0]`.
    name: String,
    hook: Hook,
}

impl Hooks {
    /// Checks the spec's hooks, for the container `id` with its bundle at `bundle`.
    pub(crate) fn new(spec: &Spec, id: &str, bundle: &Path) -> Result<Self> {
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
        let stage = |status, lists: &[(&str, &Option<Vec<Hook>>)]| -> Result<Stage> {
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
        return Err(refused(&format!("{name}.env"), "no \"=\" in an entry", "NAME=value"));
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
            hook.run(&self.state_with(Some(pid))?).await?;
        }
        Ok(())
    }

    /// Runs all hooks in their order. The container is gone, so a failure is only logged.
    pub(crate) async fn run_all(&self) {
        for hook in &self.hooks {
            let ran = match self.state_with(None) {
                Ok(state) => hook.run(&state).await,
                Err(e) => Err(e),
            };
            if let Err(e) = ran {
                warn!("container {}: {e}", self.state.id());
            }
        }
    }

    fn state_with(&self, pid: Option<u32>) -> Result<Vec<u8>> {
        let mut state = self.state.clone();
        state.set_pid(pid.map(u32::cast_signed));
        serde_json::to_vec(&state).doing(|| "writing the state for the hooks".to_owned())
    }
}

impl Named {
    async fn run(&self, state: &[u8]) -> Result<()> {
        let path = self.hook.path();
        let failed = |reason: String| Error::Hook { hook: self.name.clone(), path: path.display().to_string(), reason };
        let doing = || format!("starting the hook {}", self.name);
        // A file, not a pipe, so that the shim need not wait for a hook that reads nothing.
        let input = memory("state", state)?;
        let (reader, output) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).doing(doing)?;
        let writer = || output.try_clone().map(Stdio::from).doing(doing);
        let mut command = Command::new(path);
        let args = self.hook.args().iter().flatten();
        command.arg0(args.clone().next().map_or(path.as_os_str(), AsRef::as_ref)).args(args.skip(1));
        command.env_clear().envs(self.hook.env().iter().flatten().filter_map(|entry| entry.split_once('=')));
        command.process_group(0).stdin(input).stdout(writer()?).stderr(writer()?);
        let words = Words::new(reader).doing(doing)?;
        let child = command.spawn().map_err(|e| failed(limits::of_processes(e).to_string()))?;
        // Closes the shim's write ends of the output.
        drop((command, output));
        let group = Pid::from_raw(child.id().cast_signed());
        let code = self.ended(child::pidfd(child.id())?, group).await?;
        match code {
            Some(0) => Ok(()),
            Some(code) => Err(failed(format!("ended with {code}{}", words.tail().await))),
            None => {
                let limit = self.hook.timeout().unwrap_or_default();
                Err(failed(format!("did not end within {limit} s: killed{}", words.tail().await)))
            }
        }
    }

    /// Returns the hook's exit code, or None if the hook was killed at its time-out, together with its process group.
    async fn ended(&self, pidfd: OwnedFd, group: Pid) -> Result<Option<u32>> {
        let handle = pidfd.try_clone().doing(|| format!("watching the hook {}", self.name))?;
        let Some(seconds) = self.hook.timeout() else { return Ok(Some(child::exit_code(child::wait(handle).await?))) };
        match tokio::time::timeout(Duration::from_secs(seconds.unsigned_abs()), child::wait(handle)).await {
            Ok(status) => Ok(Some(child::exit_code(status?))),
            Err(_) => {
                // The hook is not reaped yet, so its group's number is still its own.
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

/// A hook's output, of which the beginning is kept. All of it is read, also from processes that the hook left behind, so that none of them
/// blocks or gets SIGPIPE.
struct Words {
    kept: Arc<Mutex<Vec<u8>>>,
    reading: JoinHandle<()>,
}

impl Words {
    /// Reads `pipe` to its end, in a task of its own.
    fn new(pipe: OwnedFd) -> std::io::Result<Self> {
        rustix::io::ioctl_fionbio(&pipe, true)?;
        let pipe = readable(pipe)?;
        let kept = Arc::new(Mutex::new(Vec::new()));
        let reading = tokio::spawn(read(pipe, kept.clone()));
        Ok(Self { kept, reading })
    }

    /// Returns the output as the end of an error's sentence, once the hook has ended.
    async fn tail(self) -> String {
        // Waits for the end of the output, but not long: another process may still have it open.
        let _ = tokio::time::timeout(LAST_WORDS, self.reading).await;
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        match String::from_utf8_lossy(&kept).trim() {
            "" => String::new(),
            text => format!(": {text}"),
        }
    }
}

async fn read(pipe: AsyncFd<OwnedFd>, kept: Arc<Mutex<Vec<u8>>>) {
    let mut chunk = vec![0; CHUNK];
    while let Ok(mut ready) = pipe.readable().await {
        match rustix::io::read(pipe.get_ref(), &mut chunk[..]) {
            Ok(0) => return,
            Ok(length) => {
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                let room = MOST_WORDS - kept.len();
                kept.extend_from_slice(&chunk[..length.min(room)]);
            }
            Err(rustix::io::Errno::AGAIN) => ready.clear_ready(),
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return,
        }
        // A hook that writes without end must leave time on this thread for other tasks.
        tokio::task::yield_now().await;
    }
}
