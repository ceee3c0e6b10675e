//! Runs a blocking operation in a short-lived child process, catamaran-helper, so that the shim's only thread never blocks. The child
//! reads its order on standard input and writes its answer on standard output; both are files in memory.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::Stdio;
use std::time::Duration;

use catamaran_worker::version;
use rustix::fs::MemfdFlags;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::child;
use crate::error::{Doing, Result};
use crate::programs::{self, Program};

/// The time that the child may take beyond its own limit, to begin and to end.
const GRACE: Duration = Duration::from_secs(1);

/// Has the helper's action `action` carry out `order`, and returns the answer, or None if there is none within `limit`. In either
/// case the child has ended, unless it hangs in the kernel. `doing` is for errors.
pub async fn run<A: DeserializeOwned>(
    action: &str,
    order: &impl Serialize,
    limit: Duration,
    doing: &str,
) -> Result<Option<A>> {
    let doing = || doing.to_owned();
    let memory = |name| rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC).map(File::from).doing(doing);
    let mut question = memory("order")?;
    let mut answer = memory("answer")?;
    question.write_all(&version::write(order).doing(doing)?).doing(doing)?;
    question.rewind().doing(doing)?;
    let child = Program::open(programs::HELPER)?
        .command()
        .arg(action)
        .env_clear()
        .process_group(0)
        .stdin(question)
        .stdout(Stdio::from(answer.try_clone().doing(doing)?))
        .stderr(Stdio::null())
        .spawn()
        .map_err(crate::limits::of_processes)
        .doing(doing)?;
    let pidfd = child::pidfd(child.id())?;
    let watched = || pidfd.try_clone().doing(doing);
    if tokio::time::timeout(limit + GRACE, child::wait(watched()?)).await.is_err() {
        // The child is not reaped yet, so that the signal finds it.
        let _ = child::signal(&pidfd, nix::libc::SIGKILL);
        if tokio::time::timeout(GRACE, child::wait(watched()?)).await.is_err() {
            child::reap(pidfd);
        }
        return Ok(None);
    }
    let mut text = Vec::new();
    answer.rewind().and_then(|()| answer.read_to_end(&mut text)).doing(doing)?;
    version::read(&text).doing(|| format!("{}: reading the answer", doing())).map(Some)
}

/// A helper that takes several messages on a socket.
pub struct Conversation {
    /// The shim's end of the socket; the helper's is its standard input.
    pub control: OwnedFd,
    /// The helper's pid.
    pub pid: u32,
    /// The helper's pidfd. The helper was not waited for.
    pub pidfd: OwnedFd,
}

/// Starts a helper for `action`, with this environment and no other, in a process group of its own. `doing` is for errors.
///
/// # Errors
/// If the helper is missing, or no process or descriptor is free.
pub fn converse(
    action: &str,
    environment: impl IntoIterator<Item = (&'static str, OsString)>,
    doing: impl Fn() -> String,
) -> Result<Conversation> {
    let (control, theirs) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .doing(&doing)?;
    let helper = Program::open(programs::HELPER)?;
    let child = helper
        .command()
        .arg(action)
        .env_clear()
        .envs(environment)
        .process_group(0)
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(crate::limits::of_processes)
        .on(helper.path())?;
    Ok(Conversation { control, pid: child.id(), pidfd: child::pidfd(child.id())? })
}

/// Reads the order, does the work and writes the answer, in the child.
pub fn carry_out<Q: DeserializeOwned, A: Serialize>(work: impl FnOnce(Q) -> A) -> Result<()> {
    let mut text = Vec::new();
    std::io::stdin().read_to_end(&mut text).doing(|| "reading the order".to_owned())?;
    let (answer, outcome) = match version::read(&text) {
        Ok(order) => (version::write(&work(order)), Ok(())),
        // The answer carries this program's version at least, in case the shim is of another one.
        Err(e) => (version::write(&()), Err(e)),
    };
    let answered = answer.and_then(|text| std::io::stdout().write_all(&text)).doing(|| "answering".to_owned());
    outcome.doing(|| "reading the order".to_owned()).and(answered)
}
