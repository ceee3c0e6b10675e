//! Runs runc's commands with the `runc` crate. Each command is a process that does its work and ends, or leaves an error in its log.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use oci_spec::runtime::LinuxResources;
use runc::options::{CreateOpts, DeleteOpts, GlobalOpts};
use runc::{Runc, Spawner};
use serde::{Deserialize, Serialize};

use super::die_with_parent::RuncSpawner;
use super::streams::Streams;
use crate::error::{Doing, Error, Result};

/// The time limit of a command that runs hooks of the spec: as long as a kubelet waits.
const LONGEST: Duration = Duration::from_secs(120);
/// The time limit of a command that waits only for the kernel.
const SHORT: Duration = Duration::from_secs(10);
/// How many bytes at the end of a log are read, where the error is.
const LONGEST_LOG: u64 = 64 << 10;

/// The node's runc, and the folder in which it keeps its state of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Runtime {
    pub(crate) program: PathBuf,
    /// runc's `--root`: a folder in the pod's, for this container alone.
    pub(crate) root: PathBuf,
    /// Whether systemd makes the container's cgroup.
    pub(crate) systemd: bool,
}

/// The input and output of a new process.
pub(crate) enum Io {
    Streams(Streams),
    /// A terminal, whose master runc sends to this socket.
    Console(PathBuf),
}

impl Io {
    fn split(self) -> (Option<Streams>, Option<PathBuf>) {
        match self {
            Io::Streams(streams) => (Some(streams), None),
            Io::Console(socket) => (None, Some(socket)),
        }
    }
}

/// The variable with the folders in which a program without a path is looked for.
pub(crate) const PATH_VARIABLE: &str = "PATH";

/// Finds the program `name`: an absolute path, or a name in PATH. `place` is the source of the option, for errors.
pub(crate) fn find(name: &str, place: &str) -> Result<PathBuf> {
    let path = std::env::var_os(PATH_VARIABLE).unwrap_or_default();
    let candidates: Vec<PathBuf> = match name.starts_with('/') {
        true => vec![PathBuf::from(name)],
        false => std::env::split_paths(&path).filter(|folder| folder.is_absolute()).map(|f| f.join(name)).collect(),
    };
    let runs = |file: &PathBuf| fs::metadata(file).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0);
    candidates.into_iter().find(runs).ok_or_else(|| {
        Error::unavailable(
            format!("{place}: native_runtime"),
            format!("{name:?}: no such program in containerd's PATH ({})", path.to_string_lossy()),
            "the name or the absolute path of the node's runc or crun, which runs native containers",
        )
    })
}

/// One command of runc.
struct Call {
    verb: &'static str,
    runc: Runc,
    spawner: Arc<RuncSpawner>,
    log: Log,
}

impl Runtime {
    /// Returns the pod's folder, where [`Scratch`] makes files whose names begin with a dot.
    fn folder(&self) -> &Path {
        self.root.parent().unwrap_or(&self.root)
    }

    fn call(&self, verb: &'static str, streams: Option<Streams>, limit: Duration) -> Result<Call> {
        let log = Log(Scratch::new(self.folder(), &format!(".{verb}"), "log", b"")?);
        let spawner = Arc::new(RuncSpawner::new(streams, limit));
        let mut options = GlobalOpts::new()
            .command(&self.program)
            .root(&self.root)
            .log(&log.0.0)
            .log_json()
            .systemd_cgroup(self.systemd);
        options.custom_spawner(spawner.clone());
        let runc = options.build().map_err(|e| Error::Runtime { verb, reason: e.to_string() })?;
        Ok(Call { verb, runc, spawner, log })
    }

    /// Makes the container of `bundle`, and returns the pid of its process, which waits for [`Runtime::start`].
    pub(crate) async fn create(&self, id: &str, bundle: &Path, io: Io) -> Result<u32> {
        let (streams, console) = io.split();
        let call = self.call("create", streams, LONGEST)?;
        let pid_file = bundle.join("init.pid");
        let mut options = CreateOpts::new().pid_file(&pid_file);
        options.console_socket = console;
        call.explained(call.runc.create(id, bundle, Some(&options)).await)?;
        pid_in(&pid_file)
    }

    /// Starts the container's process.
    pub(crate) async fn start(&self, id: &str) -> Result<()> {
        let call = self.call("start", None, LONGEST)?;
        call.explained(call.runc.start(id).await).map(drop)
    }

    /// Starts a further process in the container, and returns its pid. `process` is its spec as containerd sent it. No other file may have
    /// the path `pid_file`.
    pub(crate) async fn exec(&self, id: &str, process: &[u8], pid_file: &Path, io: Io) -> Result<u32> {
        let (streams, console) = io.split();
        let call = self.call("exec", streams, LONGEST)?;
        let process = Scratch::new(self.folder(), ".exec", "json", process)?;
        // Not by the crate's own exec: its type for the process is oci-spec's, which lacks some of runc's keys.
        let mut command = Command::new(&self.program);
        command.arg("--root").arg(&self.root).arg("--log").arg(&call.log.0.0).args(["--log-format", "json"]);
        command.args(self.systemd.then_some("--systemd-cgroup"));
        command.args(["exec", "--detach", "--process"]).arg(&process.0).arg("--pid-file").arg(pid_file);
        command.args(console.iter().flat_map(|socket| ["--console-socket".as_ref(), socket.as_os_str()])).arg(id);
        let ran = call.spawner.execute(command.into()).await;
        call.explained(ran.and_then(|(status, _, stdout, stderr)| match status.success() {
            true => Ok(()),
            false => Err(runc::error::Error::CommandFailed { status, stdout, stderr }),
        }))?;
        pid_in(pid_file)
    }

