//! A call of WASI on its way from the guest to wasmer-wasix.

mod asked;

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use wasmer::{Function, FunctionEnvMut, FunctionType, Memory, RuntimeError, StoreMut, Table, Value};
use wasmer_wasix::wasmer_wasix_types::wasi::Errno;

use crate::remembered::Tree;

pub(crate) use asked::Descriptor;

/// The two descriptors that are open when a guest starts, both named `/`. [`LIST`] is a folder of wasmer-wasix's own making,
/// which lists the preopens and takes no new names; [`ROOT`] is the container's root.
pub(crate) const LIST: i32 = 3;
pub(crate) const ROOT: i32 = 4;

/// WASI's look-up flag: follow a link at the path's end.
const FOLLOW: u64 = 1;

/// The functions of wasmer-wasix that a call may use.
pub(crate) struct Calls {
    pub(crate) inner: Function,
    /// `path_filestat_set_times`, which looks a path up.
    pub(crate) look_up: Option<Function>,
    /// `fd_readdir`.
    pub(crate) read_folder: Option<Function>,
    /// `sock_recv`.
    pub(crate) receive: Option<Function>,
    /// `fd_dup`, `fd_filestat_get`, `fd_seek`, `fd_tell` and `fd_close`.
    pub(crate) duplicate: Option<Function>,
    pub(crate) stat: Option<Function>,
    pub(crate) seek: Option<Function>,
    pub(crate) tell: Option<Function>,
    pub(crate) close: Option<Function>,
    /// `fd_fdstat_set_flags`.
    pub(crate) set_flags: Option<Function>,
    pub(crate) tree: Tree,
    pub(crate) own: Arc<Own>,
}

/// The parts of the guest's instance that calls need.
#[derive(Default)]
pub(crate) struct Own {
    pub(crate) memory: OnceLock<Memory>,
    /// The functions that the guest calls by number.
    pub(crate) functions: OnceLock<Table>,
}

/// A question about a descriptor, asked in place of a call.
#[derive(Clone, Copy)]
pub(crate) enum Which {
    Duplicate,
    Stat,
    Tell,
}

/// One call: its arguments, and the function that it is for.
pub(crate) struct Call<'a> {
    calls: &'a Calls,
    store: StoreMut<'a>,
    arguments: Vec<Value>,
}

impl<'a> Call<'a> {
    pub(crate) fn new(env: &'a mut FunctionEnvMut<'_, Calls>, arguments: &[Value]) -> Self {
        let (calls, store) = env.data_and_store_mut();
        Self { calls, store, arguments: arguments.to_vec() }
    }

    /// Puts the container's root in place of [`LIST`] where that is one of the folders at `places`.
    pub(crate) fn below_the_root(&mut self, places: &[usize]) {
        for place in places {
            if let Some(Value::I32(folder)) = self.arguments.get_mut(*place)
                && *folder == LIST
            {
                *folder = ROOT;
            }
        }
    }

    pub(crate) fn tree(&self) -> Tree {
        self.calls.tree.clone()
    }

    /// Hands the call on to wasmer-wasix.
    pub(crate) fn hand_on(&mut self) -> Result<Box<[Value]>, RuntimeError> {
        self.calls.inner.call(&mut self.store, &self.arguments)
    }

    /// As [`Self::hand_on`]; returns the error number that it answers.
    pub(crate) fn made(&mut self) -> Result<i32, RuntimeError> {
        answered(&self.hand_on()?)
    }

    /// As [`Self::made`], with other arguments at these places.
    pub(crate) fn made_with(&mut self, others: &[(usize, Value)]) -> Result<i32, RuntimeError> {
        let own = self.arguments.clone();
        for (place, value) in others {
            if let Some(argument) = self.arguments.get_mut(*place) {
                *argument = value.clone();
            }
        }
        let answer = self.made();
        self.arguments = own;
        answer
    }

