//! The files of one fingerprint: artifacts, refusals, and unfinished files.
//!
//! ```text
//! <sha256>                          machine code of the optimising compiler
//! <sha256>.fast                     the fast compiler's: used until the optimiser's is there
//! <sha256>[.fast].own-TENANT        the same for one tenant alone, because functions of its other modules went into it
//! <sha256>[.fast].functions-TENANT  the module's functions one by one, for the compiles of that tenant's next modules
//! ....sum                           checksum of the machine code beside it: see `checksum`
//! ....of-TENANT                     tenant for whom the file beside it was made: see `entry`
//! <sha256>.refused                  why there is none, for the user, below a word: for how long, or which engine or world it is for
//! new-PID.START-N                   a file that is being written, by its writer's pid and start time
//! ```
//!
//! Only root may enter the folder, because its files run as native code in workers. An entry appears whole or not at all, as long as
//! the machine runs. After a crash one that had not reached the disk is damaged, and found so by its checksum.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use catamaran_host::child;
use catamaran_host::lease;
use catamaran_worker::compiler::{Tier, World};
use catamaran_worker::mountattr::{self, Change};
use nix::libc;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::OpenTreeFlags;

use super::{checksum, entry, tenant};
use crate::error::{Doing, Error, Result};

/// The prefix of unfinished files. Their writer's pid and start time follow, which together identify it for good.
const NEW: &str = "new-";
const FAST: &str = ".fast";
const OWN: &str = ".own-";
const FUNCTIONS: &str = ".functions-";
const REFUSED: &str = ".refused";
/// How many files of functions a tenant keeps of each tier: as many interpreters as its applications are built on.
const MOST_FUNCTIONS: usize = 4;
/// A module that took too long, or too much memory, is tried again after this, because the node may have been busy.
const SECOND_TRY: Duration = Duration::from_secs(3600);
/// An entry's time of use is exact to this, so that a start does not write each time.
const USE_EXACT_TO: Duration = Duration::from_secs(3600);

/// The folder of one fingerprint, for one tenant.
pub struct Store {
    folder: PathBuf,
    /// In the form that file names have.
    tenant: String,
}

/// One of a module's artifacts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// The tier of the compiler that made it.
    pub tier: Tier,
    /// Whether functions of the tenant's other modules went into it. It is then for this tenant alone, because those modules' compile
    /// processes, which met hostile bytes, answer for it too.
    pub own: bool,
}

impl Kind {
    /// The optimiser's, from the module alone.
    pub const BEST: Self = Self { tier: Tier::Best, own: false };
    /// All kinds, in the order in which a start takes them.
    const ALL: [Self; 4] = [
        Self::BEST,
        Self { tier: Tier::Best, own: true },
        Self { tier: Tier::Fast, own: false },
        Self { tier: Tier::Fast, own: true },
    ];
}

/// The meaning of an entry's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// Machine code of a module.
    Artifact(Kind),
    /// A module's functions one by one.
    Functions(Tier),
    /// A refusal.
    Refusal,
}

/// Why a module has no artifact, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lasting {
    /// The module is at fault. Holds as long as the compiler is the same.
    Always,
    /// The compile met a limit of time or memory.
    ForAWhile,
    /// The module is for the other engine. Holds as long as the compiler is the same.
    OtherEngine,
    /// The module is not a plain command but of that world. Holds as long as the compiler is the same.
    OtherWorld(World),
}

impl Lasting {
    /// Returns the word in the file.
    fn word(self) -> &'static str {
        match self {
            Lasting::Always => "always",
            Lasting::ForAWhile => "limit",
            Lasting::OtherEngine => "other-engine",
            Lasting::OtherWorld(World::ExtendedCommand) => "extended-command",
            Lasting::OtherWorld(_) => "server",
        }
    }
}

