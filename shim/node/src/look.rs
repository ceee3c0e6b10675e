//! `catamaran status` and `catamaran doctor`: the node's state, and what is wrong with it. Both change nothing, but the doctor's test
//! programs need a containerd namespace for a moment.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::aliases;
use crate::counters;
use crate::error::{Error, Problem, Result};
use crate::files::digest;
use crate::handler::{Options, shim_in};
use crate::host::Host;
use crate::install::{Installer, VERSION, check_version, known};
use crate::layout::{Distribution, Layout, Place};
use crate::node::Node;
use crate::programs::{self, PROGRAMS};
use crate::state::{self, Installed, State};

/// The state of a node.
#[derive(Debug, Serialize)]
pub(crate) struct Status {
    /// This program's version.
    version: &'static str,
    /// Whether the handler's pods can run on this node.
    pub(crate) ready: bool,
    pub(crate) installed: Option<OfInstallation>,
    containerd: Option<OfContainerd>,
    /// Whether a change is under way, or was when its installer was killed.
    change_under_way: bool,
    /// Why the last change was taken back, if it was.
    rolled_back: Option<String>,
    pub(crate) problems: Vec<Problem>,
    /// Counters of shims and compile processes (docs/node.md).
    counters: BTreeMap<String, u64>,
}

#[derive(Debug, Serialize)]
pub(crate) struct OfInstallation {
    version: String,
    handler: String,
    distribution: Distribution,
    programs: PathBuf,
    /// Folders of other versions, each removed when no process runs from it.
    older: Vec<PathBuf>,
    files: Vec<OfFile>,
    /// Links by the names of runwasi's shims.
    links: Vec<OfFile>,
    /// Whether containerd lists the handler.
    listed: bool,
    /// Pods that run on the handler; None if containerd does not answer.
    pods: Option<usize>,
}

#[derive(Debug, Serialize)]
struct OfFile {
    path: PathBuf,
    /// Whether it is as the installer left it.
    intact: bool,
}

#[derive(Debug, Serialize)]
struct OfContainerd {
    version: Option<String>,
    pid: u32,
    program: PathBuf,
    config: PathBuf,
    socket: PathBuf,
    unit: Option<String>,
}

/// Examines a node.
pub(crate) fn status(installer: &Installer<'_>) -> Result<Status> {
    let (host, node) = (installer.host, installer.node);
    let state = state::look(host)?;
    let mut problems = Vec::new();
    let layout = match installer.layout() {
        Ok(layout) => Some(layout),
        Err(e) => {
            problems.push(e.problem().clone());
            None
        }
    };
    let containerd = layout.as_ref().map(|layout| of_containerd(node, layout, &mut problems));
    let installed = state
        .installed
        .as_ref()
        .map(|installed| of_installation(host, node, installed, layout.as_ref(), &mut problems));
    of_state(&state, &mut problems);
    let ready = installed.is_some() && problems.is_empty();
    Ok(Status {
        version: VERSION,
        ready,
        installed,
        containerd,
        change_under_way: state.pending.is_some(),
        rolled_back: state.rolled_back,
        problems,
        counters: counters::read(host),
    })
}

fn of_state(state: &State, problems: &mut Vec<Problem>) {
    if state.pending.is_some() {
        problems.push(Problem::new(
            "a change of containerd's configuration is under way, or its installer was killed",
            "wait for it, or run the same command again: it goes on where it stopped",
        ));
    }
    if let Some(why) = &state.rolled_back {
        problems.push(Problem::new(
            format!("the last change was taken back: {why}"),
            "mend that, then run `catamaran install` again",
        ));
    }
}

fn of_containerd(node: &dyn Node, layout: &Layout, problems: &mut Vec<Problem>) -> OfContainerd {
    let containerd = &layout.containerd;
    let version = node.version(&containerd.program).and_then(|words| check_version(&words));
    if let Err(e) = &version {
        problems.push(e.problem().clone());
    }
    OfContainerd {
        version: version.ok(),
        pid: containerd.pid,
        program: containerd.program.clone(),
        config: containerd.config.clone(),
        socket: containerd.socket.clone(),
        unit: containerd.unit.clone(),
    }
}