    /// Makes an `fd_read` into several buffers as a `sock_recv`. None if there is one buffer or no socket.
    pub(crate) fn received(&mut self) -> Option<Result<i32, RuntimeError>> {
        let several = |number: &Value| !matches!(number, Value::I32(0 | 1) | Value::I64(0 | 1));
        let [descriptor, buffers, number, size] = self.arguments.as_slice() else { return None };
        let receive = self.calls.receive.as_ref().filter(|_| several(number))?;
        // `sock_recv` writes its flags first, then the size, to the same place.
        let arguments = [descriptor, buffers, number, &Value::I32(0), size, size].map(Value::clone);
        let said = receive.call(&mut self.store, &arguments).and_then(|values| answered(&values));
        let not_one = [Errno::Notsock, Errno::Access, Errno::Badf].map(|errno| errno as i32);
        Some(said).filter(|said| !said.as_ref().is_ok_and(|said| not_one.contains(said)))
    }

    /// Has wasmer-wasix look up, and so remember, the path at these places. The answer is dropped, because the call itself gives one.
    pub(crate) fn look_up(&mut self, folder: usize, path: usize) -> Result<(), RuntimeError> {
        let places = [folder, path, path + 1].map(|at| self.arguments.get(at).cloned());
        if let (Some(look_up), [Some(folder), Some(path), Some(length)]) = (&self.calls.look_up, places) {
            let (none, zero) = (Value::I64(0), Value::I32(0));
            // The flags set no time.
            let arguments = [folder, zero.clone(), path, length, none.clone(), none, zero];
            look_up.call(&mut self.store, &arguments)?;
        }
        Ok(())
    }

    /// Calls `function` for one of the guest's descriptors, with this call's last argument as the answer's address.
    pub(crate) fn instead(&mut self, function: Which, descriptor: u32) -> Result<i32, RuntimeError> {
        let function = match function {
            Which::Duplicate => self.calls.duplicate.as_ref(),
            Which::Stat => self.calls.stat.as_ref(),
            Which::Tell => self.calls.tell.as_ref(),
        };
        let (Some(function), Some(to)) = (function, self.arguments.last().cloned()) else {
            return Ok(Errno::Nosys as i32);
        };
        answered(&function.call(&mut self.store, &[Value::I32(descriptor.cast_signed()), to])?)
    }

    /// Closes the descriptor that the call has put where its last argument points to.
    pub(crate) fn close_opened(&mut self) -> Result<(), RuntimeError> {
        let (mut number, Some(close)) = ([0; 4], self.calls.close.clone()) else { return Ok(()) };
        if self.get(self.number(self.arguments.len() - 1), &mut number) {
            close.call(&mut self.store, &[Value::I32(i32::from_le_bytes(number))])?;
        }
        Ok(())
    }

    /// Sets WASI's `fdflags` of the descriptor that the call has put where the argument at that place points to.
    pub(crate) fn set_flags_of_opened(&mut self, at: usize, flags: u64) -> Result<(), RuntimeError> {
        let (mut number, Some(set)) = ([0; 4], self.calls.set_flags.clone()) else { return Ok(()) };
        if self.get(self.number(at), &mut number) {
            // There are five flags.
            let flags = Value::I32((flags as u32).cast_signed());
            set.call(&mut self.store, &[Value::I32(i32::from_le_bytes(number)), flags])?;
        }
        Ok(())
    }

    /// An argument: a number, a descriptor, an address.
    pub(crate) fn number(&self, at: usize) -> u64 {
        match self.arguments.get(at) {
            Some(Value::I32(number)) => u64::from(number.cast_unsigned()),
            Some(Value::I64(number)) => number.cast_unsigned(),
            _ => 0,
        }
    }

    /// Whether an argument has 64 bits: an address, in a call for memories of 64 bits.
    pub(crate) fn is_wide(&self, at: usize) -> bool {
        matches!(self.arguments.get(at), Some(Value::I64(_)))
    }

