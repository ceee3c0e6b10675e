//! Finds the container's Wasm module: the file that `process.args[0]` names in the container's tree, volumes included. If there is no such
//! file, the module is the image's Wasm layer, which [`crate::image`] finds. Before this search, `kind` checks whether the file is native
//! code, which another runtime runs.

mod exec;
mod kind;
mod tree;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use catamaran_cache::magic::{FIRST, other_than_wasm};
use catamaran_files::search::PLACE;
use catamaran_worker::Guest;
use catamaran_worker::quote::cut;
use catamaran_worker::variables::PATH;

use crate::error::{Doing, Error, Result};
pub(crate) use exec::{Program, Root, Stop};
pub(crate) use kind::native;
pub(crate) use tree::Tree;

/// The most folders of PATH that are searched.
const MOST_CANDIDATES: usize = 64;
/// The most searched places that a message names.
const MOST_NAMED: usize = 4;

/// The result of looking for `process.args[0]`.
pub(crate) enum Sought {
    File(Found),
    /// No file was found. A text about the search, for messages.
    Nowhere(String),
}

/// A file that begins like Wasm.
pub(crate) struct Found {
    pub(crate) name: String,
    pub(crate) file: File,
    /// The path without links; None if a volume holds the file.
    pub(crate) in_root: Option<PathBuf>,
}

/// Opens `process.args[0]` in the container's future tree. A folder such as `/` counts as no file: an image whose layer is the module has
/// no entrypoint, and a pod for it must name some command.
pub(crate) fn find(guest: &Guest, tree: &Tree<'_>) -> Result<Sought> {
    let entry = guest.args.first().map_or("", String::as_str);
    let path = guest.env.iter().find(|(key, _)| key == PATH).map(|(_, value)| value.as_str());
    let candidates = candidates(entry, &guest.cwd, path);
    for candidate in &candidates {
        match tree.open(candidate) {
            Ok((file, in_root)) => return check(candidate, file, in_root).map(Sought::File),
            Err(_) if tree.exhausted().is_some() => break,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            // Tries the next folder of PATH, as execvp(3) does.
            Err(_) if candidates.len() > 1 => {}
            Err(e) => {
                let found = format!("{:?}, which is {} in the container", cut(entry), named(candidate));
                return match e.kind() {
                    io::ErrorKind::IsADirectory => Ok(Sought::Nowhere(format!("{found}: a directory"))),
                    io::ErrorKind::NotADirectory => Ok(Sought::Nowhere(format!("{found}: below a file"))),
                    _ => Err(Error::refused(PLACE, format!("{found}: {e}"), "the path of a Wasm module")),
                };
            }
        }
    }
    if let Some(words) = tree.exhausted() {
        return Err(Error::refused(PLACE, format!("{:?}: {words}", cut(entry)), "the path of a Wasm module"));
    }
    let looked: Vec<_> = candidates.iter().take(MOST_NAMED).map(|path| named(path)).collect();
    let more = if candidates.len() > MOST_NAMED { ", ..." } else { "" };
    let found = format!("{:?}: no such file in the container (looked for {}{more})", cut(entry), looked.join(", "));
    Ok(Sought::Nowhere(found))
}

/// Returns a path as messages show it.
pub(crate) fn named(path: &Path) -> String {
    cut(&path.to_string_lossy()).into_owned()
}

fn check(path: &Path, mut file: File, in_root: Option<PathBuf>) -> Result<Found> {
    let name = named(path);
    let mut first = Vec::new();
    (&mut file).take(FIRST as u64).read_to_end(&mut first).on(&name)?;
    io::Seek::rewind(&mut file).on(&name)?;
    match other_than_wasm(&first) {
        None => Ok(Found { name, file, in_root }),
        Some(reason) => Err(Error::Module { module: name, reason }),
    }
}

/// Returns the places where `args[0]` may be, in the search order of execvp(3). A name with a slash is relative to the working directory.
/// Another name is looked for in the directories of PATH, and last in the working directory, because many images name their module so.
fn candidates(entry: &str, cwd: &str, path: Option<&str>) -> Vec<PathBuf> {
    if entry.contains('/') {
        return vec![Path::new(cwd).join(entry)];
    }
    path.unwrap_or_default()
        .split(':')
        .filter(|directory| directory.starts_with('/'))
        .take(MOST_CANDIDATES)
        .chain([cwd])
        .map(|directory| Path::new(directory).join(entry))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_name_is_searched_in_path_and_then_in_the_working_directory() {
        let paths = |entry, cwd, path| candidates(entry, cwd, path);
        assert_eq!(paths("/m.wasm", "/w", None), [PathBuf::from("/m.wasm")]);
        assert_eq!(paths("./m.wasm", "/w", None), [PathBuf::from("/w/./m.wasm")]);
        assert_eq!(paths("m", "/w", Some("/bin:rel:")), [PathBuf::from("/bin/m"), PathBuf::from("/w/m")]);
    }
}
