//! The `start` action: bind the socket, fork the server, tell containerd where it is.
//!
//! containerd 2.0 to 2.2 passes flags and environment and reads JSON; 2.3 and later writes a `BootstrapParams` message to
//! standard input and reads a `BootstrapResult` (containerd docs/runtime-v2.md, "Bootstrap protocol"). The server is a fork of this very
//! process, taken while it has one thread, so that a pod costs one exec. The socket is bound before the fork, so that containerd's first
//! request waits in its queue however soon it comes. The server goes on once containerd has its address: if its parent was killed before
//! that, nobody would know the server, and it would stay for ever.
#![allow(unsafe_code, reason = "fork: the SAFETY comment at the call says why it is sound here")]

use std::fs::File;
use std::io::{IsTerminal, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use containerd_shim::bootstrap::{BootstrapParams, BootstrapResult, LogLevel};
use containerd_shim::{Flags, StartOpts};
use containerd_shim_protos::TASK_API_VERSION;
use containerd_shim_protos::protobuf::Message;
use nix::unistd::ForkResult;
use rustix::fs::Mode;
use rustix::pipe::PipeFlags;

use crate::boot::{Server, pod_server, serve};
use crate::cleanup;
use crate::cleanup::state::Pods;
use crate::error::{Doing, Error, Result};

/// Where containerd listens for events, as containerd 2.0 to 2.2 tells it.
pub(super) const EVENTS_VARIABLE: &str = "TTRPC_ADDRESS";
/// The most that is read of standard input, as by containerd's own shims.
const MOST_INPUT: u64 = 10 << 20;

/// The protocol of containerd's request, and so of the answer.
enum Protocol {
    Flags,
    Message,
}

/// Starts the server of a pod and prints its address.
pub(crate) fn start(flags: &Flags) -> Result<()> {
    let (options, protocol) = read_parameters(flags)?;
    let bundle = std::env::current_dir().doing(|| "finding the bundle, this program's working directory".to_owned())?;
    if let Some(address) = pod_server::server_of_pod(&options, &bundle) {
        return reply(&address, &protocol);
    }
    let address = options.socket_address(&options.id);
    let socket = PathBuf::from(address.trim_start_matches("unix://"));
    let pods = Pods::new(&options.address, &options.namespace);
    let state = pods.pod(&options.id)?;
    // The start goes on after a failed cleanup, unless the earlier shim lives.
    let leftover = match cleanup::make_room(&pods, &options.id) {
        Err(e @ Error::Exists(_)) => return Err(e),
        made => made.err(),
    };
    // Recorded before anything exists that could be left behind.
    state.serve(std::process::id(), &socket, &bundle)?;
    let listener = bind(&socket).inspect_err(|_| drop(state.remove()))?;
    let (known, knows) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).doing(|| "making a pipe".to_owned())?;
    let server = Server {
        listener,
        socket,
        namespace: options.namespace,
        id: options.id,
        bundle,
        state,
        leftover,
        known: known.into(),
        address: options.address,
        events: options.ttrpc_address,
        debug: options.debug,
    };
    // SAFETY: this process has one thread (no runtime was made yet), so that no other thread can hold a lock in the copy.
    match unsafe { nix::unistd::fork() }.doing(|| "forking the server".to_owned())? {
        ForkResult::Child => {
            drop(knows);
            serve::serve(server)
        }
        ForkResult::Parent { child } => {
            let recorded = server.state.serve(child.as_raw().cast_unsigned(), &server.socket, &server.bundle);
            let answered = recorded.and_then(|()| reply(&address, &protocol));
            match &answered {
                // The write fails only if the server has ended already.
                Ok(()) => drop(rustix::io::write(&knows, &[1])),
                Err(_) => {
                    // containerd does not know the server. The pid is still the server's, because nobody has reaped it.
                    let _ = nix::sys::signal::kill(child, nix::sys::signal::Signal::SIGKILL);
                    let _ = std::fs::remove_file(&server.socket);
                    let _ = server.state.remove();
                }
            }
            answered
        }
    }
}

