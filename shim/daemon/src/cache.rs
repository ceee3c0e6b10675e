//! From a module's bytes to its machine code: copied once into a sealed memfd, hashed, looked up, compiled where it is new.
//!
//! Simple form: one file an artifact, written under another name and renamed when it is whole. The folder is root's alone:
//! what lies in it runs as native code in workers.

use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use catamaran_worker::compiler::EXIT_REFUSED;
use catamaran_worker::mountattr::{self, Change};
use log::info;
use nix::libc;
use object::elf::{ELF_NOTE_GNU, FileHeader64, NT_GNU_BUILD_ID};
use object::read::elf::{FileHeader, ProgramHeader};
use object::{Endianness, ReadRef};
use rustix::fs::{CWD, MemfdFlags, Mode, OFlags, SealFlags};
use rustix::mount::OpenTreeFlags;
use sha2::{Digest, Sha256};

use crate::error::{Doing, Error, Result};
use crate::{child, lease};

/// Where a node keeps what outlives a container; `CATAMARAN_ROOT` in containerd's environment moves it.
const ROOT: &str = "/var/lib/catamaran";
/// A module that is larger is refused: it would cost a node tens of gigabytes to compile.
const LARGEST_MODULE: u64 = 512 << 20;
/// One compile may take so long; it is killed then.
const LONGEST_COMPILE: Duration = Duration::from_secs(300);
/// As much of a compiler's words as a user is shown.
const LONGEST_VERDICT: u64 = 8 * 1024;
/// How files begin that are still being written, before their writer's pid and start, which name it for good.
const NEW: &str = "new-";
/// The event loop gets a turn after so many bytes of a module.
const TURN: usize = 1 << 20;

/// A module as it was read, once: what is hashed here is what is compiled.
pub(crate) struct Module {
    /// Its name, for messages.
    pub(crate) name: String,
    bytes: File,
    digest: String,
}

impl Module {
    /// Copies `file` into sealed memory.
    pub(crate) async fn read(name: String, mut file: File) -> Result<Self> {
        let size = file.metadata().on(&name)?.len();
        if size > LARGEST_MODULE {
            let reason = format!("{size} bytes, more than the {LARGEST_MODULE} that this version compiles");
            return Err(Error::Module { module: name, reason });
        }
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let doing = || format!("reading {name}");
        let mut bytes = File::from(rustix::fs::memfd_create("module", flags).doing(doing)?);
        let mut digest = Sha256::new();
        let mut buffer = vec![0; TURN.min(size as usize + 1)];
        let mut total = 0;
        loop {
            let n = file.read(&mut buffer).doing(doing)?;
            if n == 0 {
                break;
            }
            // The file may grow under us; its size was only a first look.
            total += n as u64;
            if total > LARGEST_MODULE {
                let reason = format!("more than the {LARGEST_MODULE} bytes that this version compiles");
                return Err(Error::Module { module: name, reason });
            }
            digest.update(&buffer[..n]);
            bytes.write_all(&buffer[..n]).doing(doing)?;
            tokio::task::yield_now().await;
        }
        bytes.rewind().doing(doing)?;
        let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
        rustix::fs::fcntl_add_seals(&bytes, seals).doing(doing)?;
        let digest = hex(&digest.finalize());
        Ok(Self { name, bytes, digest })
    }

    pub(crate) fn digest(&self) -> &str {
        &self.digest
    }
}

/// The artifacts of one engine.
pub(crate) struct Cache {
    compiler: PathBuf,
    folder: PathBuf,
}

impl Cache {
    /// Opens the part of the cache that fits this engine's compiler and this machine's CPU.
    pub(crate) fn open(engine: &str) -> Result<Self> {
        let compiler = crate::spawn::beside_the_shim(&format!("catamaran-{engine}-compile"))?;
        let key = format!("{engine}-{}-{}", build_id(&compiler)?, cpu()?);
        let root = std::env::var_os("CATAMARAN_ROOT").map_or_else(|| PathBuf::from(ROOT), PathBuf::from);
        let folder = root.join("cache").join(key);
        make_folder(&folder)?;
        Ok(Self { compiler, folder })
    }

    /// The module's machine code, compiled now if need be.
    pub(crate) async fn artifact(&self, module: &Module) -> Result<File> {
        let path = self.folder.join(&module.digest);
        match open_artifact(&path) {
            Ok(artifact) => return Ok(artifact),
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            // A broken entry is a miss.
            Err(e) => info!("cache entry {} is passed over: {e}", path.display()),
        }
        self.compile(module).await
    }

