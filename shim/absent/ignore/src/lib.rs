//! In place of ignore, a walk through a folder by .gitignore's rules: what wasmer-package 0.704.2 and webc 12.0.1 name of it, and a walk
//! that ends with an error.
//!
//! Both walk only to pack a folder of the host into a package. The worker packs none, and has no such folder in sight. The real crate
//! links globset and the regex engine into each worker of Wasmer. Whoever comes here after all gets an error, which Wasmer hands on.
//!
//! To be dropped when wasmer-package makes the dependency optional. The root's manifest names it (`[patch.crates-io]`).

use std::fmt::{self, Display, Formatter};
use std::io;
use std::path::Path;

/// Why a walk ends.
#[derive(Debug)]
pub enum Error {
    /// An error of the host's files: never, because none is read.
    Io(io::Error),
    /// This crate does not walk.
    Absent,
}

impl Display for Error {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(e) => e.fmt(f),
            Self::Absent => f.write_str("this build of Wasmer packs no folders"),
        }
    }
}

impl std::error::Error for Error {}

/// A walk's settings, all of which are ignored.
#[derive(Debug)]
pub struct WalkBuilder;

impl WalkBuilder {
    /// The settings of a walk through `path`.
    pub fn new(_path: impl AsRef<Path>) -> Self {
        Self
    }

    /// Whether the usual filters are on.
    pub fn standard_filters(&mut self, _yes: bool) -> &mut Self {
        self
    }

    /// Whether links are followed.
    pub fn follow_links(&mut self, _yes: bool) -> &mut Self {
        self
    }

    /// Whether the parents' rules count.
    pub fn parents(&mut self, _yes: bool) -> &mut Self {
        self
    }

    /// A file of rules.
    pub fn add_custom_ignore_filename(&mut self, _name: impl AsRef<Path>) -> &mut Self {
        self
    }

    /// Rules that win over those of files.
    pub fn overrides(&mut self, _rules: overrides::Override) -> &mut Self {
        self
    }

    /// How deep the walk goes.
    pub fn max_depth(&mut self, _depth: Option<usize>) -> &mut Self {
        self
    }

    /// The walk.
    #[must_use]
    pub fn build(&self) -> Walk {
        Walk { ended: false }
    }
}

/// A walk: one error.
#[derive(Debug)]
pub struct Walk {
    ended: bool,
}

impl Iterator for Walk {
    type Item = Result<DirEntry, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        (!std::mem::replace(&mut self.ended, true)).then_some(Err(Error::Absent))
    }
}

/// A found file, of which there is none.
#[derive(Debug)]
pub enum DirEntry {}

impl DirEntry {
    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        match *self {}
    }

    /// How deep it was found.
    #[must_use]
    pub fn depth(&self) -> usize {
        match *self {}
    }
}

pub mod overrides {
    //! Rules that win over those of files.

    use std::path::Path;

    use super::Error;

    /// The rules.
    #[derive(Debug)]
    pub struct Override;

    /// Rules, one by one.
    #[derive(Debug)]
    pub struct OverrideBuilder;

    impl OverrideBuilder {
        /// No rules yet.
        pub fn new(_root: impl AsRef<Path>) -> Self {
            Self
        }

        /// One rule more, which is ignored.
        ///
        /// # Errors
        /// None.
        pub fn add(&mut self, _rule: &str) -> Result<&mut Self, Error> {
            Ok(self)
        }

        /// The rules.
        ///
        /// # Errors
        /// None.
        pub fn build(&self) -> Result<Override, Error> {
            Ok(Override)
        }
    }
}