fn read_parameters(flags: &Flags) -> Result<(StartOpts, Protocol)> {
    for (flag, value) in [("-id", &flags.id), ("-namespace", &flags.namespace)] {
        if value.is_empty() {
            return Err(Error::refused("command line", format!("no {flag}"), "containerd gives it to every shim"));
        }
    }
    let mut input = Vec::new();
    // Not by the standard library's, whose buffer of 8 kB the server would keep.
    let stdin = rustix::stdio::stdin();
    if !stdin.is_terminal() {
        let read = stdin.try_clone_to_owned().map(File::from);
        let read = read.and_then(|stdin| stdin.take(MOST_INPUT).read_to_end(&mut input));
        read.doing(|| "reading the bootstrap parameters".to_owned())?;
    }
    // An older containerd sends an `Any` with runtime options here, which decodes as a message without our id and namespace.
    let message = BootstrapParams::parse_from_bytes(&input)
        .ok()
        .filter(|m| m.instance_id == flags.id && m.namespace == flags.namespace);
    let (mut options, protocol) = match message {
        Some(message) => (StartOpts::from(message), Protocol::Message),
        None => (from_flags(flags), Protocol::Flags),
    };
    options.debug |= flags.debug;
    if options.ttrpc_address.is_empty() {
        return Err(Error::refused(
            "environment",
            "no TTRPC_ADDRESS, and no bootstrap message",
            "containerd 2.0 or later, which serves its events there",
        ));
    }
    Ok((options, protocol))
}

fn from_flags(flags: &Flags) -> StartOpts {
    StartOpts {
        id: flags.id.clone(),
        namespace: flags.namespace.clone(),
        address: flags.address.clone(),
        publish_binary: flags.publish_binary.clone(),
        ttrpc_address: std::env::var(EVENTS_VARIABLE).unwrap_or_default(),
        log_level: LogLevel::LOG_LEVEL_INFO,
        ..Default::default()
    }
}

/// Binds the server's socket. Replaces the socket of a dead server, but not of a live one.
fn bind(socket: &Path) -> Result<UnixListener> {
    if let Some(parent) = socket.parent() {
        std::fs::create_dir_all(parent).on(parent)?;
    }
    match bind_for_root(socket) {
        Err(e) if e.kind() == std::io::ErrorKind::AddrInUse => {
            if UnixStream::connect(socket).is_ok() {
                return Err(Error::Exists(format!("a shim that listens at {}", socket.display())));
            }
            std::fs::remove_file(socket).on(socket)?;
            bind_for_root(socket).on(socket)
        }
        bound => bound.on(socket),
    }
}

/// Binds a socket that only root may connect to, from the first moment on.
fn bind_for_root(socket: &Path) -> std::io::Result<UnixListener> {
    let before = rustix::process::umask(Mode::from_raw_mode(0o177));
    let bound = UnixListener::bind(socket);
    rustix::process::umask(before);
    bound
}

fn reply(address: &str, protocol: &Protocol) -> Result<()> {
    let bytes = match protocol {
        Protocol::Flags => {
            let answer = serde_json::json!({ "version": TASK_API_VERSION, "address": address, "protocol": "ttrpc" });
            answer.to_string().into_bytes()
        }
        Protocol::Message => {
            let answer = BootstrapResult {
                version: TASK_API_VERSION,
                address: address.to_owned(),
                protocol: "ttrpc".to_owned(),
                ..Default::default()
            };
            answer.write_to_bytes().map_err(|e| Error::refused("bootstrap result", e.to_string(), "a message"))?
        }
    };
    let mut stdout = std::io::stdout();
    stdout.write_all(&bytes).and_then(|()| stdout.flush()).doing(|| "answering containerd".to_owned())
}
