//! Calls of WASI that this worker does something around, in the process's own code: wasmer-wasix has no hook for them.

use std::sync::Arc;

use catamaran_wasmer_artifact::imports;
use wasmer::{Extern, Function, FunctionEnv, FunctionEnvMut, Imports, Module, RuntimeError, StoreMut, Value};
use wasmer_wasix::wasmer_wasix_types::wasi::{Errno, Fdflags, Oflags};

use crate::call::{Call, Calls, Own};
use crate::remembered::{self, Opening, Tree};
use crate::{
    descriptors, errors, guarded, input, listing, names, net, polls, raised, signals, syncing, timeouts, times, waits,
};

/// What a call is put between.
#[derive(Clone, Copy)]
enum Around {
    /// The kernel's error numbers, as around all that follow but the last three.
    Errors,
    Sync,
    Close,
    /// One that something of ours does, or does something around.
    By(fn(&mut Call<'_>) -> Result<i32, RuntimeError>),
    /// A call with paths: where its parameters are that say below which folders they lie.
    Path(&'static [usize]),
    /// One that something of ours does, or does something around.
    PathBy(&'static [usize], fn(&mut Call<'_>) -> Result<i32, RuntimeError>),
    /// One that opens: path_open's parameters 4 and 7 say how, WASI's `oflags` and `fdflags`.
    Open,
    Handler,
    /// A signal to oneself: the place of its number, and of the process's, if it names one.
    Raise(usize, Option<usize>),
    Exit,
}

const CALLS: [(&str, Around); 57] = [
    ("fd_allocate", Around::Errors),
    ("fd_filestat_get", Around::Errors),
    ("fd_filestat_set_size", Around::Errors),
    ("fd_pwrite", Around::Errors),
    ("fd_write", Around::By(waits::send_parts)),
    ("fd_sync", Around::Sync),
    ("fd_datasync", Around::Sync),
    ("fd_read", Around::By(waits::read)),
    ("fd_pread", Around::By(waits::read)),
    ("fd_fdstat_set_flags", Around::By(input::set_flags)),
    ("fd_fdstat_get", Around::By(input::status)),
    ("fd_close", Around::Close),
    ("fd_renumber", Around::By(renumber)),
    ("fd_seek", Around::By(seek)),
    ("fd_tell", Around::By(seek)),
    ("fd_filestat_set_times", Around::By(times::by_descriptor)),
    ("path_open", Around::Open),
    ("path_open2", Around::Open),
    ("fd_readdir", Around::PathBy(&[0], listing::read)),
    ("path_filestat_get", Around::PathBy(&[0], descriptors::stat)),
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
    ("sock_connect", Around::By(net::connect)),
    ("sock_accept", Around::By(waits::receive)),
    ("sock_accept_v2", Around::By(waits::receive)),
    ("sock_recv", Around::By(waits::receive_parts)),
    ("sock_recv_from", Around::By(waits::receive_from)),
    ("sock_send", Around::By(waits::send_parts)),
    ("sock_send_to", Around::By(waits::send)),
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

/// Puts what is done around them around those calls that `module` imports. What is the instance's own is to be told when there
/// is one.
pub(crate) fn wrap(module: &Module, store: &mut StoreMut<'_>, imports: &mut Imports, tree: &Tree) -> Arc<Own> {
    let own = Arc::default();
    // As they are before one of them is wrapped.
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
            // Preview 1 has none, and the addresses of WASIX for 32 bits.
            duplicate: function(from, "fd_dup").or_else(|| function("wasix_32v1", "fd_dup")),
            stat: function(from, "fd_filestat_get"),
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
                // Before the guest's handler counts: a signal in between is the guest's.
                signals::take().map_err(|e| RuntimeError::new(format!("taking signals: {e}")))?;
                call.hand_on().map(Vec::from)
            }
            Around::Exit => {
                raised::exits();
                listing::ended();
                waits::untouched(|| call.hand_on()).map(Vec::from)
            }
            Around::Raise(signal, process) => raised::raise(&mut call, signal, process).map(said),
            _ => errors::carried(|| made(&mut call, around)).map(said),
        }
    })
}

fn said(number: i32) -> Vec<Value> {
    vec![Value::I32(number)]
}

/// A call that has to do with files.
fn made(call: &mut Call<'_>, around: Around) -> Result<i32, RuntimeError> {
    match around {
        Around::Sync => syncing::during(|| call.made()),
        Around::Close => {
            let answer = call.made();
            listing::closed(call.number(0));
            timeouts::closed(call.number(0));
            answer
        }
        Around::By(body) => body(call),
        Around::Path(folders) => below(call, folders, Call::made),
        Around::PathBy(folders, body) => below(call, folders, body),
        Around::Open => open(call),
        Around::Errors | Around::Handler | Around::Raise(..) | Around::Exit => call.made(),
    }
}

/// `fd_renumber`: a descriptor, and a second number for it. What had that number is closed.
fn renumber(call: &mut Call<'_>) -> Result<i32, RuntimeError> {
    let said = call.made()?;
    let (from, to) = (call.number(0), call.number(1));
    listing::closed(to);
    if said == 0 && from != to {
        timeouts::closed(to);
    }
    Ok(said)
}

/// `fd_seek` and `fd_tell`.
fn seek(call: &mut Call<'_>) -> Result<i32, RuntimeError> {
    Ok(match call.made()? {
        // To wasmer-wasix a stream lacks a right.
        said if said == Errno::Access as i32 => Errno::Spipe as i32,
        said => said,
    })
}

/// Makes a call with paths, below the container's root.
fn below<'a>(
    call: &mut Call<'a>,
    folders: &[usize],
    body: impl FnOnce(&mut Call<'a>) -> Result<i32, RuntimeError>,
) -> Result<i32, RuntimeError> {
    call.below_the_root(folders);
    remembered::without(&call.tree(), Opening::default(), || body(call))
}

fn open(call: &mut Call<'_>) -> Result<i32, RuntimeError> {
    let has = |at: usize, flag: u16| call.number(at) & u64::from(flag) != 0;
    let opening = Opening { append: has(7, Fdflags::APPEND.bits()), truncate: has(4, Oflags::TRUNC.bits()) };
    call.below_the_root(&[0]);
    remembered::without(&call.tree(), opening, || descriptors::open(call))
}
