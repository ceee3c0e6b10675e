//! The tarball that an administrator unpacks on a node to install by hand.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::checksums::{self, line};
use crate::error::{Error, On, Result};
use crate::licences::Licences;
use crate::origin::Origin;
use crate::programs::{CATAMARAN, NODE, Programs};
use crate::run;
use crate::sbom;
use crate::tree::{Tree, gzip};

/// Shells, and the names of their completion scripts.
const SHELLS: [(&str, &str); 3] = [("bash", "catamaran.bash"), ("fish", "catamaran.fish"), ("zsh", "_catamaran")];
const SAME_MACHINE: &str =
    "pack on a machine of the programs' processor: the completion scripts and manual pages are the program's own";

/// Makes the files of a release for one processor: names and bytes.
///
/// # Errors
/// A program is missing or does not run here, or cargo cannot list the programs' crates.
pub fn files(source: &Path, origin: &Origin, folder: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let programs = Programs::read(folder, &NODE.map(|(name, _)| name))?;
    let name = format!("catamaran-{}-linux-{}", origin.version, programs.architecture.name());
    let licences = Licences::read(source, &programs)?;
    licences.warn();
    let bill = sbom::document(source, origin, &programs)?;

    let mut tree = Tree::default();
    for (program, mode) in NODE {
        // Every user may read and copy the unpacked files; the installer sets the modes that are right on a node.
        tree.file(format!("{name}/bin/{program}"), mode | 0o444, programs.bytes(program));
    }
    for path in documents(source)? {
        let within = path.strip_prefix(source).unwrap_or(&path).display().to_string();
        tree.file(format!("{name}/{within}"), 0o644, fs::read(&path).on("reading", &path)?);
    }
    tree.file(format!("{name}/THIRD-PARTY"), 0o644, licences.text());
    tree.file(format!("{name}/catamaran.cdx.json"), 0o644, bill.clone());
    add_program_s_own(&mut tree, &name, &programs.folder.join(CATAMARAN))?;
    let strip = format!("{name}/");
    let sums: String = tree.files().map(|(path, bytes)| line(path.trim_start_matches(&*strip), bytes)).collect();
    tree.file(format!("{name}/{}", checksums::FILE), 0o644, sums);
    let tarball = gzip(&tree.tar(origin.time)?)?;
    Ok(vec![
        (format!("{name}.tar.gz"), tarball),
        (format!("{name}.cdx.json"), bill),
        (format!("{name}.THIRD-PARTY"), licences.text().into_bytes()),
    ])
}

/// The licence, the documents, and containerd's and Kubernetes' files.
fn documents(source: &Path) -> Result<Vec<PathBuf>> {
    let mut paths = vec![source.join("LICENSE"), source.join("README.md")];
    for (folder, end) in [("docs", "md"), ("runtimeclass", "toml"), ("runtimeclass", "yaml")] {
        let folder = source.join(folder);
        for entry in fs::read_dir(&folder).on("reading", &folder)? {
            let path = entry.on("reading", &folder)?.path();
            if path.extension().is_some_and(|found| found == end) {
                paths.push(path);
            }
        }
    }
    Ok(paths)
}

/// Completion scripts and manual pages.
fn add_program_s_own(tree: &mut Tree, name: &str, program: &Path) -> Result<()> {
    for (shell, file) in SHELLS {
        let text = run::text(Command::new(program).args(["completion", shell]), SAME_MACHINE)?;
        tree.file(format!("{name}/completions/{file}"), 0o644, text);
    }
    let pages = tempfile::tempdir().on("making a folder in", &std::env::temp_dir())?;
    run::text(Command::new(program).arg("man").arg(pages.path()), SAME_MACHINE)?;
    let mut found = false;
    for entry in fs::read_dir(pages.path()).on("reading", pages.path())? {
        let path = entry.on("reading", pages.path())?.path();
        let page = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        tree.file(format!("{name}/man/man1/{page}"), 0o644, fs::read(&path).on("reading", &path)?);
        found = true;
    }
    if found {
        return Ok(());
    }
    Err(Error::new(format!("{} man wrote no page", program.display()), "build the programs again with `make release`"))
}
