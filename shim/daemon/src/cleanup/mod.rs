//! Cleans up after a dead shim, by its records: the `delete` action, and the first step of `start`.
//!
//! The workers died with the shim (by their parent-death signal). Native containers outlive their shim: every process that is still in a
//! recorded cgroup is killed. For a pod containerd calls `delete` with the pod's id alone, so that all of the pod's containers are cleaned
//! up. `delete` is idempotent, several may run at once, and it cleans up a creation that broke off at any step.
//!
//! ```text
//!                    the shim is       called for the pod's id          called for another container's id
//! dead               -                 all of the pod                   that container
//! lives, answers     forgotten         asked to let go and to end       asked to let go
//! lives, silent      stopped, ending   killed, then as if dead          that container, which the shim forgets then
//! ```

mod ask;
pub(crate) mod state;

use std::io::{ErrorKind, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use catamaran_cache::counters::{self, Count};
use catamaran_cache::places;
use catamaran_host::child;
use containerd_shim::{Flags, StartOpts};
use containerd_shim_protos::api::DeleteResponse;
use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::protobuf::well_known_types::timestamp::Timestamp;
use nix::libc;
use rustix::event::{PollFd, PollFlags, Timespec};

use crate::cleanup::state::{Ended, Folder, Pods, Server, State};
use crate::error::{Doing, Error, Result};
use crate::stdio;

/// How long to wait for another process that cleans up the same pod; containerd gives `delete` five seconds in all.
const OTHERS: Duration = Duration::from_secs(4);
const PAUSE: Duration = Duration::from_millis(5);
/// How long `delete` goes on with forgotten pods, one after the other. If it took longer than containerd waits, it would have failed for
/// the pod that it was called for.
const FOR_FORGOTTEN: Duration = Duration::from_millis(1500);
/// How long a forgotten pod's killed processes may take to end: those that hang in the kernel would delay each `delete` on the node.
const FORGOTTEN_TO_END: Duration = Duration::from_millis(200);
/// How long a pod's killed searches may take to end.
const SEARCHES_TO_END: Duration = Duration::from_millis(200);
/// How long runc may take. It removes its own state at once, but the hooks that it runs may be slow.
const RUNC_TO_END: Duration = Duration::from_millis(700);
/// How long a killed shim may take to end, while the kernel frees its memory and kills its children.
const TO_END: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// Cleans up and prints a `DeleteResponse`. Tries every step, and returns the first failure.
pub(crate) fn delete(flags: &Flags) -> Result<()> {
    // containerd passes the bundle as a flag, and starts this program in it.
    let bundle = match flags.bundle.as_str() {
        "" => std::env::current_dir().doing(|| "finding the bundle, this program's working directory".to_owned())?,
        path => PathBuf::from(path),
    };
    let pods = Pods::new(&flags.address, &flags.namespace);
    let begin = Instant::now();
    let (recorded, released) = runtime()?.block_on(async {
        let (recorded, released) = release(&pods, &flags.id).await;
        match release_older(&bundle).await {
            Ok(older) => (recorded.or(older), released),
            Err(e) => (recorded, released.and(Err(e))),
        }
    });
    // The rest is for other pods. If it fails, the next `delete` tries again.
    let _ = pods.sweep();
    for pod in pods.all()?.iter().filter(|pod| begin.elapsed() < FOR_FORGOTTEN && pod.is_forgotten()) {
        let _ = runtime()?.block_on(sweep(pod));
    }
    // A server without a record may still have left its socket, at containerd's default path.
    remove_socket(&default_socket(flags));
    released?;
    let (pid, ended) = recorded.map_or((0, None), |state| (state.pid, state.ended));
    let now = Timestamp::now();
    // The exit of a container was not seen if there is no record of it: then it was killed.
    let Ended { code, seconds, nanos } =
        ended.unwrap_or(Ended { code: child::KILLED, seconds: now.seconds, nanos: now.nanos });
    let exited_at = Some(Timestamp { seconds, nanos, ..Default::default() }).into();
    let response = DeleteResponse { pid, exit_status: code, exited_at, ..Default::default() };
    let bytes = response.write_to_bytes().map_err(|e| Error::refused("delete response", e.to_string(), "a message"))?;
    std::io::stdout().write_all(&bytes).doing(|| "answering containerd".to_owned())
}

/// Makes room for a new shim of the pod `id`: cleans up after an earlier shim, which containerd has forgotten. Fails if that shim lives and
/// has containers.
pub(crate) fn make_room(pods: &Pods, id: &str) -> Result<()> {
    let pod = pods.pod(id)?;
    if !pod.exists() {
        return Ok(());
    }
    runtime()?.block_on(async {
        if let Some(server) = pod.server()?
            && UnixStream::connect(&server.socket).is_ok()
        {
            // The answer does not matter: the socket shows whether the shim has ended.
            let _ = ask::shut_down(&server.socket, id).await;
            if UnixStream::connect(&server.socket).is_ok() {
                return Err(Error::Exists(format!("a shim that listens at {}", server.socket.display())));
            }
        }
        release(pods, id).await.1
    })
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    let made = tokio::runtime::Builder::new_current_thread().enable_all().build();
    made.doing(|| "starting the event loop".to_owned())
}

/// Cleans up the container `id`, and all containers of the pod `id`. Returns the container's recorded state.
async fn release(pods: &Pods, id: &str) -> (Option<State>, Result<()>) {
    let found = pods.pod(id).and_then(|pod| Ok((pod, pods.with(id)?)));
    let (own, with) = match found {
        Ok(found) => found,
        Err(e) => return (None, Err(e)),
    };
    let mut recorded = own.read(id).ok().flatten();
    let mut released = release_pod(&own, id).await;
    // Does not look again at a pod that is gone by now.
    for pod in with.into_iter().filter(Folder::exists) {
        recorded = recorded.or(pod.read(id).ok().flatten());
        released = released.and(release_member(&pod, id).await);
    }
    (recorded, released)
}

/// Whether the server started after this process, which then was called for an earlier shim: a `delete` that a killed containerd started
/// may still run when the pod is started again.
fn came_later(server: &Server) -> bool {
    child::started("self").is_some_and(|own| server.started > own)
}

/// Cleans up a pod that containerd has forgotten.
async fn sweep(pod: &Folder) -> Result<()> {
    match pod.lock()? {
        Some(_lock) if pod.is_forgotten() => {
            let server = pod.server()?;
            match &server {
                Some(server) if server.process()?.is_some() => {
                    // To containerd this server's start has failed, so that it should have no container, and ends. If it has one, it stays.
                    let _ = ask::shut_down(&server.socket, "").await;
                    Ok(())
                }
                server => free(pod, server.as_ref(), FORGOTTEN_TO_END).await,
            }
        }
        _ => Ok(()),
    }
}

/// Cleans up a whole pod, by its own id.
async fn release_pod(pod: &Folder, id: &str) -> Result<()> {
    let Some(_lock) = lock(pod).await? else { return Ok(()) };
    let server = pod.server()?;
    if server.as_ref().is_some_and(came_later) {
        return Ok(());
    }
    let mut died = server.is_some();
    if let Some(server) = &server
        && let Some(process) = server.process()?
    {
        let let_go = ask::let_go(&server.socket, id).await;
        // A shim that no longer listens is killed, because it only finishes a creation that nobody waits for.
        if let_go && pod.read(id)?.is_none() && (!pod.exists() || UnixStream::connect(&server.socket).is_ok()) {
            return Ok(());
        }
        died = !let_go;
        end(&process)?;
    }
    free(pod, server.as_ref(), catamaran_cgroup::PATIENCE).await?;
    // Counted after the cleanup: if a pod takes several calls to clean up, only the last one counts it.
    if died {
        counters::add(&places::root(), &[Count::ShimDeath]);
    }
    Ok(())
}

/// Removes everything that a dead shim has left.
async fn free(pod: &Folder, server: Option<&Server>, to_end: Duration) -> Result<()> {
    let cleaned = clean(pod, pod.containers()?, to_end).await;
    if let Some(server) = server {
        remove_socket(&server.socket);
    }
    cleaned?;
    pod.remove()
}

/// Cleans up one container of a pod.
async fn release_member(pod: &Folder, id: &str) -> Result<()> {
    let Some(_lock) = lock(pod).await? else { return Ok(()) };
    let server = pod.server()?;
    if server.as_ref().is_some_and(came_later) {
        return Ok(());
    }
    if let Some(server) = server
        && server.process()?.is_some()
    {
        // If the shim deletes the container, nothing is left for `clean`. If it does not answer, `clean` does all.
        let _ = ask::let_go(&server.socket, id).await;
    }
    clean(pod, vec![id.to_owned()], catamaran_cgroup::PATIENCE).await
}

/// Cleans up the one container of a shim of an older format.
async fn release_older(bundle: &Path) -> Result<Option<State>> {
    let Some(state) = State::of_older_shim(bundle)? else { return Ok(None) };
    let removed = catamaran_cgroup::remove(&state.cgroups).await;
    if let Some(socket) = &state.socket {
        remove_socket(socket);
    }
    removed?;
    stdio::end_recorded(state.logger.clone()).await?;
    state.poststop.run_all().await;
    State::forget_older_shims(bundle)?;
    Ok(Some(state))
}

/// Takes the pod's lock. Returns None if there is no such pod, or no longer.
async fn lock(pod: &Folder) -> Result<Option<std::fs::File>> {
    let until = Instant::now() + OTHERS;
    loop {
        match pod.lock()? {
            None if !pod.exists() => return Ok(None),
            None if Instant::now() >= until => {
                let busy = std::io::Error::new(
                    ErrorKind::TimedOut,
                    format!("another process was still cleaning it up after {OTHERS:?}"),
                );
                return Err(busy).doing(|| "cleaning up a pod".to_owned());
            }
            None => tokio::time::sleep(PAUSE).await,
            // The pod was removed between opening and locking it.
            Some(_) if !pod.exists() => return Ok(None),
            locked => return Ok(locked),
        }
    }
}

/// Kills a shim, and waits for its end.
fn end(process: &OwnedFd) -> Result<()> {
    match child::signal(process, libc::SIGKILL) {
        Err(nix::errno::Errno::ESRCH) => return Ok(()),
        sent => sent.doing(|| "killing a shim that does not answer".to_owned())?,
    }
    let mut watched = [PollFd::new(process, PollFlags::IN)];
    let doing = || "waiting for a killed shim".to_owned();
    match rustix::event::poll(&mut watched, Some(&TO_END)).doing(doing)? {
        0 => Err(std::io::Error::from(ErrorKind::TimedOut)).doing(doing),
        _ => Ok(()),
    }
}

/// Cleans up containers without a shim. Goes on if the record of one cannot be read or if it cannot be removed. Returns the first failure.
async fn clean(pod: &Folder, ids: Vec<String>, to_end: Duration) -> Result<()> {
    let mut outcome = Ok(());
    let mut states = Vec::new();
    for id in ids {
        match pod.read(&id) {
            Ok(Some(state)) => states.push((id, state)),
            Ok(None) => {}
            Err(e) => outcome = outcome.and(Err(e)),
        }
    }
    // All cgroups at once, because they share one time limit.
    let cgroups = |search| -> Vec<PathBuf> {
        let of = states.iter().filter(|(_, state)| state.search == search);
        of.flat_map(|(_, state)| state.cgroups.iter().cloned()).collect()
    };
    outcome = outcome.and(catamaran_cgroup::remove_within(&cgroups(false), to_end).await.map_err(Error::from));
    // It is no failure if a search hangs in the kernel: its record stays, for the next `delete` on the node.
    let _ = catamaran_cgroup::remove_within(&cgroups(true), SEARCHES_TO_END).await;
    outcome = outcome.and(clear_native(&states).await);
    let loggers = states.iter().flat_map(|(_, state)| state.logger.iter().chain(&state.exec_loggers));
    outcome = outcome.and(stdio::end_recorded(loggers.cloned().collect::<Vec<_>>()).await);
    for (id, state) in states.iter().filter(|(_, state)| !state.cgroups.iter().any(|folder| folder.exists())) {
        state.poststop.run_all().await;
        outcome = outcome.and(pod.forget(id));
    }
    outcome
}

/// Removes runc's state of containers whose processes are gone, of all at the same time, because they share one time limit.
async fn clear_native(states: &[(String, State)]) -> Result<()> {
    let native = states.iter().filter_map(|(id, state)| Some((id.clone(), state.native.clone()?)));
    let clearing: Vec<_> =
        native.map(|(id, record)| tokio::spawn(async move { record.clear(&id, RUNC_TO_END).await })).collect();
    let mut outcome = Ok(());
    for clear in clearing {
        let cleared = clear.await.map_err(std::io::Error::other).doing(|| "removing a native container".to_owned());
        outcome = outcome.and(cleared.flatten());
    }
    outcome
}

fn default_socket(flags: &Flags) -> PathBuf {
    let options = StartOpts {
        id: flags.id.clone(),
        namespace: flags.namespace.clone(),
        address: flags.address.clone(),
        ..Default::default()
    };
    PathBuf::from(options.socket_address(&flags.id).trim_start_matches("unix://"))
}

/// Removes a dead server's socket, which refuses connections. Leaves any other socket, because that is another shim's by now.
fn remove_socket(socket: &Path) {
    if UnixStream::connect(socket).is_err_and(|e| e.kind() == ErrorKind::ConnectionRefused) {
        // If this fails it does no harm, because nobody listens there.
        let _ = std::fs::remove_file(socket);
    }
}
