//! The crates that programs are linked from, as cargo lists them: each package as shim/build builds it, for the target and with the
//! features
//! of that build, without the crates that only build scripts and procedural macros use.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;
use toml_edit::{DocumentMut, TableLike};

use crate::error::{Error, On, Result};
use crate::run;

const CARGO: &str = "run the command in a clone whose lock files are up to date: `cargo tree --locked` must work there";

/// A version of a crate. Its text is `NAME VERSION`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Id {
    /// The name.
    pub name: String,
    /// The version.
    pub version: String,
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}

/// A crate's facts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crate {
    /// The licence as an SPDX expression.
    pub licence: Option<String>,
    /// A file with the licence's text, if its manifest names one.
    pub licence_file: Option<PathBuf>,
    /// Its authors, as its manifest lists them.
    pub authors: Vec<String>,
    /// SHA-256 of the package, from the lock file.
    pub checksum: Option<String>,
    /// The folder of its source on this machine.
    pub folder: PathBuf,
    /// For this repository's own crates, the folder in the repository.
    pub own: Option<String>,
}

/// The crates of some programs, and their dependencies.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Crates {
    /// Each crate that is linked.
    pub all: BTreeMap<Id, Crate>,
    /// The crates that a crate uses.
    pub uses: BTreeMap<Id, BTreeSet<Id>>,
    /// The crates that a program uses, by its name.
    pub programs: BTreeMap<String, BTreeSet<Id>>,
}

impl Crates {
    /// Reads the crates of these programs, built for a target.
    ///
    /// # Errors
    /// shim/build does not build one of the programs, or cargo cannot answer.
    pub fn read(source: &Path, programs: &[&str], triple: &str) -> Result<Self> {
        let mut crates = Self::default();
        let mut workspaces: BTreeMap<PathBuf, Workspace> = BTreeMap::new();
        let clarified = clarified(source)?;
        for call in calls(source)? {
            let manifest = source.join(call.manifest());
            if !workspaces.contains_key(&manifest) {
                workspaces.insert(manifest.clone(), Workspace::read(source, &manifest, triple)?);
            }
            let Some(workspace) = workspaces.get(&manifest) else { continue };
            let built: Vec<&str> =
                workspace.programs(&call, &manifest).filter(|name| programs.contains(name)).collect();
            if built.is_empty() {
                continue;
            }
            let root = crates.add(source, &call, workspace, triple, &clarified)?;
            for program in built {
                crates.programs.insert(program.to_owned(), crates.uses.get(&root).cloned().unwrap_or_default());
            }
            if !crates.all.contains_key(&root) {
                crates.uses.remove(&root);
            }
        }
        match programs.iter().find(|name| !crates.programs.contains_key(**name)) {
            Some(name) => {
                Err(Error::new(format!("shim/build does not build {name}"), "add the program's package to shim/build"))
            }
            None => Ok(crates),
        }
    }

    /// Adds the crates of one call of cargo. Returns the package that the call builds.
    fn add(
        &mut self,
        source: &Path,
        call: &Call,
        workspace: &Workspace,
        triple: &str,
        clarified: &BTreeMap<String, String>,
    ) -> Result<Id> {
        let mut command = cargo(source);
        command.args(["tree", "--locked", "--target", triple, "--edges", "normal,no-proc-macro", "--prefix", "depth"]);
        command.args(["--format", "{p}"]).args(&call.0);
        let mut above: Vec<Id> = Vec::new();
        for line in run::text(&mut command, CARGO)?.lines().filter(|line| !line.is_empty()) {
            let (depth, id) = node(line)?;
            above.truncate(depth);
            if let Some(user) = above.last() {
                self.uses.entry(user.clone()).or_default().insert(id.clone());
                if !self.all.contains_key(&id) {
                    self.all.insert(id.clone(), workspace.describe(source, &id, clarified)?);
                }
            }
            self.uses.entry(id.clone()).or_default();
            above.push(id);
        }
        let root = above.into_iter().next();
        root.ok_or_else(|| Error::new(format!("cargo tree {} printed nothing", call.0.join(" ")), CARGO))
    }
}

