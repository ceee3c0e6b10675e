//! Runs one compile process: unprivileged, bounded in time and memory, a module in and an artifact out.

use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use catamaran_host::child;
use catamaran_host::limits;
use catamaran_worker::compiler::{
    EXIT_OTHER_ENGINE, EXIT_OUTPUT, EXIT_REFUSED, Functions, Tier, World, out_of_proportion,
};
use catamaran_worker::describe::DESCRIBE;
use catamaran_worker::quote::shortened;
use nix::libc;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::MemfdFlags;

use crate::error::{Doing, Result};

/// The time after which a compile is killed.
const LONGEST: Duration = Duration::from_secs(300);
/// The most bytes of a compiler's text that are read. The text quotes the module, and the texts of all engines must fit in one message
/// between processes, even after escaping.
const LONGEST_WORDS: u64 = 4 * 1024;

/// The task of a compile process.
#[derive(Clone, Copy)]
pub(super) enum Task<'a> {
    /// Makes machine code for this world, with functions of other modules if there are files for them.
    Artifact(Tier, World, Option<&'a FunctionFiles<'a>>),
    /// Lists the module's imports and exports (`catamaran_worker::describe`).
    Description,
}

/// The files of functions that a compile process inherits.
pub(super) struct FunctionFiles<'a> {
    /// The file for those that are compiled now.
    pub(super) new: &'a File,
    /// Those of the tenant's other modules.
    pub(super) known: Vec<&'a File>,
}

/// The end of a compile.
pub(super) enum Verdict {
    Made,
    /// The module is at fault.
    Refused(String),
    /// The other engine runs the module.
    OtherEngine(String),
    /// The module is no plain command but of this world, for this reason.
    OtherWorld(World, String),
    /// The compile met a limit of time or memory.
    Limit(String),
    /// The artifact could not be written.
    Output(String),
    /// The compiler failed, or was killed.
    Failed(String),
}

/// Runs `compiler`, the program at `path`, on the module in `bytes`, with `output` for the task's result, and waits for its end. Calls
/// `born` with the pid of the new process.
pub(super) fn run(
    compiler: &mut Command,
    path: &Path,
    name: &str,
    bytes: &File,
    output: &File,
    task: Task<'_>,
    born: impl FnOnce(u32),
) -> Result<Verdict> {
    let doing = || format!("compiling {name}");
    let mut words = File::from(rustix::fs::memfd_create("verdict", MemfdFlags::CLOEXEC).doing(doing)?);
    // Opened anew: with a shared descriptor an earlier compile could have moved the read position.
    let input = File::open(format!("/proc/self/fd/{}", bytes.as_raw_fd())).doing(doing)?;
    let (word, world, functions) = match task {
        Task::Artifact(tier, world, functions) => (tier.word(), Some(world.word()), functions),
        Task::Description => (DESCRIBE, None, None),
    };
    // Without close-on-exec. This process starts no other one before they are closed.
    let files = functions.into_iter().flat_map(|files| std::iter::once(files.new).chain(files.known.iter().copied()));
    let inherited = files.map(rustix::io::dup).collect::<std::result::Result<Vec<_>, _>>().doing(doing)?;
    let numbers = inherited
        .split_first()
        .map(|(new, known)| Functions::argument(new.as_raw_fd(), known.iter().map(AsRawFd::as_raw_fd)));
    let child = compiler
        .arg(word)
        // The compile process asks to be killed when this parent dies.
        .arg(std::process::id().to_string())
        .args(world)
        .args(numbers)
        .env_clear()
        // A group of its own: a signal to the group reaches no other process.
        .process_group(0)
        .stdin(Stdio::from(input))
        .stdout(Stdio::from(output.try_clone().doing(doing)?))
        .stderr(Stdio::from(words.try_clone().doing(doing)?))
        .spawn()
        .map_err(limits::of_processes)
        .on(path)?;
    drop(inherited);
    let pidfd = child::pidfd(child.id())?;
    born(child.id());
    let until = Instant::now() + LONGEST;
    let ended = loop {
        let left = until.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).unwrap_or(Timespec { tv_sec: 1, tv_nsec: 0 });
        let mut watched = [PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN)];
        match rustix::event::poll(&mut watched, Some(&timeout)) {
            Ok(0) => break false,
            Ok(_) => break true,
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e).doing(doing),
        }
    };
    if !ended {
        child::signal(&pidfd, libc::SIGKILL).doing(doing)?;
    }
    let code = child::exit_code(child::wait_blocking(&pidfd)?);
    words.rewind().doing(doing)?;
    let mut text = Vec::new();
    words.take(LONGEST_WORDS).read_to_end(&mut text).doing(doing)?;
    let text = String::from_utf8_lossy(&text).replace(|c: char| c.is_control() && c != '\n', " ");
    // The process parsed hostile bytes, so its own check of the lengths is repeated.
    Ok(match judged(ended, code, shortened(text.trim()).into_owned()) {
        Verdict::Made => match out_of_proportion(length(bytes)?, length(output)?) {
            None if let Some(FunctionFiles { new, .. }) = functions
                && let Some(reason) = out_of_proportion(length(bytes)?, length(new)?) =>
            {
                Verdict::Failed(format!("it wrote too many functions: {reason}"))
            }
            None => Verdict::Made,
            Some(reason) => Verdict::Refused(reason),
        },
        verdict => verdict,
    })
}

