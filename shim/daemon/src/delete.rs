//! The `delete` action: cleans up after a shim that is dead, from what the bundle tells.
//!
//! The workers died with the shim (their parent-death signal); what is still in a cgroup is killed. For a pod containerd
//! runs it once, for the sandbox container: the pod's others are cleaned up too. Safe to run again, and after a creation
//! that broke off anywhere.

use std::io::{ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use containerd_shim::{Flags, StartOpts};
use containerd_shim_protos::api::DeleteResponse;
use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::protobuf::well_known_types::timestamp::Timestamp;

use crate::cgroup;
use crate::error::{Doing, Error, Result};
use crate::state::State;

/// What containerd is told of a container whose exit nobody saw: killed.
const KILLED: u32 = 137;

/// Cleans up and prints a `DeleteResponse`. Everything is tried; the first failure is told.
pub(crate) fn delete(flags: &Flags) -> Result<()> {
    // containerd names the bundle, and runs this program in it.
    let bundle = match flags.bundle.as_str() {
        "" => std::env::current_dir().doing(|| "finding the bundle, this program's working directory".to_owned())?,
        path => PathBuf::from(path),
    };
    let state = State::read(&bundle);
    let cleaned = if let Ok(Some(state)) = &state { clean_pod(&bundle, state) } else { Ok(()) };
    match &state {
        Ok(Some(state)) => remove_socket(&state.socket),
        // Nothing was created: the server is known by where containerd would have it.
        _ => remove_socket(&default_socket(flags)),
    }
    let pid = state?.map_or(0, |state| state.pid);
    cleaned?;
    let response =
        DeleteResponse { pid, exit_status: KILLED, exited_at: Some(Timestamp::now()).into(), ..Default::default() };
    let bytes = response.write_to_bytes().map_err(|e| Error::refused("delete response", e.to_string(), "a message"))?;
    std::io::stdout().write_all(&bytes).doing(|| "answering containerd".to_owned())
}

/// The container, and where it is a pod's first one all that had the same server; but for a server that lives, whose
/// containers are its own.
fn clean_pod(bundle: &Path, state: &State) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .doing(|| "starting the event loop".to_owned())?;
    let others = if UnixStream::connect(&state.socket).is_ok() { Vec::new() } else { State::members(bundle) };
    runtime.block_on(async {
        let mut cleaned = Ok(());
        for other in &others {
            cleaned = cleaned.and(clean(other).await.and_then(|()| other.remove_member()));
        }
        cleaned.and(clean(state).await.and_then(|()| State::remove(bundle)))
    })
}

async fn clean(state: &State) -> Result<()> {
    cgroup::remove(&state.cgroups).await?;
    state.poststop.run_all().await;
    Ok(())
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

/// The dead server's socket. One that answers, or might, is another shim's by now.
fn remove_socket(socket: &Path) {
    if UnixStream::connect(socket).is_err_and(|e| e.kind() == ErrorKind::ConnectionRefused) {
        // Nobody listens: whether it can be removed or not, nothing follows from it.
        let _ = std::fs::remove_file(socket);
    }
}