fn of_installation(
    host: &Host,
    node: &dyn Node,
    installed: &Installed,
    layout: Option<&Layout>,
    problems: &mut Vec<Problem>,
) -> OfInstallation {
    let again = "run `catamaran install` again: it mends what others changed";
    let mut files = Vec::new();
    for change in &installed.files {
        let found = host.read(&change.path).ok().flatten().as_deref().map(digest);
        let intact = found == change.after;
        if !intact {
            problems.push(Problem::new(format!("{} is not as it was written", change.path.display()), again));
        }
        files.push(OfFile { path: change.path.clone(), intact });
    }
    let mut links = Vec::new();
    for path in &installed.links {
        let intact = aliases::leads_to(host, path, &shim_in(&installed.folder));
        if !intact {
            problems.push(Problem::new(format!("{} does not lead to the shim", path.display()), again));
        }
        links.push(OfFile { path: path.clone(), intact });
    }
    if let Some(layout) = layout
        && layout.place != installed.place
    {
        let place = match &layout.place {
            Place::DropIn { file } | Place::Import { file } => file,
            Place::Block { template, .. } => template,
        };
        problems.push(Problem::new(format!("the handler belongs into {} by now", place.display()), again));
    }
    for (name, _) in PROGRAMS {
        if !host.exists(&installed.folder.join(name)) {
            problems.push(Problem::new(format!("{} is missing", installed.folder.join(name).display()), again));
        }
    }
    // Without a layout, do not ask: the call would wait in vain for a containerd that hangs.
    let listed = layout.is_some()
        && node.handlers(&installed.containerd.socket).is_ok_and(|all| all.contains(&installed.handler));
    if !listed {
        problems.push(Problem::new(
            format!("containerd does not list the handler {:?}", installed.handler),
            "run `catamaran install` again: it restarts containerd where it has not read its configuration",
        ));
    }
    let pods = node.pods(&installed.containerd.socket, &installed.handler).ok().map(|pods| pods.len());
    let older =
        programs::versions(host, &installed.prefix).into_iter().filter(|folder| *folder != installed.folder).collect();
    OfInstallation {
        version: installed.version.clone(),
        handler: installed.handler.clone(),
        distribution: installed.distribution,
        programs: installed.folder.clone(),
        older,
        files,
        links,
        listed,
        pods,
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.installed {
            None => writeln!(f, "Not installed (this is catamaran {})", self.version)?,
            Some(installed) => {
                let word = if self.ready { "ready" } else { "not ready" };
                writeln!(
                    f,
                    "Installed, {word}: the handler {:?}, version {}, on {:?}",
                    installed.handler, installed.version, installed.distribution
                )?;
                writeln!(f, "  programs    {}", installed.programs.display())?;
                for older in &installed.older {
                    writeln!(f, "  older       {}", older.display())?;
                }
                let files = installed.files.iter().map(|file| ("file", file));
                for (word, file) in files.chain(installed.links.iter().map(|link| ("link", link))) {
                    let changed = if file.intact { "" } else { ", changed by others" };
                    writeln!(f, "  {word}        {}{changed}", file.path.display())?;
                }
                let pods = installed.pods.map_or("unknown".to_owned(), |pods| pods.to_string());
                writeln!(f, "  pods        {pods}")?;
            }
        }
        if let Some(containerd) = &self.containerd {
            let version = containerd.version.as_deref().unwrap_or("of an unknown version");
            let unit = containerd.unit.as_deref().unwrap_or("no unit");
            writeln!(
                f,
                "  containerd  {version}, pid {}, {}, {}, {unit}",
                containerd.pid,
                containerd.socket.display(),
                containerd.config.display()
            )?;
        }
        if let Some(servers) = counters::servers(&self.counters) {
            writeln!(f, "  servers     {servers}")?;
        }
        for problem in &self.problems {
            writeln!(f, "Problem: {problem}")?;
        }
        Ok(())
    }
}

/// One check of the doctor's, and its result.
#[derive(Debug, Serialize)]
pub(crate) struct Check {
    pub(crate) what: &'static str,
    /// None if nothing is wrong.
    pub(crate) problem: Option<Problem>,
}