fn length(file: &File) -> Result<u64> {
    file.metadata().map(|status| status.len()).doing(|| "looking at what was compiled".to_owned())
}

/// The exit code of a compile process that is refused memory: a Rust program aborts when an allocation fails.
const ABORTED: u32 = 128 + libc::SIGABRT as u32;
/// The exit code of a compile process that exceeds its processor time.
const CPU_TIME: u32 = 128 + libc::SIGXCPU as u32;

fn judged(ended: bool, code: u32, words: String) -> Verdict {
    match code {
        // Not cached, because other compiles may be at fault. The limit of processor time catches a module that is itself too slow.
        _ if !ended => Verdict::Failed(format!("it was still compiling after {LONGEST:?}: try again")),
        0 => Verdict::Made,
        _ if code == u32::from(EXIT_REFUSED) => Verdict::Refused(words),
        _ if code == u32::from(EXIT_OTHER_ENGINE) => Verdict::OtherEngine(words),
        _ if let Some(world) = World::of_exit_code(code) => Verdict::OtherWorld(world, words),
        _ if code == u32::from(EXIT_OUTPUT) => Verdict::Output(words),
        CPU_TIME => {
            Verdict::Limit("it takes more processor time to compile than a node gives to one module".to_owned())
        }
        ABORTED => Verdict::Limit(format!("it takes more memory to compile than a node gives to one module ({words})")),
        _ => Verdict::Failed(format!("the compiler ended with {code}: {words}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn the_reference_has_the_exit_codes_of_compile_processes() {
        let of = |world: World| (0..256).find(|code| World::of_exit_code(*code) == Some(world)).unwrap();
        let rows = [
            (0, "The artifact is made."),
            (1, "The process could not confine itself, or could not read the module."),
            (2, "The process was not started by the compile driver."),
            (EXIT_REFUSED.into(), "The module is at fault: no engine runs it. The refusal is cached."),
            (EXIT_OTHER_ENGINE.into(), "The other engine runs the module. This is cached."),
            (EXIT_OUTPUT.into(), "The artifact could not be written."),
            (of(World::Http), "The component is a server and no command. This is cached."),
            (of(World::ExtendedCommand), "The component is an extended command. This is cached."),
            (
                ABORTED,
                "The module takes more memory to compile than the node gives to one module. It is tried again after an hour.",
            ),
            (CPU_TIME, "The same for processor time."),
        ];
        let sorted = rows.is_sorted_by_key(|(code, _)| *code);
        assert!(sorted, "{rows:?}");
        let rows = rows.map(|(code, means)| [code.to_string(), means.to_owned()]);
        let others = ["any other".to_owned(), "The compiler failed or was killed. Nothing is cached.".to_owned()];
        catamaran_reference::matches(
            "exit codes of compile processes",
            ["code", "meaning"],
            rows.into_iter().chain([others]),
        );
    }

    /// The test's compile processes do what a compromised one might do.
    #[test]
    fn a_hostile_compile_process_fills_neither_cache_nor_log() {
        let folder = std::env::temp_dir().join(format!("catamaran-compile-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let program = folder.join("compiler");
        let memory = |name: &str| File::from(rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC).unwrap());
        let verdict = |script: &str| {
            // Another process writes the file, because a file that this process has open for writing cannot be executed.
            let mut copy = Command::new("install")
                .args(["-m", "755", "/dev/stdin"])
                .arg(&program)
                .stdin(Stdio::piped())
                .spawn()
                .unwrap();
            copy.stdin.take().unwrap().write_all(format!("#!/bin/sh\n{script}\n").as_bytes()).unwrap();
            assert!(copy.wait().unwrap().success());
            let mut module = memory("module");
            module.write_all(b"\0asm").unwrap();
            let task = Task::Artifact(Tier::Best, World::Http, None);
            run(&mut Command::new(&program), &program, "m", &module, &memory("artifact"), task, |_| ()).unwrap()
        };
        let most = (64 << 20) + 64 * 4;
        assert!(matches!(verdict(&format!("head -c {most} /dev/zero")), Verdict::Made));
        match verdict(&format!("head -c {} /dev/zero", most + 1)) {
            Verdict::Refused(reason) => assert!(reason.contains(&format!("at most {most} are kept")), "{reason}"),
            _ => panic!("too large an artifact is accepted"),
        }
        match verdict("head -c 1000000 /dev/zero | tr '\\0' x >&2; exit 65") {
            Verdict::Refused(reason) => assert_eq!(reason, format!("{}...", "x".repeat(200))),
            _ => panic!("it is not refused"),
        }
        match verdict("echo $1 $3 >&2; exit 76") {
            Verdict::OtherWorld(World::Http, reason) => assert_eq!(reason, "best http"),
            _ => panic!("it is no server"),
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