/// A line such as `2serde v1.0.229` or `1catamaran-host v0.1.0 (/folder) (*)`.
fn node(line: &str) -> Result<(usize, Id)> {
    let digits = line.bytes().take_while(u8::is_ascii_digit).count();
    let mut words = line[digits..].split(' ');
    let (depth, name, version) =
        (line[..digits].parse(), words.next(), words.next().and_then(|word| word.strip_prefix('v')));
    match (depth, name, version) {
        (Ok(depth), Some(name), Some(version)) => {
            Ok((depth, Id { name: name.to_owned(), version: version.to_owned() }))
        }
        _ => Err(Error::new(format!("cargo tree printed \"{line}\", expected a depth, a name and a version"), CARGO)),
    }
}

fn cargo(source: &Path) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(source);
    command
}

/// The arguments of one call of cargo in shim/build.
struct Call(Vec<String>);

impl Call {
    fn value(&self, option: &str) -> Option<&str> {
        let at = self.0.iter().position(|word| word == option)?;
        self.0.get(at + 1).map(String::as_str)
    }

    fn manifest(&self) -> &str {
        self.value("--manifest-path").unwrap_or("Cargo.toml")
    }
}

fn calls(source: &Path) -> Result<Vec<Call>> {
    let text = run::text(
        Command::new(source.join("shim/build")).arg("--list"),
        "run the command in a clone of this repository",
    )?;
    Ok(text.lines().map(|line| Call(line.split(' ').map(str::to_owned).collect())).collect())
}

/// A workspace, from `cargo metadata` and the lock file.
struct Workspace {
    packages: Vec<Package>,
    checksums: BTreeMap<Id, String>,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    workspace_root: PathBuf,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    license: Option<String>,
    license_file: Option<PathBuf>,
    authors: Vec<String>,
    source: Option<String>,
    manifest_path: PathBuf,
    targets: Vec<Target>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

impl Workspace {
    fn read(source: &Path, manifest: &Path, triple: &str) -> Result<Self> {
        let mut command = cargo(source);
        command
            .args(["metadata", "--locked", "--format-version", "1", "--filter-platform", triple, "--manifest-path"])
            .arg(manifest);
        let metadata: Metadata = serde_json::from_str(&run::text(&mut command, CARGO)?)
            .map_err(|error| Error::new(format!("cargo metadata of {}: {error}", manifest.display()), CARGO))?;
        let checksums = checksums(&metadata.workspace_root.join("Cargo.lock"))?;
        Ok(Self { packages: metadata.packages, checksums })
    }

    /// The programs that a call builds.
    fn programs(&self, call: &Call, manifest: &Path) -> impl Iterator<Item = &str> {
        let named = call.value("-p");
        let is_meant = move |package: &&Package| match named {
            Some(name) => package.name == name && package.source.is_none(),
            None => {
                fs::canonicalize(manifest).is_ok_and(|manifest| package.manifest_path == manifest)
                    || package.manifest_path == manifest
            }
        };
        let package = self.packages.iter().find(is_meant);
        let targets = package.into_iter().flat_map(|package| &package.targets);
        targets.filter(|target| target.kind.iter().any(|kind| kind == "bin")).map(|target| target.name.as_str())
    }

