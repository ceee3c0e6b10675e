//! Links by the names of runwasi's shims, for k3s and rke2. When these start they look for programs with such names and write a handler for
//! each: `wasmtime` for `containerd-shim-wasmtime-v1`. The shim takes its default engine from the name.
//!
//! A link of ours leads to the shim in a version's folder. Anything else with such a name belongs to somebody else, and stays.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::error::{Error, On, Result};
use crate::files;
use crate::handler::{ENGINES, Options, alias, shim_in};
use crate::host::Host;
use crate::node::Node;
use crate::programs;
use crate::state::{Held, Installed, State};

/// The file that stands at a link's path.
enum Found {
    Nothing,
    /// Our link, and its target.
    Ours(PathBuf),
    /// Somebody else's file, in words.
    Others(String),
}

/// The handlers that k3s wrote for those of these links that are still ours.
pub(crate) fn handlers(host: &Host, links: &[PathBuf]) -> Vec<&'static str> {
    let is_of = |link: &PathBuf, engine: &str| link.ends_with(alias(engine)) && is_ours(host, link);
    ENGINES.into_iter().filter(|engine| links.iter().any(|link| is_of(link, engine))).collect()
}

/// The links that the user asks for: in that folder of the node, one for each engine that pods may use. Refuses if something stands in
/// their way.
pub(crate) fn wanted(host: &Host, folder: Option<&Path>, handler: &str, options: &Options) -> Result<Vec<PathBuf>> {
    let Some(folder) = folder else { return Ok(Vec::new()) };
    if !folder.is_absolute() || !host.at(folder).is_dir() {
        return Err(Error::refused(
            format!("--runwasi-names {}: there is no such folder on this node", folder.display()),
            "write the absolute path of a folder in which k3s looks for programs, such as /usr/local/bin",
        ));
    }
    let allowed = options.engines();
    let engines = || ENGINES.into_iter().filter(|engine| allowed.iter().any(|one| one == engine));
    if engines().any(|engine| engine == handler) {
        return Err(Error::refused(
            format!("k3s would write a second handler of the name {handler:?}, because of --runwasi-names"),
            "choose another name with --handler, or leave out --runwasi-names",
        ));
    }
    let links: Vec<PathBuf> = engines().map(|engine| folder.join(alias(engine))).collect();
    for link in &links {
        if let Found::Others(what) = look(host, link)? {
            return Err(Error::refused(
                format!("{} is {what}, which this installer has not made", link.display()),
                "remove runwasi's shim, if it is that, or leave out --runwasi-names",
            ));
        }
    }
    Ok(links)
}

/// Whether k3s would find other programs than before. Only a restart makes it look again.
pub(crate) fn need_restart(host: &Host, state: &State, wanted: &[PathBuf]) -> bool {
    // A link that leads nowhere counts as new, because k3s has not found it.
    let new = wanted.iter().any(|link| !host.exists(link));
    new || state.links.iter().any(|link| !wanted.contains(link) && is_ours(host, link))
}

fn is_ours(host: &Host, link: &Path) -> bool {
    matches!(look(host, link), Ok(Found::Ours(_)))
}

/// Whether a link leads to that shim.
pub(crate) fn leads_to(host: &Host, link: &Path, shim: &Path) -> bool {
    matches!(look(host, link), Ok(Found::Ours(target)) if target == shim)
}

/// Whether every link is as an installation has it, and no other is left.
pub(crate) fn are_right(host: &Host, state: &State, installed: Option<&Installed>) -> bool {
    let links = installed.map_or(&[][..], |installed| &installed.links);
    let right = |installed: &Installed| links.iter().all(|link| leads_to(host, link, &shim_in(&installed.folder)));
    installed.is_none_or(right) && !need_restart(host, state, links)
}

/// Makes the links as an installation has them, or removes all if there is no installation. Writes each down before it is made.
pub(crate) fn bring(host: &Host, node: &dyn Node, held: &mut Held<'_>, installed: Option<&Installed>) -> Result<()> {
    let wanted = installed.map_or_else(Vec::new, |installed| installed.links.clone());
    let new: Vec<PathBuf> = wanted.iter().filter(|link| !held.state.links.contains(link)).cloned().collect();
    if !new.is_empty() {
        held.state.links.extend(new);
        held.save()?;
        node.step("links-written-down");
    }
    for link in held.state.links.clone() {
        // Left by a run that was killed.
        let _ = fs::remove_file(unfinished(host, &link));
        let target = installed.filter(|_| wanted.contains(&link)).map(|installed| shim_in(&installed.folder));
        match (look(host, &link)?, target) {
            (Found::Ours(now), Some(target)) if now == target => continue,
            (Found::Nothing | Found::Ours(_), Some(target)) => make(host, &link, &target)?,
            (Found::Ours(_), None) => remove(host, &link)?,
            // Somebody else has put a file there since.
            (Found::Others(_), _) | (Found::Nothing, None) => continue,
        }
        node.step("link");
    }
    if held.state.links != wanted {
        held.state.links = wanted;
        held.save()?;
    }
    Ok(())
}

fn look(host: &Host, link: &Path) -> Result<Found> {
    let path = place(host, link);
    let data = match fs::symlink_metadata(&path) {
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Found::Nothing);
        }
        other => other.on("reading", link)?,
    };
    if !data.is_symlink() {
        return Ok(Found::Others(if data.is_dir() { "a folder" } else { "a file" }.to_owned()));
    }
    let target = fs::read_link(&path).on("reading", link)?;
    Ok(match programs::is_shim(&target) {
        true => Found::Ours(target),
        false => Found::Others(format!("a link to {}", target.display())),
    })
}

/// Puts the link there, or replaces an earlier one, in one step.
fn make(host: &Host, link: &Path, target: &Path) -> Result<()> {
    let (path, unfinished) = (place(host, link), unfinished(host, link));
    symlink(target, &unfinished).on("making the link", link)?;
    let renamed = fs::rename(&unfinished, &path);
    if renamed.is_err() {
        let _ = fs::remove_file(&unfinished);
    }
    renamed.and_then(|()| files::sync_folder(&path)).on("making the link", link)
}

fn remove(host: &Host, link: &Path) -> Result<()> {
    let path = place(host, link);
    fs::remove_file(&path).and_then(|()| files::sync_folder(&path)).on("removing the link", link)
}

/// This process's path of the link itself, which `Host::at` would follow.
fn place(host: &Host, link: &Path) -> PathBuf {
    host.at(link.parent().unwrap_or(Path::new("/"))).join(link.file_name().unwrap_or_default())
}

fn unfinished(host: &Host, link: &Path) -> PathBuf {
    files::unfinished(&place(host, link), false)
}