    /// Compiles the module and replaces whatever entry there is.
    pub(crate) async fn compile(&self, module: &Module) -> Result<File> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        self.sweep();
        let pid = std::process::id().to_string();
        let started = start_time(&pid).unwrap_or_default();
        let new = self.folder.join(format!("{NEW}{pid}.{started}-{number}"));
        let artifact = File::options().write(true).create_new(true).mode(0o600).open(&new).on(&new)?;
        let started = std::time::Instant::now();
        let compiled = self.run_compiler(module, artifact).await;
        if let Err(e) = compiled {
            // The verdict matters; a file that stays is swept.
            let _ = fs::remove_file(&new);
            return Err(e);
        }
        if !lease::nobody_writes(&File::open(&new).on(&new)?).on(&new)? {
            let _ = fs::remove_file(&new);
            let reason = "the compile process left somebody behind who can write to the artifact".to_owned();
            return Err(Error::Compiler { module: module.name.clone(), reason });
        }
        let path = self.folder.join(&module.digest);
        fs::rename(&new, &path).inspect_err(|_| drop(fs::remove_file(&new))).on(&path)?;
        info!("compiled {} sha256:{} in {} ms", module.name, module.digest, started.elapsed().as_millis());
        open_artifact(&path).on(&path)
    }

    /// Removes what shims left that died while they compiled.
    fn sweep(&self) {
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let Some(owner) = name.strip_prefix(NEW).and_then(|rest| rest.rsplit_once('-')) else { continue };
            let alive =
                owner.0.split_once('.').is_some_and(|(pid, started)| start_time(pid) == Some(started.to_owned()));
            if !alive {
                info!("removing {}, which a dead shim left", entry.path().display());
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    async fn run_compiler(&self, module: &Module, artifact: File) -> Result<()> {
        let failed = |reason: String| Error::Compiler { module: module.name.clone(), reason };
        let doing = || format!("compiling {}", module.name);
        let mut verdict = File::from(rustix::fs::memfd_create("verdict", MemfdFlags::CLOEXEC).doing(doing)?);
        // Opened anew: a position shared with an earlier compile could be moved by it.
        let input = File::open(format!("/proc/self/fd/{}", module.bytes.as_raw_fd())).doing(doing)?;
        let child = Command::new(&self.compiler)
            .env_clear()
            // A signal to its group reaches no shim.
            .process_group(0)
            .stdin(Stdio::from(input))
            .stdout(Stdio::from(artifact))
            .stderr(Stdio::from(verdict.try_clone().doing(doing)?))
            .spawn()
            .on(&self.compiler)?;
        let pidfd = child::pidfd(child)?;
        let ended = child::wait(pidfd.try_clone().doing(doing)?);
        let status = match tokio::time::timeout(LONGEST_COMPILE, ended).await {
            Ok(status) => status?,
            Err(_) => {
                child::signal(&pidfd, libc::SIGKILL).doing(doing)?;
                child::reap(pidfd);
                return Err(failed(format!("still compiling after {LONGEST_COMPILE:?}: stopped")));
            }
        };
        let code = child::exit_code(status);
        if code == 0 {
            return Ok(());
        }
        verdict.rewind().doing(doing)?;
        let mut words = Vec::new();
        verdict.take(LONGEST_VERDICT).read_to_end(&mut words).doing(doing)?;
        let words = String::from_utf8_lossy(&words).trim().to_owned();
        if code == u32::from(EXIT_REFUSED) {
            return Err(Error::Module { module: module.name.clone(), reason: words });
        }
        Err(failed(format!("the compiler ended with {code}: {words}")))
    }
}

/// When a process started, in ticks since the boot (field 22 of proc_pid_stat(5)); pids come again.
fn start_time(pid: &str) -> Option<String> {
    let stat = fs::read_to_string(Path::new("/proc").join(pid).join("stat")).ok()?;
    // The name in parentheses may hold anything; field 3 comes after it.
    stat.rsplit_once(") ")?.1.split(' ').nth(19).map(str::to_owned)
}

/// Only a regular file of root's that nobody else can write to is ever run. It is opened through a read-only mount of its
/// own, since a worker that runs as root holds the descriptor: it could change the file's mode otherwise, or open it anew.
fn open_artifact(path: &Path) -> io::Result<File> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(ErrorKind::InvalidInput.into());
    };
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let folder = rustix::mount::open_tree(CWD, folder, flags)?;
    mountattr::set(folder.as_fd(), &Change { add: libc::MOUNT_ATTR_RDONLY, ..Change::default() }, false)?;
    // Not to wait for somebody's lease on it.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let artifact = File::from(rustix::fs::openat(&folder, name, flags, Mode::empty())?);
    let meta = artifact.metadata()?;
    if !meta.is_file() || meta.uid() != 0 || meta.mode() & 0o022 != 0 {
        return Err(io::Error::new(ErrorKind::PermissionDenied, "not a file that root alone can write to"));
    }
    Ok(artifact)
}

