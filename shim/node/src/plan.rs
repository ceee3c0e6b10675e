//! Plans the node's files: how they are to be, and how they were before the first installation.

use std::path::{Path, PathBuf};

use toml_edit::{Array, DocumentMut, Item, value};

use crate::error::{Error, Result};
use crate::files::digest;
use crate::handler::{Handler, without_blocks};
use crate::host::Host;
use crate::judge::Files;
use crate::layout::Place;
use crate::root_file::RootFile;
use crate::state::{Change, Held, State};

/// The first words of every drop-in.
const WRITTEN: &str = "# Written by `catamaran install`";

/// A file that the installer writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) path: PathBuf,
    /// Its content before the first installation.
    pub(crate) original: Option<Vec<u8>>,
    pub(crate) now: Option<Vec<u8>>,
    pub(crate) wanted: Option<Vec<u8>>,
}

/// Which part of a file is ours.
#[derive(Debug, Clone, Copy)]
enum Part<'a> {
    Whole,
    Import(&'a Path),
    Block,
}

/// The node's files with this handler. Files that an earlier version wrote elsewhere become what they were.
pub(crate) fn install(
    host: &Host,
    held: &Held<'_>,
    place: &Place,
    config: &Path,
    version: u64,
    handler: &Handler,
) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    let drop_in = || Some(handler.drop_in(version).into_bytes());
    match place {
        Place::DropIn { file } => entries.push(entry(host, held, file, Part::Whole, |_| Ok(drop_in()))?),
        Place::Import { file } => {
            entries.push(entry(host, held, file, Part::Whole, |_| Ok(drop_in()))?);
            entries.push(entry(host, held, config, Part::Import(file), |now| {
                with_import(config, now, file, version).map(Some)
            })?);
        }
        Place::Block { template, base } => entries.push(entry(host, held, template, Part::Block, |now| {
            let mut text = match (now, base) {
                (Some(now), _) => without_blocks(&String::from_utf8_lossy(now)),
                (None, Some(base)) => base.clone(),
                (None, None) => String::new(),
            };
            if !text.is_empty() && !text.ends_with('\n') {
                text.push('\n');
            }
            Ok(Some((text + &handler.block(version)).into_bytes()))
        })?),
    }
    for path in written(&held.state) {
        if !entries.iter().any(|entry| entry.path == path) {
            let part = part_of(&path, place, config);
            let mut stale = entry(host, held, &path, part, |now| Ok(now.map(<[u8]>::to_vec)))?;
            stale.wanted.clone_from(&stale.original);
            entries.push(stale);
        }
    }
    Ok(entries)
}

/// The node's files without the handler. The importing file comes first, so that no import leads nowhere.
pub(crate) fn uninstall(host: &Host, held: &Held<'_>, place: &Place, config: &Path) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for path in written(&held.state).into_iter().rev() {
        let mut entry = entry(host, held, &path, part_of(&path, place, config), |_| Ok(None))?;
        entry.wanted.clone_from(&entry.original);
        entries.push(entry);
    }
    Ok(entries)
}

fn part_of<'a>(path: &Path, place: &'a Place, config: &Path) -> Part<'a> {
    match place {
        Place::Import { file } if path == config => Part::Import(file),
        _ if path.extension().is_some_and(|extension| extension == "tmpl") => Part::Block,
        Place::Block { template, .. } if path == template => Part::Block,
        _ => Part::Whole,
    }
}

/// Every file that was written or was about to be.
fn written(state: &State) -> Vec<PathBuf> {
    let installed = state.installed.iter().flat_map(|installed| &installed.files);
    let next = state.pending.iter().filter_map(|pending| pending.next.as_ref()).flat_map(|next| &next.files);
    let pending = state.pending.iter().flat_map(|pending| &pending.files);
    let mut paths: Vec<PathBuf> = Vec::new();
    for change in installed.chain(next).chain(pending) {
        if !paths.contains(&change.path) {
            paths.push(change.path.clone());
        }
    }
    paths
}

