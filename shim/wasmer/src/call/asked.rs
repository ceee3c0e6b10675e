//! Finds out what a descriptor of the guest's is. wasmer-wasix does not tell. So it is asked to seek or to list, which it has our files and
//! folders do, and these note themselves.

use std::path::PathBuf;
use std::sync::Arc;

use wasmer::{RuntimeError, Type, Value};
use wasmer_wasix::wasmer_wasix_types::wasi::{Errno, Whence};

use super::{Call, Which, answered};
use crate::folders;
use crate::opened::{self, Opened};

/// What a descriptor is.
pub(crate) enum Descriptor {
    File(Arc<Opened>),
    Folder(PathBuf),
    /// A stream, a pipe, a socket, or none: wasmer-wasix's answer to a seek in it.
    Other(i32),
}

impl Call<'_> {
    /// What a descriptor is.
    pub(crate) fn what(&mut self, descriptor: u32) -> Result<Descriptor, RuntimeError> {
        let descriptor = Value::I32(descriptor.cast_signed());
        let (said, file) = opened::file_of(|| self.seek(descriptor.clone(), 0, Whence::End));
        if let Some(file) = file {
            return Ok(Descriptor::File(file));
        }
        let said = said?;
        let folder = if said != Errno::Badf as i32 { self.folder_of(descriptor)?.ok() } else { None };
        Ok(folder.map_or(Descriptor::Other(said), Descriptor::Folder))
    }

    /// The position of the descriptor in the first argument, or an error number. Overwrites the memory that the last argument
    /// points to.
    pub(crate) fn position(&mut self) -> Result<Result<u64, i32>, RuntimeError> {
        let said = self.instead(Which::Tell, self.number(0) as u32)?;
        let to = self.number(self.arguments.len() - 1);
        let mut position = [0; 8];
        Ok(match (said, self.get(to, &mut position)) {
            (0, true) => Ok(u64::from_le_bytes(position)),
            (0, false) => Err(Errno::Fault as i32),
            (said, _) => Err(said),
        })
    }

    /// Sets the position of the descriptor that is the first argument.
    pub(crate) fn go_to(&mut self, position: u64) -> Result<(), RuntimeError> {
        let descriptor = self.arguments.first().cloned().unwrap_or(Value::I32(-1));
        // wasmer-wasix answers that it cannot write the position, which it finds out last.
        self.seek(descriptor, position.cast_signed(), Whence::Set).map(drop)
    }

    /// Seeks, without an address for the answer, so that no memory is written.
    fn seek(&mut self, descriptor: Value, offset: i64, whence: Whence) -> Result<i32, RuntimeError> {
        let Some(seek) = self.calls.seek.clone() else { return Ok(Errno::Nosys as i32) };
        let nowhere = match seek.ty(&self.store).params().last() {
            Some(Type::I64) => Value::I64(-1),
            _ => Value::I32(-1),
        };
        let arguments = [descriptor, Value::I64(offset), Value::I32(whence as i32), nowhere];
        answered(&seek.call(&mut self.store, &arguments)?)
    }

    /// The path of the folder whose descriptor is at that place, or wasmer-wasix's error number.
    pub(crate) fn folder(&mut self, at: usize) -> Result<Result<PathBuf, i32>, RuntimeError> {
        let descriptor = self.arguments.get(at).cloned().unwrap_or(Value::I32(-1));
        self.folder_of(descriptor)
    }

    fn folder_of(&mut self, descriptor: Value) -> Result<Result<PathBuf, i32>, RuntimeError> {
        let Some(read) = self.calls.read_folder.clone() else { return Ok(Err(Errno::Nosys as i32)) };
        let pointer = read.ty(&self.store).params().get(1).copied();
        // Nothing is written: there is no room for names, and no memory where the number of bytes would go.
        let (nowhere, none) = match pointer {
            Some(Type::I64) => (Value::I64(-1), Value::I64(0)),
            _ => (Value::I32(-1), Value::I32(0)),
        };
        let arguments = [descriptor, none.clone(), none, Value::I64(0), nowhere];
        let (said, folder) = folders::folder_of(|| read.call(&mut self.store, &arguments));
        match folder {
            Some(folder) => Ok(Ok(folder)),
            None => answered(&said?).map(Err),
        }
    }
}