fn make_folder(folder: &Path) -> Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder).on(folder)?;
    let meta = fs::metadata(folder).on(folder)?;
    if meta.uid() != 0 || meta.mode() & 0o077 != 0 {
        let found = format!("owner {}, mode {:o}", meta.uid(), meta.mode() & 0o7777);
        return Err(Error::refused(folder.display().to_string(), found, "a folder of root's with mode 700"));
    }
    Ok(())
}

/// The linker's build id of the compiler: another build, other artifacts. Nothing but its note is read: the symbols of a
/// compiler are larger than all else that the shim has in memory.
fn build_id(program: &Path) -> Result<String> {
    let file = File::open(program).on(program)?;
    match find_build_id(&object::ReadCache::new(file)).map_err(io::Error::other).on(program)? {
        Some(id) => Ok(hex(&id[..id.len().min(8)])),
        None => Err(Error::refused(program.display().to_string(), "no build id", "a program linked with --build-id")),
    }
}

fn find_build_id<'data>(data: impl ReadRef<'data>) -> object::Result<Option<&'data [u8]>> {
    let header = FileHeader64::<Endianness>::parse(data)?;
    let endian = header.endian()?;
    for segment in header.program_headers(endian, data)? {
        let Some(mut notes) = segment.notes(endian, data)? else { continue };
        while let Some(note) = notes.next()? {
            if note.name() == ELF_NOTE_GNU && note.n_type(endian) == NT_GNU_BUILD_ID {
                return Ok(Some(note.desc()));
            }
        }
    }
    Ok(None)
}

/// What of the CPU decides which machine code it can run: a disk may move to another machine.
fn cpu() -> Result<String> {
    const TELLING: [&str; 9] = [
        "vendor_id",
        "cpu family",
        "model",
        "stepping",
        "flags",
        "Features",
        "CPU implementer",
        "CPU part",
        "CPU variant",
    ];
    // The first processor's lines; the kernel makes the rest only for who reads on.
    let mut first = vec![0; 8192];
    let path = "/proc/cpuinfo";
    let n = File::open(path).and_then(|mut f| f.read(&mut first)).on(path)?;
    let text = String::from_utf8_lossy(&first[..n]);
    let mut digest = Sha256::new();
    for line in text.lines().take_while(|line| !line.is_empty()) {
        if line.split(':').next().is_some_and(|key| TELLING.contains(&key.trim())) {
            digest.update(line);
            digest.update("\n");
        }
    }
    Ok(hex(&digest.finalize()[..8]))
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_that_are_hashed_cannot_change() {
        let path = std::env::temp_dir().join(format!("catamaran-module-{}", std::process::id()));
        fs::write(&path, "abc").unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let module = runtime.block_on(Module::read("m".into(), File::open(&path).unwrap())).unwrap();
        fs::write(&path, "changed").unwrap();
        assert_eq!(module.digest, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!((&module.bytes).write(b"x").unwrap_err().raw_os_error(), Some(libc::EPERM));
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn an_artifact_that_others_can_write_is_not_run() {
        let path = std::env::temp_dir().join(format!("catamaran-artifact-{}", std::process::id()));
        fs::write(&path, "x").unwrap();
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
        assert_eq!(open_artifact(&path).unwrap_err().kind(), ErrorKind::PermissionDenied);
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn what_dead_shims_left_is_swept() {
        let folder = std::env::temp_dir().join(format!("catamaran-sweep-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let pid = std::process::id().to_string();
        let own = format!("new-{pid}.{}-0", start_time(&pid).unwrap());
        let stale = [format!("new-{pid}.1-0"), "new-4194305.7-3".to_owned(), "new-junk-0".to_owned()];
        for name in stale.iter().chain([&own, &"0123abc".to_owned()]) {
            fs::write(folder.join(name), "").unwrap();
        }
        Cache { compiler: PathBuf::new(), folder: folder.clone() }.sweep();
        let mut left: Vec<_> =
            fs::read_dir(&folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        left.sort();
        assert_eq!(left, ["0123abc".to_owned(), own]);
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn the_cpu_is_told_the_same_twice() {
        assert_eq!(cpu().unwrap(), cpu().unwrap());
    }
}