/// Checks all that an installation needs, and all that an installed node needs.
pub(crate) fn doctor(installer: &Installer<'_>) -> Vec<Check> {
    let (host, node) = (installer.host, installer.node);
    let mut checks = Vec::new();
    let mut check = |what: &'static str, found: Result<()>| {
        let problem = found.err().map(|e| e.problem().clone());
        let good = problem.is_none();
        checks.push(Check { what, problem });
        good
    };
    check("Linux 5.15 or later, on x86-64", kernel(host));
    check("rights: root, and a writable host", rights(host));
    let layout = installer.layout();
    let found = layout.as_ref().ok().cloned();
    check("the kubelet's containerd, and the place of its handler", layout.map(drop));
    let state = state::look(host);
    let remembered = state.as_ref().ok().cloned().unwrap_or_default();
    check("what earlier runs have written down", state.map(drop));
    let mut problems = Vec::new();
    of_state(&remembered, &mut problems);
    check("no change under way or taken back", first(problems));
    if let Some(layout) = &found {
        let containerd = known(layout);
        check(
            "containerd 2.0 or later",
            node.version(&containerd.program).and_then(|words| check_version(&words)).map(drop),
        );
        check(
            "containerd's configuration is one that it takes",
            node.dump(&containerd.program, &containerd.config).map(drop),
        );
        check("the CRI answers", node.handlers(&containerd.socket).map(drop));
        check("containerd can be restarted", node.can_restart(containerd.unit.as_deref()));
        check(
            "programs can run from the folder of the programs",
            executable(host, &layout.prefix, "name another folder with --programs-dir"),
        );
    }
    check(
        "compiled modules can be mapped from the cache",
        executable(
            host,
            &state::home(),
            "mount a file system without noexec there; until then each start compiles its module",
        ),
    );
    if let Some(installed) = &remembered.installed {
        let mut problems = Vec::new();
        of_installation(host, node, installed, found.as_ref(), &mut problems);
        let whole = check("the installation is whole", first(problems));
        if let (true, Some(layout)) = (whole, &found) {
            let containerd = known(layout);
            let shim = shim_in(&installed.folder);
            for (engine, what) in
                [("wasmtime", "a test program runs on wasmtime"), ("wasmer", "a test program runs on wasmer")]
            {
                check(what, node.canary(&containerd, &shim, engine, &Options::default()));
            }
        }
    } else {
        check(
            "Catamaran is installed",
            Err(Error::refused("Catamaran is not installed on this node", "run `catamaran install`")),
        );
    }
    let _ = std::fs::remove_dir_all(host.at(&state::folder().join("canary")));
    checks
}

fn first(problems: Vec<Problem>) -> Result<()> {
    problems.into_iter().next().map_or(Ok(()), |problem| Err(Error::Failed(problem)))
}

fn kernel(host: &Host) -> Result<()> {
    let text = host.text(Path::new("/proc/sys/kernel/osrelease")).unwrap_or_default();
    let mut numbers = text.trim().split(['.', '-']).map(|part| part.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version < (5, 15) {
        return Err(Error::refused(
            format!("the kernel is {:?}", text.trim()),
            "use a node image with Linux 5.15 or later",
        ));
    }
    Ok(())
}

fn rights(host: &Host) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Err(Error::refused("this process is not root", "run it as root"));
    }
    let etc = host.at(Path::new("/etc"));
    let read_only =
        rustix::fs::statvfs(&etc).is_ok_and(|found| found.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY));
    if read_only {
        return Err(Error::refused(
            format!("{} is read-only", etc.display()),
            "mount the host's root file system writable",
        ));
    }
    Ok(())
}

fn executable(host: &Host, folder: &Path, remedy: &str) -> Result<()> {
    let there = folder.ancestors().find(|folder| host.exists(folder)).unwrap_or(Path::new("/"));
    if programs::is_noexec(&host.at(there)) {
        return Err(Error::refused(format!("{} is on a file system that is mounted noexec", there.display()), remedy));
    }
    Ok(())
}
