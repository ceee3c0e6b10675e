//! Wraps calls of WASI in functions of our own, which take their places among the imports: wasmer-wasix has no hooks.

use std::sync::Arc;

use catamaran_wasmer_artifact::imports;
use wasmer::{Extern, Function, FunctionEnv, FunctionEnvMut, Imports, Module, RuntimeError, StoreMut, Value};

use crate::call::{Call, Calls, Own};
use crate::remembered::{self, Tree};
use crate::{
    errors, guarded, input, listing, names, opening, polls, raised, room, seeks, signals, sockets, stat, syncing,
    timeouts, times, transfers, waits,
};

/// How a call is wrapped.
#[derive(Clone, Copy)]
enum Around {
    Close,
    /// A function of ours makes the call, or does something around it.
    By(fn(&mut Call<'_>) -> Result<i32, RuntimeError>),
    /// A call with paths: the places of its parameters that are the paths' folders.
    Path(&'static [usize]),
    /// Both [`Self::Path`] and [`Self::By`].
    PathBy(&'static [usize], fn(&mut Call<'_>) -> Result<i32, RuntimeError>),
    Handler,
    /// A signal that the guest sends itself: the parameters with the signal's number and, if there is one, the process's number.
    Raise(usize, Option<usize>),
    Exit,
}

const CALLS: [(&str, Around); 60] = [
    ("fd_allocate", Around::By(room::allocate)),
    ("fd_advise", Around::By(room::advise)),
    ("fd_filestat_get", Around::By(stat::by_descriptor)),
    ("fd_filestat_set_size", Around::By(room::set_size)),
    ("fd_write", Around::By(transfers::write)),
    ("fd_pwrite", Around::By(transfers::write_at)),
    ("fd_read", Around::By(transfers::read)),
    ("fd_pread", Around::By(transfers::read_at)),
    ("fd_sync", Around::By(syncing::whole)),
    ("fd_datasync", Around::By(syncing::data)),
    ("fd_fdstat_set_flags", Around::By(input::set_flags)),
    ("fd_fdstat_get", Around::By(input::status)),
    ("fd_close", Around::Close),
    ("fd_renumber", Around::By(renumber)),
    ("fd_seek", Around::By(seeks::seek)),
    ("fd_tell", Around::By(seeks::tell)),
    ("fd_filestat_set_times", Around::By(times::by_descriptor)),
    ("path_open", Around::By(opening::open)),
    ("path_open2", Around::By(opening::open)),
    ("fd_readdir", Around::PathBy(&[0], listing::read)),
    ("path_filestat_get", Around::PathBy(&[0], stat::by_path)),
    ("chdir", Around::Path(&[])),
    ("path_filestat_set_times", Around::PathBy(&[0], times::by_path)),
    ("path_create_directory", Around::PathBy(&[0], names::make_folder)),
    ("path_remove_directory", Around::PathBy(&[0], names::remove_folder)),
    ("path_unlink_file", Around::PathBy(&[0], names::unlink)),
    ("path_symlink", Around::PathBy(&[2], names::make_link)),
    ("path_readlink", Around::PathBy(&[0], names::read_link)),
    ("path_link", Around::PathBy(&[0, 4], names::link)),
    ("path_rename", Around::PathBy(&[0, 3], names::rename)),
    ("poll_oneoff", Around::By(polls::poll)),
    ("epoll_wait", Around::By(waits::its_own_time)),
    ("futex_wait", Around::By(waits::its_own_time)),
    ("thread_sleep", Around::By(waits::its_own_time)),
    ("sock_bind", Around::By(waits::its_own_time)),
    ("sock_listen", Around::By(waits::its_own_time)),
    ("sock_connect", Around::By(sockets::connect)),
    ("sock_accept", Around::By(sockets::accept)),
    ("sock_accept_v2", Around::By(sockets::accept)),
    ("sock_addr_peer", Around::By(sockets::peer)),
    ("sock_recv", Around::By(sockets::receive)),
    ("sock_recv_from", Around::By(sockets::receive_from)),
    ("sock_send", Around::By(sockets::send)),
    ("sock_send_to", Around::By(sockets::send_to)),
    ("sock_shutdown", Around::By(sockets::shutdown)),
    ("sock_send_file", Around::By(waits::send_file)),
    ("sock_set_opt_time", Around::By(timeouts::set)),
    ("sock_get_opt_time", Around::By(timeouts::get)),
    ("call_dynamic", Around::By(guarded::call_dynamic)),
    ("proc_spawn2", Around::By(guarded::spawn_process)),
    ("proc_spawn3", Around::By(guarded::spawn_process)),
    ("thread_spawn", Around::By(guarded::spawn_thread)),
    ("thread_spawn_v2", Around::By(guarded::spawn_thread)),
    ("thread-spawn", Around::By(guarded::spawn_wasi_thread)),
    ("callback_signal", Around::Handler),
    ("proc_raise", Around::Raise(0, None)),
    ("thread_signal", Around::Raise(1, None)),
    ("proc_signal", Around::Raise(1, Some(0))),
    ("proc_exit", Around::Exit),
    ("proc_exit2", Around::Exit),
];

/// Wraps those calls that `module` imports. The caller fills in the returned [`Own`] once there is an instance.
pub(crate) fn wrap(module: &Module, store: &mut StoreMut<'_>, imports: &mut Imports, tree: &Tree) -> Arc<Own> {
    let own = Arc::default();
    // The imports before any of them is wrapped.
    let provided = imports.clone();
    let function = |from: &str, name: &str| match provided.get_export(from, name) {
        Some(Extern::Function(function)) => Some(function),
        _ => None,
    };
    for import in module.imports() {
        let (from, name) = (import.module(), import.name());
        let around = CALLS.iter().find(|(call, _)| *call == name).map(|(_, around)| *around);
        let (Some(around), true) = (around, imports::is_provided(from, name)) else { continue };
        let Some(inner) = function(from, name) else { continue };
        let calls = Calls {
            inner,
            look_up: function(from, "path_filestat_set_times"),
            read_folder: function(from, "fd_readdir"),
            receive: function(from, "sock_recv"),
            // Preview 1 has no `fd_dup`; its addresses are those of WASIX for 32 bits.
            duplicate: function(from, "fd_dup").or_else(|| function("wasix_32v1", "fd_dup")),
            stat: function(from, "fd_filestat_get"),
            seek: function(from, "fd_seek"),
            tell: function(from, "fd_tell"),
            close: function(from, "fd_close"),
            set_flags: function(from, "fd_fdstat_set_flags"),
            tree: tree.clone(),
            own: Arc::clone(&own),
        };
        imports.define(from, name, wrapped(store, calls, around));
    }
    own
}

fn wrapped(store: &mut StoreMut<'_>, calls: Calls, around: Around) -> Function {
    let ty = calls.inner.ty(store);
    let env = FunctionEnv::new(store, calls);
    Function::new_with_env(store, &env, ty, move |mut env: FunctionEnvMut<'_, Calls>, arguments: &[Value]| {
        let mut call = Call::new(&mut env, arguments);
        match around {
            Around::Handler => {
                // Before the guest's handler is registered: a signal in between is the guest's.
                signals::take().map_err(|e| RuntimeError::new(format!("taking signals: {e}")))?;
                call.hand_on().map(Vec::from)
            }
            Around::Exit => {
                raised::exits();
                listing::ended();
                waits::untouched(|| call.hand_on()).map(Vec::from)
            }
            Around::Raise(signal, process) => raised::raise(&mut call, signal, process).map(said),
            _ => errors::carried(|| opening::apart(|| made(&mut call, around))).map(said),
        }
    })
}

fn said(number: i32) -> Vec<Value> {
    vec![Value::I32(number)]
}

/// Makes a call, wrapped as `around` says.
fn made(call: &mut Call<'_>, around: Around) -> Result<i32, RuntimeError> {
    match around {
        Around::Close => {
            let answer = call.made();
            listing::closed(call.number(0));
            timeouts::closed(call.number(0));
            answer
        }
        Around::By(body) => body(call),
        Around::Path(folders) => below(call, folders, Call::made),
        Around::PathBy(folders, body) => below(call, folders, body),
        Around::Handler | Around::Raise(..) | Around::Exit => call.made(),
    }
}

/// `fd_renumber`: a descriptor, and a second number for it. A descriptor that had that number is closed.
fn renumber(call: &mut Call<'_>) -> Result<i32, RuntimeError> {
    let said = call.made()?;
    let (from, to) = (call.number(0), call.number(1));
    listing::closed(to);
    if said == 0 && from != to {
        timeouts::closed(to);
    }
    Ok(said)
}

/// Makes a call with paths, below the container's root.
fn below<'a>(
    call: &mut Call<'a>,
    folders: &[usize],
    body: impl FnOnce(&mut Call<'a>) -> Result<i32, RuntimeError>,
) -> Result<i32, RuntimeError> {
    call.below_the_root(folders);
    remembered::without(&call.tree(), || body(call))
}
