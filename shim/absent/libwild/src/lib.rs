//! In place of libwild, a linker: what wasmer-compiler 7.4.2 names of it, and nothing that links.
//!
//! wasmer-compiler needs a linker where a code generator makes object files, and depends on one in any case. Cranelift makes
//! none, unless it is asked for its experimental artifact, which Catamaran does not do; and the worker has no code generator at
//! all. The real one took 90 s of processor time, twice, of a first build, and is 100,000 lines in a process that meets hostile
//! modules. Whoever comes here after all gets an error, which Wasmer hands on as that of the compile.
//!
//! To be dropped when wasmer-compiler makes the dependency optional. Both workspaces' manifests name it (`[patch.crates-io]`).

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub mod error {
    //! The linker's errors.

    /// A text.
    #[derive(Debug)]
    pub struct Error(pub String);

    impl From<String> for Error {
        fn from(text: String) -> Self {
            Self(text)
        }
    }

    /// What the linker's functions return.
    pub type Result<T = ()> = std::result::Result<T, Error>;
}

use error::{Error, Result};

/// An error with a formatted text.
#[macro_export]
macro_rules! error {
    ($($text:tt)*) => { $crate::error::Error(format!($($text)*)) };
}

/// The linker's arguments.
pub struct Args;

impl Args {
    /// Always an error: there is no linker.
    pub fn new<I: Iterator>(_: impl Fn() -> I) -> Result<Self> {
        Err(Error("this build of Wasmer's compiler has no linker".to_owned()))
    }

    /// Never reached, since there is no value of the type; an error all the same.
    pub fn parse<I: Iterator>(&mut self, _: impl Fn() -> I) -> Result {
        Args::new(std::iter::empty::<()>).map(|_| ())
    }
}

/// The linker.
pub struct Linker;

impl Linker {
    /// A linker that reads and writes there.
    pub fn with_file_system(_: impl FileSystem) -> Self {
        Self
    }

    /// Always an error.
    pub fn run(&self, _: &Args) -> Result {
        Args::new(std::iter::empty::<()>).map(|_| ())
    }
}

/// A file that is read.
pub trait InputFileData {
    /// Its bytes.
    fn bytes(&self) -> &[u8];
}

/// A file that is written.
pub trait OutputFileData {
    /// Its bytes so far.
    fn bytes(&self) -> &[u8];
    /// Its bytes, to be written to.
    fn bytes_mut(&mut self) -> &mut [u8];
    /// Ends the writing.
    fn finish(self) -> Result;
}

/// How an output is made.
pub struct OutputOptions {
    /// Its length in bytes.
    pub size: u64,
}

/// What a path names.
pub enum FileType {
    /// A file.
    File,
}

/// Where the linker's files are.
pub trait FileSystem {
    /// A file that is read.
    type Input: InputFileData;
    /// A file that is written.
    type Output: OutputFileData;
    /// Opens a file to be read.
    fn open_input(&self, path: &Path, prepopulate: bool) -> Result<(Self::Input, Option<Arc<File>>)>;
    /// What the path names.
    fn file_type(&self, path: &Path) -> Result<FileType>;
    /// The path without links.
    fn canonicalize(&self, path: &Path) -> Result<PathBuf>;
    /// Removes a file.
    fn remove_file(&self, path: &Path) -> Result<()>;
    /// Renames a file.
    fn rename_file(&self, path: &Path, new_path: &Path) -> Result<()>;
    /// Makes a file of a size.
    fn create_output(&self, path: Arc<Path>, options: OutputOptions) -> Result<Self::Output>;
    /// Writes a whole file.
    fn write_auxiliary(&self, path: &Path, bytes: &[u8]) -> Result;
}
