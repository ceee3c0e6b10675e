//! Calls of WASI that this worker does something around, in the process's own code: wasmer-wasix has no hook for them.

use std::cell::Cell;
use std::sync::{Arc, OnceLock};

use wasmer::{Extern, Function, FunctionEnv, FunctionEnvMut, Imports, Memory, Module, RuntimeError, StoreMut, Value};
use wasmer_wasix::wasmer_wasix_types::wasi::{Errno, Fdflags, Oflags};

use crate::call::{Call, Calls};
use crate::remembered::{self, Opening, Tree};
use crate::{descriptors, errors, imports, input, links, listing, net, raised, signals, times};

thread_local! {
    static SYNCING: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread is in a guest's fsync or fdatasync: wasmer-wasix asks for the same flush when a file is closed.
pub(crate) fn is_syncing() -> bool {
    SYNCING.get()
}

/// What a call is put between.
#[derive(Clone, Copy)]
enum Around {
    /// The kernel's error numbers, as around all that follow but the last three.
    Errors,
    Sync,
    /// A read, which may be of standard input.
    Read,
    /// One that may say that reads of it do not wait.
    Flags,
    /// One that tells whether they do.
    Status,
    Close,
    /// One that makes a descriptor another one.
    Renumber,
    /// One that asks for a position.
    Seek,
    Times,
    /// A call with paths: where its parameters are that say below which folders they lie.
    Path(&'static [usize]),
    /// One that opens: path_open's parameters 4 and 7 say how, WASI's `oflags` and `fdflags`.
    Open,
    /// One that finds only what is remembered: it is looked up before.
    RemoveFolder,
    MakeFolder,
    List,
    /// One that looks at a path, which may be a descriptor's.
    Stat,
    /// One that waits for a connection, or begins to.
    Connect,
    PathTimes,
    Link,
    Rename,
    Handler,
    /// A signal to oneself: the place of its number, and of the process's, if it names one.
    Raise(usize, Option<usize>),
    Exit,
}

const CALLS: [(&str, Around); 36] = [
    ("fd_allocate", Around::Errors),
    ("fd_filestat_get", Around::Errors),
    ("fd_filestat_set_size", Around::Errors),
    ("fd_pwrite", Around::Errors),
    ("fd_write", Around::Errors),
    ("fd_sync", Around::Sync),
    ("fd_datasync", Around::Sync),
    ("fd_read", Around::Read),
    ("fd_pread", Around::Read),
    ("fd_fdstat_set_flags", Around::Flags),
    ("fd_fdstat_get", Around::Status),
    ("fd_close", Around::Close),
    ("fd_renumber", Around::Renumber),
    ("fd_seek", Around::Seek),
    ("fd_tell", Around::Seek),
    ("fd_filestat_set_times", Around::Times),
    ("path_open", Around::Open),
    ("path_open2", Around::Open),
    ("path_remove_directory", Around::RemoveFolder),
    ("path_create_directory", Around::MakeFolder),
    ("fd_readdir", Around::List),
    ("path_filestat_get", Around::Stat),
    ("path_readlink", Around::Path(&[0])),
    ("path_symlink", Around::Path(&[2])),
    ("path_unlink_file", Around::Path(&[0])),
    ("chdir", Around::Path(&[])),
    ("sock_connect", Around::Connect),
    ("path_filestat_set_times", Around::PathTimes),
    ("path_link", Around::Link),
    ("path_rename", Around::Rename),
    ("callback_signal", Around::Handler),
    ("proc_raise", Around::Raise(0, None)),
    ("thread_signal", Around::Raise(1, None)),
    ("proc_signal", Around::Raise(1, Some(0))),
    ("proc_exit", Around::Exit),
    ("proc_exit2", Around::Exit),
];

/// Puts what is done around them around those calls that `module` imports. The memory is to be told when there is one.
pub(crate) fn wrap(
    module: &Module,
    store: &mut StoreMut<'_>,
    imports: &mut Imports,
    tree: &Tree,
) -> Arc<OnceLock<Memory>> {
    let memory = Arc::default();
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
            // Preview 1 has none, and the addresses of WASIX for 32 bits.
            duplicate: function(from, "fd_dup").or_else(|| function("wasix_32v1", "fd_dup")),
            stat: function(from, "fd_filestat_get"),
            tree: tree.clone(),
            memory: Arc::clone(&memory),
        };
        imports.define(from, name, wrapped(store, calls, around));
    }
    memory
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
                call.hand_on().map(Vec::from)
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
        Around::Sync => {
            SYNCING.set(true);
            let answer = call.made();
            SYNCING.set(false);
            answer
        }
        Around::Read => input::read(call),
        Around::Flags => input::set_flags(call),
        Around::Status => input::status(call),
        Around::Close => {
            let answer = call.made();
            listing::closed(call.number(0));
            answer
        }
        Around::Renumber => {
            let answer = call.made();
            listing::closed(call.number(1));
            answer
        }
        Around::Seek => Ok(match call.made()? {
            // To wasmer-wasix a stream lacks a right.
            said if said == Errno::Access as i32 => Errno::Spipe as i32,
            said => said,
        }),
        Around::Times => times::by_descriptor(call),
        Around::Path(folders) => below(call, folders, Call::made),
        Around::Open => open(call),
        Around::RemoveFolder => below(call, &[0], |call| {
            call.look_up(0, 1)?;
            call.made()
        }),
        Around::MakeFolder => below(call, &[0], |call| match call.made()? {
            // One that somebody else made since it was looked for is a success to wasmer-wasix: a lock would have two owners.
            0 if errors::last() == Some(libc::EEXIST) => Ok(Errno::Exist as i32),
            answer => Ok(answer),
        }),
        Around::List => below(call, &[0], listing::read),
        Around::Stat => below(call, &[0], descriptors::stat),
        Around::Connect => net::connect(call),
        Around::PathTimes => below(call, &[0], times::by_path),
        Around::Link => below(call, &[0, 4], links::link),
        Around::Rename => below(call, &[0, 3], links::rename),
        Around::Errors | Around::Handler | Around::Raise(..) | Around::Exit => call.made(),
    }
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