    fn describe(&self, source: &Path, id: &Id, clarified: &BTreeMap<String, String>) -> Result<Crate> {
        let package = self.packages.iter().find(|package| package.name == id.name && package.version == id.version);
        let package = package.ok_or_else(|| Error::new(format!("cargo metadata does not know {id}"), CARGO))?;
        let folder = package.manifest_path.parent().unwrap_or(Path::new("/")).to_owned();
        let own = match &package.source {
            Some(_) => None,
            None => Some(relative(source, &folder)?),
        };
        let licence = package.license.as_ref().map(|licence| expression(licence));
        Ok(Crate {
            licence: licence.or_else(|| clarified.get(&id.name).cloned()),
            licence_file: package.license_file.as_ref().map(|file| folder.join(file)),
            authors: package.authors.clone(),
            checksum: self.checksums.get(id).cloned(),
            folder,
            own,
        })
    }
}

/// Replaces the older form `MIT/Apache-2.0` by `MIT OR Apache-2.0`.
fn expression(licence: &str) -> String {
    licence.split('/').map(str::trim).collect::<Vec<_>>().join(" OR ")
}

fn relative(source: &Path, folder: &Path) -> Result<String> {
    let source = fs::canonicalize(source).on("looking for", source)?;
    let folder = fs::canonicalize(folder).on("looking for", folder)?;
    let inside = folder.strip_prefix(&source).map(|path| path.display().to_string());
    inside.map_err(|_| Error::new(format!("{} is outside of {}", folder.display(), source.display()), CARGO))
}

fn checksums(path: &Path) -> Result<BTreeMap<Id, String>> {
    let lock = document(path)?;
    let packages = lock.get("package").and_then(|packages| packages.as_array_of_tables());
    let entry = |table: &dyn TableLike| {
        let id = Id { name: string(table, "name")?, version: string(table, "version")? };
        Some((id, string(table, "checksum")?))
    };
    Ok(packages.into_iter().flatten().filter_map(|table| entry(table)).collect())
}

/// Expressions for crates that declare none, by crate, from deny.toml.
fn clarified(source: &Path) -> Result<BTreeMap<String, String>> {
    let deny = document(&source.join("deny.toml"))?;
    let clarify = deny
        .get("licenses")
        .and_then(|licenses| licenses.get("clarify"))
        .and_then(|clarify| clarify.as_array_of_tables());
    let entry = |table: &dyn TableLike| Some((string(table, "crate")?, string(table, "expression")?));
    Ok(clarify.into_iter().flatten().filter_map(|table| entry(table)).collect())
}

fn document(path: &Path) -> Result<DocumentMut> {
    let text = fs::read_to_string(path).on("reading", path)?;
    text.parse().map_err(|error| Error::new(format!("{}: {error}", path.display()), "mend that file"))
}

fn string(table: &dyn TableLike, key: &str) -> Option<String> {
    table.get(key)?.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
    }

    #[test]
    fn a_line_of_the_tree_is_a_depth_a_name_and_a_version() {
        let (depth, id) = node("12wasm-encoder v0.263.0+a.b (/a folder) (*)").unwrap();
        assert_eq!((depth, id.to_string().as_str()), (12, "wasm-encoder 0.263.0+a.b"));
        assert!(node("wasm").unwrap_err().to_string().contains("\"wasm\""));
    }

    #[test]
    fn an_old_expression_becomes_a_new_one() {
        assert_eq!(expression("MIT/Apache-2.0"), "MIT OR Apache-2.0");
        assert_eq!(expression("MIT OR (Apache-2.0 WITH LLVM-exception)"), "MIT OR (Apache-2.0 WITH LLVM-exception)");
    }

    #[test]
    fn every_program_of_a_node_is_built_by_one_call() {
        let calls = calls(&source()).unwrap();
        for package in ["catamaran-daemon", "catamaran-node", "catamaran-wasmtime"] {
            assert_eq!(calls.iter().filter(|call| call.value("-p") == Some(package)).count(), 1, "{package}");
        }
        for manifest in ["shim/holder/Cargo.toml", "shim/wasmer-compile/Cargo.toml"] {
            assert_eq!(calls.iter().filter(|call| call.manifest() == manifest).count(), 1, "{manifest}");
        }
    }

    #[test]
    fn the_shim_links_what_it_uses_and_no_more() {
        let crates =
            Crates::read(&source(), &["containerd-shim-catamaran-v1", "catamaran-holder"], "x86_64-unknown-linux-gnu")
                .unwrap();
        let find = |name: &str| crates.all.iter().find(|(id, _)| id.name == name);
        let (_, host) = find("catamaran-host").unwrap();
        assert_eq!((host.own.as_deref(), &host.checksum), (Some("shim/host"), &None));
        let (libc, found) = find("libc").unwrap();
        assert_eq!((found.checksum.as_ref().unwrap().len(), &found.own), (64, &None));
        assert!(found.licence.as_ref().unwrap().contains("MIT"));
        assert!(crates.uses.values().any(|used| used.contains(libc)));
        // Macros run in the compiler, wasmtime is linked into the worker, and the holder has no dependency.
        for absent in ["serde_derive", "thiserror-impl", "wasmtime", "catamaran-daemon"] {
            assert!(find(absent).is_none(), "{absent}");
        }
        assert!(crates.programs["catamaran-holder"].is_empty());
        assert!(crates.programs["containerd-shim-catamaran-v1"].iter().any(|id| id.name == "catamaran-host"));
    }

    #[test]
    fn a_program_that_is_not_built_is_refused_by_its_name() {
        let text = Crates::read(&source(), &["catamaran-sails"], "x86_64-unknown-linux-gnu").unwrap_err().to_string();
        assert!(text.starts_with("shim/build does not build catamaran-sails"), "{text}");
    }
}
