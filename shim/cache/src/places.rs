//! Where the cache lies, and one target's part of it.

use std::ffi::OsString;
use std::path::PathBuf;

use catamaran_host::programs::Program;

use super::fingerprint;
use super::store::{Known, Store};
use crate::error::{Error, Result};
use crate::target::Target;

/// The folder of what outlives a container on a node; [`ROOT_VARIABLE`] in containerd's environment moves it.
pub const ROOT: &str = "/var/lib/catamaran";
/// The environment variable that moves the root folder.
pub const ROOT_VARIABLE: &str = "CATAMARAN_ROOT";
/// The bytes on the disk that artifacts of all engines and versions together may take, unless [`BYTES_VARIABLE`] says another number.
pub const MOST_BYTES: u64 = 4 << 30;
/// See [`Bounds::all`].
pub const BYTES_VARIABLE: &str = "CATAMARAN_CACHE_BYTES";
/// The variable for the bytes that artifacts of one Kubernetes namespace may take: by default a quarter of the cache. Of a small cache
/// it may be all, up to [`LEAST_SHARE`].
pub const SHARE_VARIABLE: &str = "CATAMARAN_CACHE_NAMESPACE_BYTES";
/// See [`SHARE_VARIABLE`].
pub const LEAST_SHARE: u64 = 256 << 20;
/// The variable that says whether compiles take over functions of other modules of their namespace ([`Store::functions`]): `on` or `off`, by
/// default `on`.
pub const FUNCTIONS_VARIABLE: &str = "CATAMARAN_CACHE_FUNCTIONS";

/// Returns the shim's environment variables that say where the cache is and what it may take, for a child process that uses it.
pub fn environment() -> impl Iterator<Item = (&'static str, OsString)> {
    let variables = [
        (ROOT_VARIABLE, std::env::var_os(ROOT_VARIABLE)),
        (BYTES_VARIABLE, std::env::var_os(BYTES_VARIABLE)),
        (SHARE_VARIABLE, std::env::var_os(SHARE_VARIABLE)),
        (FUNCTIONS_VARIABLE, std::env::var_os(FUNCTIONS_VARIABLE)),
    ];
    variables.into_iter().filter_map(|(name, value)| Some((name, value?)))
}

/// The folders that all targets share.
pub struct Places {
    /// The folder of all the others.
    pub root: PathBuf,
    /// The entries, in a folder for each fingerprint.
    pub entries: PathBuf,
    /// The locks, a file for each module that is being compiled.
    pub locks: PathBuf,
    /// The slots, a file for each compile that may run, and the queue for them.
    pub slots: PathBuf,
    /// The drivers whose starts wait for an artifact.
    pub orders: PathBuf,
    /// The drivers that make better code, or wait for their turn to.
    pub improvements: PathBuf,
    /// Artifacts that are handed over uncached.
    pub uncached: PathBuf,
    /// The bytes that entries may take.
    pub bounds: Bounds,
    /// Whether compiles take over functions of other modules.
    pub functions: bool,
}

impl Places {
    /// Returns the folders that the environment names.
    ///
    /// # Errors
    /// If a variable has an invalid value.
    pub fn find() -> Result<Self> {
        let functions = switch(FUNCTIONS_VARIABLE, std::env::var_os(FUNCTIONS_VARIABLE))?.unwrap_or(true);
        Ok(Self { functions, ..Self::below(root(), bounds()?) })
    }

    /// Returns the folders below `root`.
    pub fn below(root: PathBuf, bounds: Bounds) -> Self {
        Self {
            entries: root.join("cache"),
            locks: root.join("locks"),
            slots: root.join("slots"),
            orders: root.join("orders"),
            improvements: root.join("improvements"),
            uncached: root.join("uncached"),
            bounds,
            functions: true,
            root,
        }
    }
}

/// Returns the folder of what a node keeps, as the environment names it.
pub fn root() -> PathBuf {
    std::env::var_os(ROOT_VARIABLE).map_or_else(|| PathBuf::from(ROOT), PathBuf::from)
}

