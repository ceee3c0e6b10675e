//! The compile process's side of its contract with the shim, the same for every engine.
//!
//! Standard input is the module (a sealed memfd), standard output the artifact (a new file in the cache), standard
//! error the verdict's text. The exit code is the verdict: 0, [`EXIT_REFUSED`] for a module that is at fault,
//! [`EXIT_OTHER_ENGINE`] for one that the other engine runs, [`World::of_exit_code`] for one of another world, [`EXIT_OUTPUT`]
//! for an artifact that cannot be written, anything else for a compiler that failed. A fourth argument, if there is one, has the
//! numbers of [`Functions`]' descriptors.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::process::ExitCode;

use serde::{Deserialize, Serialize};

use crate::quote::shortened;
use crate::unprivileged::{Allowance, give_up_rights_but};

/// Exit code of a compile process that refuses its module; standard error says why. (`EX_DATAERR` of sysexits.h.)
pub const EXIT_REFUSED: u8 = 65;
/// Exit code of a compile process that could not write its artifact; standard error says why. (`EX_IOERR` of sysexits.h.)
pub const EXIT_OUTPUT: u8 = 74;

/// Exit code of a compile process whose module the other engine can run; standard error says why this one cannot.
/// (`EX_UNAVAILABLE` of sysexits.h.)
pub const EXIT_OTHER_ENGINE: u8 = 69;
/// Exit code of a compile process that was asked for a plain command and finds a component that is a server, [`World::Http`];
/// standard error says so. (`EX_PROTOCOL` of sysexits.h.)
const EXIT_SERVER: u8 = 76;
/// The same for a component that is an extended command, [`World::ExtendedCommand`]. (`EX_NOPERM` of sysexits.h.)
const EXIT_EXTENDED: u8 = 77;

/// Why a module is not compiled, for the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// No engine can run it.
    Module(String),
    /// This engine lacks something that the module needs and that the other one has.
    OtherEngine(String),
    /// A plain command was asked for, and the component is of this world: a server, or an extended command.
    OtherWorld(World, String),
}

/// The bytes that any file's artifact may have, however small the file is.
pub const ROOM: u64 = 64 << 20;
/// The bytes of artifact for each byte of the file, on top of [`ROOM`]. Compilers' output makes 2 to 6, a million empty functions
/// or types 25 to 30 with Wasmtime and 51 with Wasmer.
const TIMES: u64 = 64;

/// Returns the most bytes that the artifact of a module with `module` bytes may have.
fn most(module: u64) -> u64 {
    ROOM.saturating_add(module.saturating_mul(TIMES))
}

/// Returns the reason to refuse an artifact that is out of proportion to its module, because all of a node shares the cache. Two
/// bytes that call a function with a thousand parameters and results are 30 kB of machine code, with either engine.
///
/// A compile process checks its own artifact, and its driver checks again, because a process that met hostile bytes is not to be
/// believed.
pub fn out_of_proportion(module: u64, artifact: u64) -> Option<String> {
    let most = most(module);
    let text = || format!("the file has {module} bytes and its machine code {artifact}: at most {most} are kept");
    (artifact > most).then(text)
}

/// Returns the artifact, unless it is out of proportion to the module.
pub fn in_proportion(module: &[u8], artifact: Vec<u8>) -> Result<Vec<u8>, Refusal> {
    match out_of_proportion(module.len() as u64, artifact.len() as u64) {
        None => Ok(artifact),
        Some(reason) => Err(Refusal::Module(reason)),
    }
}

/// The way in which an artifact's code is called. The third argument of a compile process; a module's is always `Command`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum World {
    /// By its `_start` or `wasi:cli/run`, once.
    Command,
    /// The same, for a component that needs more than `wasi:cli/command` of WASI 0.2 has: WASI 0.3, or requests of its own.
    ExtendedCommand,
    /// By its `wasi:http/incoming-handler`, for each request. The code looks at a clock in each loop and function, so that a
    /// request that takes too long is ended.
    Http,
    /// The same without the clock, which is faster.
    HttpUninterrupted,
}

impl World {
    /// Returns the argument that stands for it.
    pub fn word(self) -> &'static str {
        match self {
            World::Command => "command",
            World::ExtendedCommand => "extended-command",
            World::Http => "http",
            World::HttpUninterrupted => "http-uninterrupted",
        }
    }

    /// Reads such an argument; None for any other word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|world| world.word() == word)
    }

    /// All worlds.
    pub const ALL: [Self; 4] = [World::Command, World::ExtendedCommand, World::Http, World::HttpUninterrupted];

    /// Whether components of this world are servers.
    pub fn is_http(self) -> bool {
        matches!(self, World::Http | World::HttpUninterrupted)
    }

    /// Returns the exit code of a compile process that was asked for a plain command and finds a component of this world.
    fn exit_code(self) -> u8 {
        match self {
            World::ExtendedCommand => EXIT_EXTENDED,
            World::Command | World::Http | World::HttpUninterrupted => EXIT_SERVER,
        }
    }

    /// Returns the component's world by that exit code; None for any other code.
    pub fn of_exit_code(code: u32) -> Option<Self> {
        [World::Http, World::ExtendedCommand].into_iter().find(|world| u32::from(world.exit_code()) == code)
    }
}