    /// Removes the container in any state. Succeeds if there is none. Takes at most twice the limit.
    pub(crate) async fn delete(&self, id: &str, limit: Duration) -> Result<()> {
        // Not forced at first, because a forced delete waits a tenth of a second before it looks whether the process has ended.
        let deleted = self.delete_once(id, false, limit).await;
        if deleted.is_err() { self.delete_once(id, true, limit).await } else { deleted }
    }

    async fn delete_once(&self, id: &str, force: bool, limit: Duration) -> Result<()> {
        let call = self.call("delete", None, limit)?;
        call.explained(call.runc.delete(id, Some(&DeleteOpts::new().force(force))).await)
    }

    /// Changes the limits of the container that `resources` names.
    pub(crate) async fn update(&self, id: &str, resources: &LinuxResources) -> Result<()> {
        let call = self.call("update", None, SHORT)?;
        call.explained(call.runc.update(id, resources).await)
    }
}

impl Call {
    /// Returns the result, or an error with runc's own message, as containerd's shim for runc reports it.
    fn explained<T>(&self, outcome: runc::Result<T>) -> Result<T> {
        outcome.map_err(|e| {
            let reason = match (self.log.last_error(), e) {
                (Some(words), _) => words,
                (None, runc::error::Error::CommandFailed { status, .. }) => match self.spawner.words() {
                    words if words.is_empty() => format!("{status}, and it wrote no reason"),
                    words => format!("{status}: {words}"),
                },
                (None, other) => other.to_string(),
            };
            Error::Runtime { verb: self.verb, reason }
        })
    }
}

fn pid_in(file: &Path) -> Result<u32> {
    let text = fs::read_to_string(file).on(file)?;
    text.trim().parse().map_err(std::io::Error::other).on(file)
}

/// A file for one command. Dropping this removes the file.
struct Scratch(PathBuf);

impl Scratch {
    /// Makes a file with this content that root alone can read: `<name>.<number>.<kind>`.
    fn new(folder: &Path, name: &str, kind: &str, content: &[u8]) -> Result<Self> {
        for number in 0.. {
            let path = folder.join(format!("{name}.{number}.{kind}"));
            match File::options().write(true).create_new(true).mode(0o600).open(&path) {
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(e).on(path),
                Ok(mut file) => {
                    let made = Self(path);
                    file.write_all(content).on(&made.0)?;
                    return Ok(made);
                }
            }
        }
        Err(std::io::Error::from(std::io::ErrorKind::AlreadyExists)).on(folder)
    }
}

/// runc's log of one command.
struct Log(Scratch);

impl Log {
    /// Returns the message of the log's last error.
    fn last_error(&self) -> Option<String> {
        let mut file = File::open(&self.0.0).ok()?;
        let length = file.metadata().ok()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(LONGEST_LOG))).ok()?;
        let mut text = Vec::new();
        file.take(LONGEST_LOG).read_to_end(&mut text).ok()?;
        last_error(&String::from_utf8_lossy(&text))
    }
}

fn last_error(log: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Line {
        level: String,
        msg: String,
    }
    // crun spreads a message over several lines, and both runtimes write other text between messages.
    let begins = log.match_indices('{').map(|(at, _)| at).filter(|at| *at == 0 || log[..*at].ends_with('\n'));
    let mut messages = begins.rev().filter_map(|at| {
        let line = serde_json::Deserializer::from_str(&log[at..]).into_iter::<Line>().next()?.ok()?;
        Some(line.msg.trim().to_owned()).filter(|message| line.level == "error" && !message.is_empty())
    });
    messages.next()
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // If this fails, the file goes with the pod's folder.
        let _ = fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_error_in_runcs_log_is_the_reason() {
        let log = "{\"level\":\"error\",\"msg\":\"first\",\"time\":\"x\"}\n{\"level\":\"warning\",\"msg\":\"w\"}\nnoise\n\
                   {\"level\":\"error\",\"msg\":\"exec: \\\"a\\\": executable file not found in $PATH\\n\"}\n{\"level\":\"inf";
        assert_eq!(last_error(log).unwrap(), "exec: \"a\": executable file not found in $PATH");
        assert_eq!(last_error("{\"level\":\"info\",\"msg\":\"a\"}"), None);
        let crun = "noise\n{\n  \"msg\": \"no `mounts` block\",\n  \"level\": \"error\",\n  \"time\": \"x\"\n}\nnoise";
        assert_eq!(last_error(crun).unwrap(), "no `mounts` block");
    }

    #[test]
    fn a_missing_runtime_is_named_with_its_option() {
        assert_eq!(find("/bin/sh", "conf").unwrap(), Path::new("/bin/sh"));
        assert!(find("sh", "conf").unwrap().is_absolute());
        for name in ["/etc/passwd", "no-such-runc", "/bin"] {
            let text = find(name, "conf").unwrap_err().to_string();
            assert!(text.contains("conf: native_runtime") && text.contains(name), "{text}");
        }
    }

    #[test]
    fn a_scratch_file_is_readable_by_root_alone_and_is_removed() {
        let folder = std::env::temp_dir().join(format!("catamaran-scratch-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        let all =
            [&b"{\"novel\": 1}"[..], b""].map(|text| (Scratch::new(&folder, ".exec", "json", text).unwrap(), text));
        for (file, text) in &all {
            assert_eq!(fs::read(&file.0).unwrap(), *text);
            assert_eq!(fs::metadata(&file.0).unwrap().permissions().mode() & 0o777, 0o600);
        }
        assert_ne!(all[0].0.0, all[1].0.0);
        drop(all);
        // Fails unless the folder is empty.
        fs::remove_dir(&folder).unwrap();
    }
}