/// What the cache knows of a module.
pub enum Known {
    /// Machine code.
    Artifact(File, Kind),
    /// An artifact that was not verified since the machine was started.
    Unverified(Kind),
    /// No engine runs the module, for this reason.
    Refused(String),
    /// This engine does not run the module, for this reason.
    OtherEngine(String),
    /// The module is not a plain command but of that world, for this reason.
    OtherWorld(World, String),
    /// The module was not compiled yet.
    Nothing,
}

impl Store {
    /// Opens the store for a tenant, and makes its folder if it is missing. Fails if the folder cannot be used: the caller goes on without.
    pub fn open(folder: PathBuf, tenant: &str) -> Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(&folder).on(&folder)?;
        let meta = fs::metadata(&folder).on(&folder)?;
        if meta.uid() != 0 || meta.mode() & 0o077 != 0 {
            let found = format!("owner {}, mode {:o}", meta.uid(), meta.mode() & 0o7777);
            return Err(Error::refused(folder.display().to_string(), found, "a folder of root's with mode 700"));
        }
        Ok(Self { folder, tenant: tenant::name(tenant) })
    }

    fn path(&self, digest: &str, kind: Kind) -> PathBuf {
        let own = if kind.own { format!("{OWN}{}", self.tenant) } else { String::new() };
        self.folder.join(format!("{digest}{}{own}", suffix(kind.tier)))
    }

    /// Returns the best artifact that there is. Skips a broken entry, with a line in the log.
    pub fn artifact(&self, digest: &str) -> Option<(File, Kind)> {
        for kind in Kind::ALL {
            let path = self.path(digest, kind);
            match open_artifact(&path) {
                Ok(file) => {
                    note_use(&path);
                    return Some((file, kind));
                }
                Err(e) if e.kind() == ErrorKind::NotFound => {}
                Err(e) => log::warn!("cache entry {} is passed over: {e}", path.display()),
            }
        }
        None
    }

    /// Returns the best artifact of the module, or else why there is none.
    pub fn look_up(&self, digest: &str) -> Known {
        if let Some((file, kind)) = self.artifact(digest) {
            let verified = checksum::is_verified(&self.path(digest, kind), &file);
            return if verified { Known::Artifact(file, kind) } else { Known::Unverified(kind) };
        }
        match self.refusal(digest) {
            Some((Lasting::OtherEngine, reason)) => Known::OtherEngine(reason),
            Some((Lasting::OtherWorld(world), reason)) => Known::OtherWorld(world, reason),
            Some((_, reason)) => Known::Refused(reason),
            None => Known::Nothing,
        }
    }

    /// Returns why the module was refused before, if that still holds.
    fn refusal(&self, digest: &str) -> Option<(Lasting, String)> {
        let path = self.folder.join(format!("{digest}{REFUSED}"));
        let text = fs::read_to_string(&path).ok()?;
        let (word, reason) = text.split_once('\n')?;
        let worlds = [World::Http, World::ExtendedCommand].map(Lasting::OtherWorld);
        let all = [Lasting::Always, Lasting::OtherEngine, Lasting::ForAWhile].into_iter().chain(worlds);
        let lasting = all.into_iter().find(|lasting| lasting.word() == word)?;
        // A refusal from the future is too old: the clock was set back.
        let age = fs::metadata(&path).and_then(|m| m.modified()).ok()?.elapsed().unwrap_or(SECOND_TRY);
        (lasting != Lasting::ForAWhile || age < SECOND_TRY).then(|| (lasting, reason.to_owned()))
    }

    /// Remembers why there is no artifact. If that fails, the next start finds it out again.
    pub fn refuse(&self, digest: &str, lasting: Lasting, reason: &str) {
        let path = self.folder.join(format!("{digest}{REFUSED}"));
        let written = self.create().and_then(|mut new| {
            write!(new.file, "{}\n{reason}", lasting.word()).on(&new.name.path)?;
            new.publish(&path, |_| entry::mark(&path, &self.tenant).on(&path))
        });
        if let Err(e) = written {
            log::warn!("{e}");
        }
    }

    /// Makes a file for a new artifact. The file is removed again unless it is published.
    pub fn create(&self) -> Result<New> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let pid = std::process::id();
        let started = child::started(pid).unwrap_or_default();
        let path = self.folder.join(format!("{NEW}{pid}.{started}-{number}"));
        let file = File::options().write(true).create_new(true).mode(0o600).open(&path).on(&path)?;
        Ok(New { file, name: Name { path, published: false } })
    }

    /// Puts a new artifact in its place, and opens it. [`Kind::BEST`] replaces the others, unless a process runs them. Does not wait for the
    /// disk, because a start waits for this: see [`Store::sync`].
    pub fn publish(&self, new: New, digest: &str, kind: Kind) -> Result<File> {
        let path = self.put(new, digest, kind)?;
        open_artifact(&path).on(&path)
    }

    /// Puts a new artifact in its place, and returns its path.
    fn put(&self, new: New, digest: &str, kind: Kind) -> Result<PathBuf> {
        let path = self.path(digest, kind);
        self.move_to(new, &path)?;
        // An earlier compile may have met a limit.
        let _ = entry::remove(&self.folder.join(format!("{digest}{REFUSED}")));
        // Not after a fast one: another namespace's start may have had the best one made meanwhile, and this one is still to be opened.
        if kind == Kind::BEST {
            for path in Kind::ALL.map(|kind| self.path(digest, kind)) {
                if is_superseded(&path) {
                    let _ = entry::remove(&path);
                }
            }
        }
        Ok(path)
    }

    /// Puts a new file in its place, with its checksum and its mark.
    fn move_to(&self, new: New, path: &Path) -> Result<()> {
        new.publish(path, |written| {
            let sum = checksum::compute(written).on(path)?;
            self.write_sum(path, &sum)?;
            entry::mark(path, &self.tenant).on(path)
        })
    }

    /// Opens the files of functions that this tenant's modules have left, the newest first, and returns them with their paths. Removes
    /// those that are damaged.
    pub fn functions(&self, tier: Tier) -> Vec<(PathBuf, File)> {
        let opened = self.functions_by_age(tier).into_iter().rev().take(MOST_FUNCTIONS).filter_map(|path| {
            let file = open_artifact(&path).ok()?;
            let file = if checksum::is_verified(&path, &file) { Some(file) } else { self.verify(&path, file) };
            Some((path, file?))
        });
        opened.collect()
    }

    /// Returns the paths of this tenant's files of functions, the oldest first. Their age is that of their making, not of their last use:
    /// when the cache is full, they go before the artifacts of that time.
    fn functions_by_age(&self, tier: Tier) -> Vec<PathBuf> {
        let files = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let ending = format!("{FUNCTIONS}{}", self.tenant);
        let mut all: Vec<_> = files
            .filter(|file| {
                let name = file.file_name();
                name.to_str().is_some_and(|name| {
                    name.ends_with(&ending) && parse(name).is_some_and(|(_, of)| of == Entry::Functions(tier))
                })
            })
            .filter_map(|file| Some((file.metadata().and_then(|meta| meta.modified()).ok()?, file.path())))
            .collect();
        all.sort();
        all.into_iter().map(|(_, path)| path).collect()
    }

    /// Puts a module's functions in their place, and removes the oldest of the tenant's if these are too many. The caller has waited for the
    /// disk, and holds the lock of the cache's room.
    pub fn publish_functions(&self, new: New, digest: &str, tier: Tier) -> Result<()> {
        let path = self.folder.join(format!("{digest}{}{FUNCTIONS}{}", suffix(tier), self.tenant));
        self.move_to(new, &path)?;
        let all = self.functions_by_age(tier);
        for old in all.iter().rev().skip(MOST_FUNCTIONS) {
            let _ = entry::remove(old);
        }
        Ok(())
    }

    /// Waits until the disk has an artifact that was published. One that the disk refuses is in the page cache alone, and would be read
    /// damaged when its pages have gone: the caller removes it ([`Store::discard`]).
    pub fn sync(&self, artifact: &File, digest: &str, kind: Kind) -> Result<()> {
        artifact.sync_all().on(self.path(digest, kind))
    }

    /// Removes an artifact. Processes that have mapped it keep it. The caller holds the lock of the cache's room if it can be had.
    pub fn discard(&self, digest: &str, kind: Kind) {
        // It may have been evicted.
        let _ = entry::remove(&self.path(digest, kind));
    }

    /// Returns the artifact if it is what was published, and removes it if it is not. Reads all of it.
    pub fn verified(&self, digest: &str, kind: Kind) -> Result<Option<File>> {
        let path = self.path(digest, kind);
        match open_artifact(&path) {
            Ok(file) => Ok(self.verify(&path, file)),
            // It was evicted since the look-up.
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e).on(&path),
        }
    }

    /// Returns the file if it is what was published, and removes it if it is not. Reads all of it.
    fn verify(&self, path: &Path, mut file: File) -> Option<File> {
        // A file that cannot be read counts as damaged.
        if let Ok(Some(sum)) = checksum::verify(path, &mut file) {
            if let Err(e) = self.write_sum(path, &sum) {
                log::debug!("{e}");
            }
            return Some(file);
        }
        // In a read-only cache it stays, and is skipped: the module runs uncached.
        let _ = entry::remove(path);
        None
    }

    fn write_sum(&self, path: &Path, sum: &str) -> Result<()> {
        let mut new = self.create()?;
        new.file.write_all(sum.as_bytes()).on(&new.name.path)?;
        new.publish(&checksum::beside(path), |_| Ok(()))
    }

    /// See [`sweep`].
    pub fn sweep(&self) {
        sweep(&self.folder);
    }
}

