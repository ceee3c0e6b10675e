//! Exports the parsers of untrusted input to `tests/fuzz`, which feeds them arbitrary bytes.

use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use crate::files::program::Tree;
pub use crate::image::untrusted::{CONFIGURATION, believed, record, written};

/// A file opened in a container's tree, and its path without links if no mount holds the file.
pub type Opened = io::Result<(File, Option<PathBuf>)>;

/// Opens a path in the tree of this root and these mounts, in their order. Returns None if the search's budget is used up.
///
/// # Errors
/// Those of open(2).
pub fn open(root: BorrowedFd<'_>, mounts: &[(String, BorrowedFd<'_>)], path: &Path) -> Option<Opened> {
    let mut tree = Tree::new(root);
    let mounted = mounts.iter().try_for_each(|(destination, mount)| tree.mount(destination, Some(*mount)));
    let opened = mounted.and_then(|()| tree.open(path));
    tree.exhausted().is_none().then_some(opened)
}
