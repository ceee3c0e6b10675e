//! Calls of WASI that this worker does something around, in the process's own code: wasmer-wasix has no hook for them.

use std::cell::Cell;

use wasmer::{
    AsStoreMut, Extern, Function, FunctionEnv, FunctionEnvMut, Imports, Module, RuntimeError, StoreMut, Value,
};
use wasmer_wasix::wasmer_wasix_types::wasi::{Fdflags, Oflags};

use crate::remembered::{self, Opening, Tree};
use crate::{imports, signals};

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
    Sync,
    Signals,
    /// A call with paths: where its parameters are that say below which folders they lie.
    Path(&'static [usize]),
    /// One that opens: path_open's parameters 4 and 7 say how, WASI's `oflags` and `fdflags`.
    Open,
    /// One that finds only what is remembered: it is looked up before.
    RemoveFolder,
}

const CALLS: [(&str, Around); 16] = [
    ("fd_sync", Around::Sync),
    ("fd_datasync", Around::Sync),
    ("callback_signal", Around::Signals),
    ("path_open", Around::Open),
    ("path_open2", Around::Open),
    ("path_remove_directory", Around::RemoveFolder),
    ("fd_readdir", Around::Path(&[0])),
    ("path_create_directory", Around::Path(&[0])),
    ("path_filestat_get", Around::Path(&[0])),
    ("path_filestat_set_times", Around::Path(&[0])),
    ("path_link", Around::Path(&[0, 4])),
    ("path_readlink", Around::Path(&[0])),
    ("path_rename", Around::Path(&[0, 3])),
    ("path_symlink", Around::Path(&[2])),
    ("path_unlink_file", Around::Path(&[0])),
    ("chdir", Around::Path(&[])),
];
const LOOK_UP: &str = "path_filestat_set_times";

/// Both of these are open when a guest starts, and are called `/`. The first is a folder of wasmer-wasix's own making, that
/// lists what is preopened and in which nothing can be made; the second is the container's root.
const LIST: i32 = 3;
const ROOT: i32 = 4;

/// Puts what is done around them around those calls that `module` imports.
pub(crate) fn wrap(module: &Module, store: &mut StoreMut<'_>, imports: &mut Imports, tree: &Tree) {
    for import in module.imports() {
        let (from, name) = (import.module(), import.name());
        let around = CALLS.iter().find(|(call, _)| *call == name).map(|(_, around)| *around);
        let (Some(around), true) = (around, imports::is_provided(from, name)) else { continue };
        let Some(Extern::Function(inner)) = imports.get_export(from, name) else { continue };
        let look_up = match imports.get_export(from, LOOK_UP) {
            Some(Extern::Function(look_up)) => Some(look_up),
            _ => None,
        };
        imports.define(from, name, wrapped(store, Calls { inner, look_up, tree: tree.clone() }, around));
    }
}

#[derive(Clone)]
struct Calls {
    inner: Function,
    look_up: Option<Function>,
    tree: Tree,
}

fn wrapped(store: &mut StoreMut<'_>, calls: Calls, around: Around) -> Function {
    let ty = calls.inner.ty(store);
    let env = FunctionEnv::new(store, calls);
    Function::new_with_env(store, &env, ty, move |mut env: FunctionEnvMut<'_, Calls>, arguments: &[Value]| {
        let Calls { inner, look_up, tree } = env.data().clone();
        let mut call = |arguments: &[Value]| inner.call(&mut env.as_store_mut(), arguments);
        let result = match around {
            Around::Signals => {
                // Before the guest's handler counts: a signal in between is the guest's.
                signals::take().map_err(|e| RuntimeError::new(format!("taking signals: {e}")))?;
                call(arguments)
            }
            Around::Sync => {
                SYNCING.set(true);
                let result = call(arguments);
                SYNCING.set(false);
                result
            }
            Around::Path(folders) => {
                remembered::without(&tree, Opening::default(), || call(&below_the_root(arguments, folders)))
            }
            Around::Open => {
                let has =
                    |at: usize, flag: u16| arguments.get(at).and_then(Value::i32).unwrap_or(0) & i32::from(flag) != 0;
                let opening =
                    Opening { append: has(7, Fdflags::APPEND.bits()), truncate: has(4, Oflags::TRUNC.bits()) };
                remembered::without(&tree, opening, || call(&below_the_root(arguments, &[0])))
            }
            Around::RemoveFolder => remembered::without(&tree, Opening::default(), || {
                let arguments = below_the_root(arguments, &[0]);
                if let (Some(look_up), [folder, path, length]) = (look_up, arguments.as_slice()) {
                    let (none, zero) = (Value::I64(0), Value::I32(0));
                    // To set no time: what it answers, the call itself does.
                    let arguments =
                        [folder.clone(), zero.clone(), path.clone(), length.clone(), none.clone(), none, zero];
                    look_up.call(&mut env.as_store_mut(), &arguments)?;
                }
                inner.call(&mut env.as_store_mut(), &arguments)
            }),
        };
        result.map(Vec::from)
    })
}

/// The arguments, with the container's root where [`LIST`] is one of those at `folders`.
fn below_the_root(arguments: &[Value], folders: &[usize]) -> Vec<Value> {
    let mut arguments = arguments.to_vec();
    for folder in folders {
        if let Some(Value::I32(folder)) = arguments.get_mut(*folder)
            && *folder == LIST
        {
            *folder = ROOT;
        }
    }
    arguments
}