    /// A number as wide as the argument at that place: an address, or a length.
    pub(crate) fn as_wide_as(&self, at: usize, number: u64) -> Value {
        match self.is_wide(at) {
            true => Value::I64(number.cast_signed()),
            // A memory of 32 bits: the number fits.
            false => Value::I32((number as u32).cast_signed()),
        }
    }

    /// Whether the look-up flags at that place say that a link at the path's end is followed.
    pub(crate) fn follows(&self, at: usize) -> bool {
        self.number(at) & FOLLOW != 0
    }

    /// The absolute path of the folder and the text at these places, or the error number to answer.
    pub(crate) fn path(&mut self, folder: usize, text: usize) -> Result<Result<PathBuf, i32>, RuntimeError> {
        let text = match self.text(text) {
            Ok(text) if text.as_os_str().is_empty() => return Ok(Err(Errno::Noent as i32)),
            Ok(text) => text,
            Err(refused) => return Ok(Err(refused)),
        };
        match text.is_absolute() {
            true => Ok(Ok(text)),
            false => Ok(self.folder(folder)?.map(|folder| match (folder.parent(), text.as_os_str().as_bytes()) {
                // wasi-libc's form of the root's own name.
                (None, b".") => folder,
                _ => folder.join(text),
            })),
        }
    }

    /// A text of the guest's, whose address and length are the arguments from `at` on: a path, which need not be UTF-8. Or
    /// the error number to answer.
    pub(crate) fn text(&self, at: usize) -> Result<PathBuf, i32> {
        let fits = |&length: &usize| length <= libc::PATH_MAX as usize;
        let length = usize::try_from(self.number(at + 1)).ok().filter(fits).ok_or(Errno::Nametoolong as i32)?;
        let mut bytes = vec![0; length];
        match self.get(self.number(at), &mut bytes) {
            true => Ok(OsString::from_vec(bytes).into()),
            false => Err(Errno::Fault as i32),
        }
    }

    /// Reads from the guest's memory; returns false if it has none at that address.
    pub(crate) fn get(&self, address: u64, bytes: &mut [u8]) -> bool {
        self.calls.own.memory.get().is_some_and(|memory| memory.view(&self.store).read(address, bytes).is_ok())
    }

    /// Writes a size to the address at `place`, as wide as the module's addresses are.
    pub(crate) fn put_size(&self, place: usize, size: usize) -> bool {
        match self.arguments.get(place) {
            Some(Value::I64(_)) => self.put(self.number(place), &(size as u64).to_le_bytes()),
            _ => self.put(self.number(place), &(size as u32).to_le_bytes()),
        }
    }

    /// The type of a function that the guest calls by the number at `place`; None if there is no such function.
    pub(crate) fn function(&mut self, place: usize) -> Option<FunctionType> {
        let number = u32::try_from(self.number(place)).ok()?;
        match self.calls.own.functions.get()?.get(&mut self.store, number)? {
            Value::FuncRef(Some(function)) => Some(function.ty(&self.store)),
            _ => None,
        }
    }

    /// The length of a buffer of the guest's; None if the guest's memory does not hold all of it.
    pub(crate) fn room(&self, address: u64, length: u64) -> Option<usize> {
        let memory = self.calls.own.memory.get()?.view(&self.store).data_size();
        let end = address.checked_add(length).filter(|&end| end <= memory)?;
        usize::try_from(end - address).ok()
    }

    /// Writes into the guest's memory; returns false if it has none at that address.
    pub(crate) fn put(&self, address: u64, bytes: &[u8]) -> bool {
        self.calls.own.memory.get().is_some_and(|memory| memory.view(&self.store).write(address, bytes).is_ok())
    }
}

/// The error number that a call answered.
fn answered(values: &[Value]) -> Result<i32, RuntimeError> {
    match values {
        [Value::I32(said)] => Ok(*said),
        _ => Err(RuntimeError::new("a call of WASI answered no error number")),
    }
}