fn entry(
    host: &Host,
    held: &Held<'_>,
    path: &Path,
    part: Part<'_>,
    wanted: impl Fn(Option<&[u8]>) -> Result<Option<Vec<u8>>>,
) -> Result<Entry> {
    let now = host.read(path)?;
    let original = original(held, path, part, now.as_deref())?;
    let wanted = wanted(now.as_deref())?;
    Ok(Entry { path: path.to_owned(), original, now, wanted })
}

/// A file's content before the first installation: the kept bytes if nobody changed it since, else the file without our part.
fn original(held: &Held<'_>, path: &Path, part: Part<'_>, now: Option<&[u8]>) -> Result<Option<Vec<u8>>> {
    let found = now.map(digest);
    let next = held.state.pending.iter().filter_map(|pending| pending.next.as_ref()).flat_map(|next| &next.files);
    let installed = held.state.installed.iter().flat_map(|installed| &installed.files);
    // `next` matters for an uninstallation that was under way and had changed the file already.
    let known: Vec<&Change> = next.chain(installed).filter(|change| change.path == path).collect();
    if let Some(change) = known.iter().find(|change| change.after == found || change.before == found) {
        return change.before.as_deref().map(|name| held.kept(name)).transpose();
    }
    let Some(now) = now else { return Ok(None) };
    let text = String::from_utf8_lossy(now);
    Ok(match part {
        Part::Whole if text.starts_with(WRITTEN) => None,
        Part::Whole => Some(now.to_vec()),
        Part::Block if text != without_blocks(&text) => Some(without_blocks(&text).into_bytes()),
        Part::Block => Some(now.to_vec()),
        Part::Import(file) => Some(without_import(path, now, file)?),
    })
}

fn document(path: &Path, bytes: &[u8]) -> Result<DocumentMut> {
    RootFile::parse(path, bytes).map(|root| root.document.unwrap_or_default())
}

/// The root file with an import of `file`; all else in it stays.
fn with_import(path: &Path, now: Option<&[u8]>, file: &Path, version: u64) -> Result<Vec<u8>> {
    let name = file.to_string_lossy();
    let Some(now) = now else {
        return Ok(format!("{WRITTEN}: there was no such file, and containerd ran on its defaults.\nversion = {version}\nimports = [{name:?}]\n").into_bytes());
    };
    let mut document = document(path, now)?;
    match document.get_mut("imports") {
        None => {
            document["imports"] = value(Array::from_iter([name.as_ref()]));
        }
        Some(Item::Value(toml_edit::Value::Array(imports))) => {
            if imports.iter().any(|import| import.as_str() == Some(name.as_ref())) {
                return Ok(now.to_vec());
            }
            imports.push(name.as_ref());
        }
        Some(other) => {
            return Err(Error::refused(
                format!("{}: imports = {}, which is no list", path.display(), other.to_string().trim()),
                "write imports as a list of files",
            ));
        }
    }
    Ok(document.to_string().into_bytes())
}

/// A root file that others changed since, without our import.
fn without_import(path: &Path, now: &[u8], file: &Path) -> Result<Vec<u8>> {
    let name = file.to_string_lossy();
    let mut document = document(path, now)?;
    let Some(imports) = document.get_mut("imports").and_then(Item::as_array_mut) else { return Ok(now.to_vec()) };
    let before = imports.len();
    imports.retain(|import| import.as_str() != Some(name.as_ref()));
    match imports.len() {
        length if length == before => return Ok(now.to_vec()),
        0 => _ = document.remove("imports"),
        _ => (),
    }
    Ok(document.to_string().into_bytes())
}

/// The files as a plan wants them, for a judgement, or as they were before the first installation.
pub(crate) fn files(entries: &[Entry], original: bool) -> Files {
    let wanted = |entry: &Entry| if original { entry.original.clone() } else { entry.wanted.clone() };
    entries.iter().map(|entry| (entry.path.clone(), wanted(entry))).collect()
}