/// How much time goes into an artifact. The first argument of a compile process; the second is the pid of its driver, with which
/// the process dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tier {
    /// Compiled as fast as possible, for the first start.
    Fast,
    /// Compiled by the optimiser, for every later start.
    Best,
}

impl Tier {
    /// Returns the argument that stands for it.
    pub fn word(self) -> &'static str {
        match self {
            Tier::Fast => "fast",
            Tier::Best => "best",
        }
    }

    fn of_this_process() -> Option<Self> {
        match std::env::args().nth(1)?.as_str() {
            "fast" => Some(Tier::Fast),
            "best" => Some(Tier::Best),
            _ => None,
        }
    }
}

/// Machine code of single functions, which compiles of one tenant's modules leave for each other. Only the engine's compiler knows the
/// format.
#[derive(Debug)]
pub struct Functions {
    /// The file for functions that are compiled now. Stays empty if there is nothing to keep.
    pub new: File,
    /// The most bytes that it may have.
    pub most: u64,
    /// Functions of other modules, which earlier compiles have written.
    pub known: Vec<File>,
}

impl Functions {
    /// Returns the fourth argument of a compile process that inherits these descriptors.
    pub fn argument(new: RawFd, known: impl Iterator<Item = RawFd>) -> String {
        let numbers: Vec<_> = std::iter::once(new).chain(known).map(|number| number.to_string()).collect();
        numbers.join(",")
    }

    /// Reads such an argument. Returns None if it is something else.
    fn numbers(argument: &str) -> Option<Vec<RawFd>> {
        argument.split(',').map(|number| number.parse().ok()).collect()
    }

    fn new(descriptors: Vec<OwnedFd>, most: u64) -> Option<Self> {
        let mut files = descriptors.into_iter().map(File::from);
        Some(Self { new: files.next()?, most, known: files.collect() })
    }
}

/// Gives up every right, reads the module, has `compile` compile it, and writes the artifact.
///
/// `compile` returns the artifact's bytes, or the reason to refuse the module.
pub fn run(compile: impl FnOnce(&[u8], Tier, World, Option<Functions>) -> Result<Vec<u8>, Refusal>) -> ExitCode {
    let world = std::env::args().nth(3).and_then(|word| World::parse(&word));
    let numbers = std::env::args().nth(4).map_or(Some(Vec::new()), |argument| Functions::numbers(&argument));
    let (Some(tier), Some(world), Some(numbers)) = (Tier::of_this_process(), world, numbers) else {
        eprintln!("a compile process is started by catamaran-helper, with a tier, its driver's pid and a world");
        return ExitCode::from(2);
    };
    let driver = std::env::args().nth(2).and_then(|pid| pid.parse().ok());
    let bytes = duplicate(std::io::stdin().as_fd()).and_then(|module| Ok(module.metadata()?.len())).unwrap_or(0);
    // A compiler has one thread for each core of the machine.
    let allowance = Allowance { file: most(bytes), processor: 600, memory: 16 << 30, threads: 1024 };
    let functions = match give_up_rights_but(driver, allowance, &numbers) {
        Ok(descriptors) => Functions::new(descriptors, allowance.file),
        Err(e) => {
            eprintln!("the compile process cannot confine itself: {e}");
            return ExitCode::FAILURE;
        }
    };
    let mut module = Vec::new();
    let read = duplicate(std::io::stdin().as_fd()).and_then(|mut f| f.read_to_end(&mut module));
    if let Err(e) = read {
        eprintln!("reading the module: {e}");
        return ExitCode::FAILURE;
    }
    let artifact = match compile(&module, tier, world, functions) {
        Ok(artifact) => artifact,
        Err(refusal) => {
            let (reason, code) = match refusal {
                Refusal::Module(reason) => (reason, EXIT_REFUSED),
                Refusal::OtherEngine(reason) => (reason, EXIT_OTHER_ENGINE),
                Refusal::OtherWorld(world, reason) => (reason, world.exit_code()),
            };
            eprint!("{}", shortened(&reason));
            return ExitCode::from(code);
        }
    };
    // Does not wait for the disk: the driver does, when the start has its code.
    let written = duplicate(std::io::stdout().as_fd()).and_then(|mut f| f.write_all(&artifact));
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("writing the artifact: {e}");
            ExitCode::from(EXIT_OUTPUT)
        }
    }
}

/// Returns the descriptor as a plain file, without a buffer or a lock between the bytes and the kernel.
fn duplicate(fd: std::os::fd::BorrowedFd<'_>) -> std::io::Result<File> {
    Ok(File::from(fd.try_clone_to_owned()?))
}

#[cfg(test)]
mod tests {
    use super::{ROOM, in_proportion};

    #[test]
    fn an_artifact_that_is_too_large_for_its_module_is_refused_with_both_sizes() {
        let most = usize::try_from(ROOM).unwrap() + 64 * 2;
        assert_eq!(in_proportion(b"ab", vec![0; most]).map(|kept| kept.len()), Ok(most));
        let text = format!("{:?}", in_proportion(b"ab", vec![0; most + 1]).unwrap_err());
        assert!(text.contains("2 bytes") && text.contains(&format!("code {}: at most {most}", most + 1)), "{text}");
    }
}