/// Removes the unfinished files of processes that died while they wrote.
pub fn sweep(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if is_abandoned(&entry.file_name().to_string_lossy()) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn suffix(tier: Tier) -> &'static str {
    match tier {
        Tier::Best => "",
        Tier::Fast => FAST,
    }
}

/// Whether this is the name of an unfinished file whose writer died.
pub fn is_abandoned(name: &str) -> bool {
    let Some((writer, _)) = name.strip_prefix(NEW).and_then(|rest| rest.rsplit_once('-')) else { return false };
    let alive = |pid, started: &str| started.parse().is_ok_and(|started| child::started(pid) == Some(started));
    !writer.split_once('.').is_some_and(|(pid, started)| alive(pid, started))
}

/// Whether this is an artifact that nobody needs any more: [`Kind::BEST`] lies beside it, and no process has it open. One that a process
/// runs stays in its place, so that it counts: the disk has its blocks until that process ends.
pub fn is_superseded(path: &Path) -> bool {
    let Some((digest, Entry::Artifact(kind))) = path.file_name().and_then(|name| parse(name.to_str()?)) else {
        return false;
    };
    kind != Kind::BEST && path.with_file_name(digest).exists() && !entry::is_in_use(path)
}

/// Returns the module's digest in an entry's name, and what the entry is. Returns None for any other name.
pub fn parse(name: &str) -> Option<(&str, Entry)> {
    let hexadecimal = |text: &str, length| text.len() == length && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let (digest, rest) = name.split_at_checked(64).filter(|(digest, _)| hexadecimal(digest, 64))?;
    let (tier, rest) = match rest.strip_prefix(FAST) {
        Some(rest) => (Tier::Fast, rest),
        None => (Tier::Best, rest),
    };
    let entry = match (rest.strip_prefix(OWN), rest.strip_prefix(FUNCTIONS)) {
        (Some(tenant), _) if hexadecimal(tenant, 16) => Entry::Artifact(Kind { tier, own: true }),
        (_, Some(tenant)) if hexadecimal(tenant, 16) => Entry::Functions(tier),
        _ if rest.is_empty() => Entry::Artifact(Kind { tier, own: false }),
        _ if rest == REFUSED && tier == Tier::Best => Entry::Refusal,
        _ => return None,
    };
    Some((digest, entry))
}

