//! The server: the fork that stays, on one thread, until containerd shuts it down.

use std::fs::File;
use std::io::Read;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use catamaran_cache::target::{self, Target};
use catamaran_host::programs;
use containerd_shim_protos::shim_async::create_task;
use containerd_shim_protos::ttrpc::asynchronous::Server as Rpc;
use containerd_shim_protos::ttrpc::asynchronous::transport::Listener;
use log::{info, warn};
use tokio::sync::Notify;

use crate::boot::Server;
use crate::boot::clients::Clients;
use crate::boot::logging;
use crate::cleanup::state::Folder;
use crate::container::holder;
use crate::error::{Doing, Error, Result};
use crate::pod::Pod;
use crate::pod::events::Publisher;
use crate::rpc::task::TaskService;

/// How long the server stays once it may stop, to send the answer to Shutdown.
const LAST_ANSWER: Duration = Duration::from_millis(20);

/// Serves the pod's containers until Shutdown.
pub(crate) fn serve(server: Server) -> Result<()> {
    logging::init(server.bundle.join("log"), server.debug);
    keep_programs();
    let served = detach().and_then(|()| await_known(&server)).and_then(|()| run(&server));
    if let Err(e) = &served {
        log::error!("{e}");
        // Without the socket a client fails at once, instead of waiting. (After a success Shutdown has removed it already, and the path
        // may be the next shim's.)
        let _ = std::fs::remove_file(&server.socket);
    }
    if let Err(e) = forget(&server.state) {
        warn!("{e}");
    }
    served
}

/// Removes the pod's state, which Shutdown set aside before its answer, unless an unwanted creation still went on. A folder that now has
/// the pod's name may be the next shim's.
fn forget(state: &Folder) -> Result<()> {
    match state.server()? {
        Some(of) if of.is(std::process::id()) => state.remove(),
        _ => state.remove_aside(),
    }
}

/// Opens all programs that this pod may need, so that an upgrade, which replaces their files, changes later pods only.
fn keep_programs() {
    let engines = target::programs(&Target::ALL).into_iter();
    programs::keep(engines.chain([programs::HELPER, holder::PROGRAM]));
}

/// Waits until containerd has the address. Fails if the parent was killed before that.
fn await_known(server: &Server) -> Result<()> {
    (&server.known).read_exact(&mut [0]).doing(|| "waiting until containerd has this server's address".to_owned())
}

/// Leaves containerd's session, its pipes (containerd reads them to their end) and the working directory.
fn detach() -> Result<()> {
    nix::unistd::setsid().doing(|| "starting a session".to_owned())?;
    // Leaves the bundle. Children start in `/` too, because starting one in another folder takes a fork of the shim.
    rustix::process::chdir("/").on("/")?;
    let null = File::options().read(true).write(true).open("/dev/null").on("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)
        .and_then(|()| rustix::stdio::dup2_stdout(&null))
        .and_then(|()| rustix::stdio::dup2_stderr(&null))
        .doing(|| "closing the standard streams".to_owned())?;
    // When memory runs out the kernel kills a shim before containerd, as with containerd's own shims.
    if let Err(e) = raise_oom_score() {
        warn!("oom_score_adj stays as it is: {e}");
    }
    Ok(())
}

fn raise_oom_score() -> std::io::Result<()> {
    let path = Path::new("/proc/self/oom_score_adj");
    let score: i32 = std::fs::read_to_string(path)?.trim().parse().map_err(std::io::Error::other)?;
    std::fs::write(path, (score + 1).min(1000).to_string())
}

fn run(server: &Server) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_io_events_per_tick(catamaran_worker::memory::EVENTS)
        .build()
        .doing(|| "starting the event loop".to_owned())?;
    runtime.block_on(async {
        let publisher = Publisher::new(server.events.clone(), server.namespace.clone());
        let ended = Arc::new(Notify::new());
        if let Some(e) = &server.leftover {
            warn!("left by an earlier shim of {}: {e}", server.id);
        }
        let service = TaskService {
            pod: Arc::new(Pod::new(publisher.clone(), ended.clone())),
            state: server.state.clone(),
            namespace: server.namespace.clone(),
            publisher,
            socket: server.socket.clone(),
            address: server.address.clone(),
        };
        let mut rpc = Rpc::new().add_listener(listener(server)?).register_service(create_task(Arc::new(service)));
        rpc.start().await.map_err(|e| Error::system("serving", std::io::Error::other(e)))?;
        info!("serving {} in {}", server.id, server.namespace);
        ended.notified().await;
        tokio::time::sleep(LAST_ANSWER).await;
        Ok(())
    })
}

fn listener(server: &Server) -> Result<Listener> {
    let listener: UnixListener = server.listener.try_clone().on(&server.socket)?;
    Clients::new(listener).map(Listener::new).on(&server.socket)
}