/// Returns the names of the folders that hold the entries of this build's installed compilers.
pub fn fingerprints() -> Vec<String> {
    let of = |target: Target| target.compiler().and_then(|compiler| fingerprint::compute(target, &compiler)).ok();
    Target::ALL.into_iter().filter_map(of).collect()
}

/// The bytes that entries may take on the disk.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// All fingerprints and tenants together.
    pub all: u64,
    /// One tenant.
    pub own: u64,
}

fn bounds() -> Result<Bounds> {
    let all = bytes(BYTES_VARIABLE, std::env::var_os(BYTES_VARIABLE))?.unwrap_or(MOST_BYTES);
    let own = bytes(SHARE_VARIABLE, std::env::var_os(SHARE_VARIABLE))?.unwrap_or_else(|| share(all));
    Ok(Bounds { all, own })
}

fn share(all: u64) -> u64 {
    (all / 4).max(all.min(LEAST_SHARE))
}

fn bytes(variable: &str, value: Option<OsString>) -> Result<Option<u64>> {
    let Some(text) = value else { return Ok(None) };
    let bytes = text.to_str().and_then(|text| text.parse().ok());
    let wrong = || Error::refused(format!("environment: {variable}"), text.to_string_lossy(), "a number of bytes");
    bytes.ok_or_else(wrong).map(Some)
}

fn switch(variable: &str, value: Option<OsString>) -> Result<Option<bool>> {
    match value.as_ref().map(|value| value.to_string_lossy()).as_deref() {
        None => Ok(None),
        Some("on") => Ok(Some(true)),
        Some("off") => Ok(Some(false)),
        Some(other) => Err(Error::refused(format!("environment: {variable}"), other, "`on` or `off`")),
    }
}

/// Whether a target's programs are installed.
pub enum Installed {
    /// The target's part of the cache.
    Part(Part),
    /// The file that is missing, as a reason for the user.
    Missing(String),
}

/// One target's compiler, and the artifacts that it has made for this machine's CPU.
pub struct Part {
    /// The target of the artifacts.
    pub target: Target,
    /// Its compile processes' executable.
    pub compiler: Program,
    /// None if the cache cannot be used: artifacts are then made in memory, for one start each.
    pub store: Option<Store>,
}

impl Part {
    /// Opens a target's part for a tenant. Calls `warn` if the cache cannot be used.
    pub fn open(places: &Places, target: Target, tenant: &str, warn: impl FnOnce(String)) -> Result<Installed> {
        if let Some(file) = target.missing()? {
            return Ok(Installed::Missing(format!("it is not installed on this node: there is no {}", file.display())));
        }
        let compiler = target.compiler()?;
        let store = Store::open(places.entries.join(fingerprint::compute(target, &compiler)?), tenant);
        let store =
            store.inspect_err(|e| warn(format!("the artifact cache cannot be used, every start compiles: {e}"))).ok();
        Ok(Installed::Part(Self { target, compiler, store }))
    }

    /// Returns what the cache knows of the module `digest`.
    pub fn look_up(&self, digest: &str) -> Known {
        self.store.as_ref().map_or(Known::Nothing, |store| store.look_up(digest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenants_share_is_a_quarter_and_of_a_small_cache_more() {
        let gigabyte = 1 << 30;
        assert_eq!([4 * gigabyte, gigabyte, 1 << 20].map(share), [gigabyte, LEAST_SHARE, 1 << 20]);
    }

    #[test]
    fn functions_are_switched_on_or_off() {
        let read = |text: &str| switch(FUNCTIONS_VARIABLE, Some(text.into()));
        assert_eq!(
            [read("on").unwrap(), read("off").unwrap(), switch("", None).unwrap()],
            [Some(true), Some(false), None]
        );
        let refused = read("no").unwrap_err().to_string();
        assert!(refused.contains("CATAMARAN_CACHE_FUNCTIONS") && refused.contains("`on` or `off`"), "{refused}");
    }
}