/// A file that is being written.
pub struct New {
    /// Its bytes.
    pub file: File,
    name: Name,
}

impl New {
    /// Where it is written.
    pub fn path(&self) -> &Path {
        &self.name.path
    }
}

/// An unfinished file's name: its drop removes the file unless it was published.
struct Name {
    path: PathBuf,
    published: bool,
}

impl New {
    /// Makes sure that nobody can write to the file any more, runs `before`, and moves the file to `path`. Fails if somebody can
    /// still write to it.
    fn publish(self, path: &Path, before: impl FnOnce(&mut File) -> Result<()>) -> Result<()> {
        let Self { file, mut name } = self;
        // Readable, because a worker may reopen a component's artifact as the container's user. The folder lets nobody else in.
        file.set_permissions(Permissions::from_mode(0o444)).on(&name.path)?;
        drop(file);
        let mut written = File::open(&name.path).on(&name.path)?;
        if !lease::nobody_writes(&written).on(&name.path)? {
            let e = io::Error::other("whoever wrote it left somebody behind who still can");
            return Err(e).on(&name.path);
        }
        before(&mut written)?;
        fs::rename(&name.path, path).on(path)?;
        name.published = true;
        Ok(())
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        if !self.published {
            // If it stays, `sweep` removes it later.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Opens an artifact, which must be a regular file of root's that nobody else can write to. Opens it through a read-only mount of its
/// own, because a worker that runs as root holds the descriptor, and could otherwise change the file's mode or reopen it. The mount
/// is not noexec, even if the cache's own is: only what is mapped by this descriptor is executed from it.
fn open_artifact(path: &Path) -> io::Result<File> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(ErrorKind::InvalidInput.into());
    };
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let folder = rustix::mount::open_tree(CWD, folder, flags)?;
    let change = Change { add: libc::MOUNT_ATTR_RDONLY, clear: libc::MOUNT_ATTR_NOEXEC, propagation: libc::MS_PRIVATE };
    mountattr::set(folder.as_fd(), &change, false)?;
    // NONBLOCK: waits for no lease on it.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let artifact = File::from(rustix::fs::openat(&folder, name, flags, Mode::empty())?);
    let meta = artifact.metadata()?;
    if !meta.is_file() || meta.uid() != 0 || meta.mode() & 0o022 != 0 {
        return Err(io::Error::new(ErrorKind::PermissionDenied, "not a file that root alone can write to"));
    }
    Ok(artifact)
}

/// Notes that the entry was used, because the least recently used one goes first when the cache is full.
fn note_use(path: &Path) {
    let noted = fs::metadata(path).and_then(|m| m.modified()).map(|t| t.elapsed().unwrap_or(Duration::MAX));
    if noted.is_ok_and(|age| age > USE_EXACT_TO) {
        // A read-only cache keeps its order, and evicts nothing either. O_NONBLOCK: waits for no lease on it.
        let opened = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path);
        let _ = opened.and_then(|file| file.set_modified(SystemTime::now()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("catamaran-{name}-{}", std::process::id()));
            DirBuilder::new().mode(0o700).create(&path).unwrap();
            Self(path)
        }

        /// Returns a store whose folder belongs to the user that runs the test.
        fn store(&self) -> Store {
            Store { folder: self.0.clone(), tenant: tenant::name("a") }
        }

        fn names(&self) -> Vec<String> {
            let mut all: Vec<_> =
                fs::read_dir(&self.0).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
            all.sort();
            all
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn an_artifact_that_others_can_write_is_not_run() {
        let folder = Folder::new("artifact");
        let path = folder.0.join("x");
        fs::write(&path, "x").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
        assert_eq!(open_artifact(&path).unwrap_err().kind(), ErrorKind::PermissionDenied);
    }

    #[test]
    fn temporary_files_of_dead_processes_are_removed() {
        let folder = Folder::new("sweep");
        let pid = std::process::id();
        let own = format!("new-{pid}.{}-0", child::started(pid).unwrap());
        let stale = [format!("new-{pid}.1-0"), "new-4194305.7-3".to_owned(), "new-junk-0".to_owned()];
        for name in stale.iter().chain([&own, &"0123abc".to_owned()]) {
            fs::write(folder.0.join(name), "").unwrap();
        }
        folder.store().sweep();
        assert_eq!(folder.names(), ["0123abc".to_owned(), own]);
    }

    #[test]
    fn the_names_of_entries_are_read_back() {
        let digest = "0123456789abcdef".repeat(4);
        let store = Store { folder: PathBuf::new(), tenant: tenant::name("a") };
        for kind in Kind::ALL {
            let path = store.path(&digest, kind);
            assert_eq!(parse(path.to_str().unwrap()), Some((digest.as_str(), Entry::Artifact(kind))));
        }
        for (ending, entry) in [
            (".functions-0123456789abcdef", Entry::Functions(Tier::Best)),
            (".fast.functions-0123456789abcdef", Entry::Functions(Tier::Fast)),
            (".refused", Entry::Refusal),
        ] {
            assert_eq!(parse(&format!("{digest}{ending}")), Some((digest.as_str(), entry)));
        }
        for ending in [".sum", ".fast.sum", ".of-0123", ".own-0123", ".own-0123456789abcdef.sum", ".fast.refused", "0"]
        {
            assert_eq!(parse(&format!("{digest}{ending}")), None, "{ending}");
        }
        assert!(parse("new-1.2-3").is_none() && parse("").is_none() && parse(&"ü".repeat(40)).is_none());
    }

    #[test]
    fn a_tenant_gets_its_own_functions_and_no_others() {
        let folder = Folder::new("functions");
        let stores = ["a", "b"].map(|tenant| Store { folder: folder.0.clone(), tenant: tenant::name(tenant) });
        let [a, b] = &stores;
        let digest = |number: usize| format!("{number:064}");
        for number in 0..MOST_FUNCTIONS + 2 {
            let mut new = a.create().unwrap();
            write!(new.file, "functions of {number}").unwrap();
            new.file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(number as u64)).unwrap();
            a.publish_functions(new, &digest(number), Tier::Best).unwrap();
        }
        let numbers = |store: &Store, tier| -> Vec<String> {
            store.functions(tier).into_iter().map(|(_, file)| io::read_to_string(file).unwrap()).collect()
        };
        assert_eq!(numbers(a, Tier::Best), [5, 4, 3, 2].map(|number| format!("functions of {number}")));
        assert!(numbers(a, Tier::Fast).is_empty() && numbers(b, Tier::Best).is_empty());
        // Each with its checksum and its mark.
        assert_eq!(folder.names().len(), 3 * MOST_FUNCTIONS);
        let damaged = a.functions(Tier::Best)[0].0.clone();
        fs::set_permissions(&damaged, Permissions::from_mode(0o644)).unwrap();
        fs::write(&damaged, "functions of 6, by another").unwrap();
        fs::set_permissions(&damaged, Permissions::from_mode(0o444)).unwrap();
        assert_eq!(numbers(a, Tier::Best), [4, 3, 2].map(|number| format!("functions of {number}")));
        assert!(!damaged.exists());
    }

    #[test]
    fn code_with_a_tenants_own_functions_is_for_that_tenant_until_the_best_is_there() {
        let folder = Folder::new("own");
        let stores = ["a", "b"].map(|tenant| Store { folder: folder.0.clone(), tenant: tenant::name(tenant) });
        let [a, b] = &stores;
        let digest = "0123456789abcdef".repeat(4);
        let (own, best) = (Kind { tier: Tier::Best, own: true }, Kind::BEST);
        let fast = Kind { tier: Tier::Fast, own: false };
        let has = |store: &Store| Kind::ALL.into_iter().find(|kind| store.path(&digest, *kind).exists());
        a.put(a.create().unwrap(), &digest, own).unwrap();
        assert_eq!((has(a), has(b)), (Some(own), None));
        b.put(b.create().unwrap(), &digest, fast).unwrap();
        assert_eq!((has(a), has(b)), (Some(own), Some(fast)));
        b.put(b.create().unwrap(), &digest, best).unwrap();
        assert_eq!((has(a), has(b)), (Some(best), Some(best)));
        assert!(!b.path(&digest, fast).exists() && is_superseded(&a.path(&digest, own)), "it goes with the next entry");
        let held = File::open(a.path(&digest, own)).unwrap();
        assert!(!is_superseded(&a.path(&digest, own)), "a process runs it");
        drop(held);
    }

    #[test]
    fn an_unpublished_file_is_removed() {
        let folder = Folder::new("new");
        drop(folder.store().create().unwrap());
        assert!(folder.names().is_empty());
    }

    #[test]
    fn an_artifact_is_readable_by_all_and_writable_by_nobody() {
        let folder = Folder::new("mode");
        let store = folder.store();
        let (digest, kind) = ("d", Kind { tier: Tier::Fast, own: false });
        store.create().unwrap().publish(&store.path(digest, kind), |_| Ok(())).unwrap();
        assert_eq!(fs::metadata(store.path(digest, kind)).unwrap().mode() & 0o7777, 0o444);
        assert_eq!(fs::metadata(&folder.0).unwrap().mode() & 0o7777, 0o700, "to who is let in");
    }

    #[test]
    fn fast_code_that_is_ready_after_the_best_stays_until_it_was_opened() {
        let folder = Folder::new("late");
        let store = folder.store();
        let digest = "d".repeat(64);
        let put = |tier| store.put(store.create().unwrap(), &digest, Kind { tier, own: false }).unwrap();
        let (best, fast) = (put(Tier::Best), put(Tier::Fast));
        assert!(best.exists() && fast.exists());
        put(Tier::Best);
        assert!(best.exists() && !fast.exists());
    }

    #[test]
    fn an_artifact_that_the_disk_refuses_is_removed_with_what_lies_beside_it() {
        let folder = Folder::new("disk");
        let store = folder.store();
        let (digest, kind) = ("d", Kind { tier: Tier::Fast, own: false });
        let path = store.path(digest, kind);
        store.create().unwrap().publish(&path, |_| Ok(())).unwrap();
        store.write_sum(&path, "sum").unwrap();
        entry::mark(&path, &store.tenant).unwrap();
        store.sync(&File::open(&path).unwrap(), digest, kind).unwrap();
        assert_eq!(folder.names().len(), 3);
        // A file that cannot be synced.
        assert!(store.sync(&File::open("/dev/null").unwrap(), digest, kind).is_err());
        store.discard(digest, kind);
        assert!(folder.names().is_empty());
        store.discard(digest, kind);
    }

    #[test]
    fn refusals_are_cached_and_those_by_a_limit_expire() {
        let folder = Folder::new("refusal");
        let store = folder.store();
        assert_eq!(store.refusal("a"), None);
        for (digest, lasting) in [
            ("a", Lasting::Always),
            ("b", Lasting::ForAWhile),
            ("c", Lasting::OtherEngine),
            ("d", Lasting::OtherWorld(World::Http)),
            ("f", Lasting::OtherWorld(World::ExtendedCommand)),
        ] {
            store.refuse(digest, lasting, "why\nand how");
            assert_eq!(store.refusal(digest), Some((lasting, "why\nand how".to_owned())));
            let file = File::open(folder.0.join(format!("{digest}.refused"))).unwrap();
            file.set_modified(SystemTime::now() - 2 * SECOND_TRY).unwrap();
        }
        assert!(store.refusal("a").is_some() && store.refusal("b").is_none() && store.refusal("c").is_some());
        assert!(matches!(store.look_up("c"), Known::OtherEngine(why) if why == "why\nand how"));
        assert!(matches!(store.look_up("d"), Known::OtherWorld(World::Http, why) if why == "why\nand how"));
        assert!(matches!(store.look_up("f"), Known::OtherWorld(World::ExtendedCommand, _)));
        fs::write(folder.0.join("e.refused"), "a word of a later version\nwhy").unwrap();
        assert_eq!(store.refusal("e"), None, "it is found out again");
    }
}
