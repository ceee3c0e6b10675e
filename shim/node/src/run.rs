//! Runs programs of the host, in the host's root file system.

use std::fs;
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::host::Host;

/// This program's hidden command that enters the host's root and executes another program there.
pub(crate) const ENTER: &str = "enter";
/// The most that is read of a program's output.
const LARGEST: u64 = 16 << 20;
const PAUSE: Duration = Duration::from_millis(20);

/// How a program ended, and its output.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Output {
    /// The last lines of its output, which say why it failed.
    pub(crate) fn words(&self) -> String {
        let text = if self.stderr.trim().is_empty() { &self.stdout } else { &self.stderr };
        let lines: Vec<&str> = text.trim().lines().collect();
        lines[lines.len().saturating_sub(5)..].join("; ")
    }
}

/// A command for `program`, an absolute path of the host's.
pub(crate) fn host_command(host: &Host, program: &Path) -> io::Result<Command> {
    if host.is_own_root() {
        return Ok(Command::new(program));
    }
    let mut command = Command::new(fs::read_link("/proc/self/exe")?);
    command.arg(ENTER).arg(host.root()).arg(program);
    Ok(command)
}

/// Runs a program to its end, and kills it after `limit`.
pub(crate) fn on_host(host: &Host, program: &Path, args: &[&str], limit: Duration) -> io::Result<Output> {
    let mut command = host_command(host, program)?;
    command.args(args).stdin(Stdio::null());
    to_its_end(command, limit)
}

/// Runs a command to its end, and kills it after `limit`.
pub(crate) fn to_its_end(mut command: Command, limit: Duration) -> io::Result<Output> {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let out = child.stdout.take().map(|pipe| thread::spawn(move || text(pipe)));
    let err = child.stderr.take().map(|pipe| thread::spawn(move || text(pipe)));
    let until = Instant::now() + limit;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if Instant::now() > until {
            child.kill()?;
            child.wait()?;
            return Err(io::Error::new(io::ErrorKind::TimedOut, format!("no end after {} s", limit.as_secs())));
        }
        thread::sleep(PAUSE);
    };
    let joined =
        |reader: Option<thread::JoinHandle<String>>| reader.and_then(|reader| reader.join().ok()).unwrap_or_default();
    Ok(Output { status, stdout: joined(out), stderr: joined(err) })
}

fn text(pipe: impl Read) -> String {
    let mut bytes = Vec::new();
    let _ = pipe.take(LARGEST).read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Enters `root` and executes `program`. Returns only an error.
pub(crate) fn enter(root: &Path, program: &Path, args: &[String]) -> io::Error {
    let entered = rustix::process::chroot(root).and_then(|()| rustix::process::chdir("/"));
    match entered {
        Ok(()) => Command::new(program).args(args).exec(),
        Err(e) => io::Error::from(e),
    }
}
