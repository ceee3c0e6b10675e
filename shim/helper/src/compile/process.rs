//! One compile: an unprivileged process with a module in and an artifact out, bounded in time and memory.

use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use catamaran_host::child;
use catamaran_host::limits;
use catamaran_worker::compiler::{EXIT_OTHER_ENGINE, EXIT_OUTPUT, EXIT_REFUSED, Tier, World, out_of_proportion};
use catamaran_worker::describe::DESCRIBE;
use catamaran_worker::quote::shortened;
use nix::libc;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::MemfdFlags;

use crate::error::{Doing, Result};

/// The time after which a compile is killed.
const LONGEST: Duration = Duration::from_secs(300);
/// The bytes of a compiler's words that a user is shown. The words quote the module, and those of all engines must fit in one message
/// between processes, whatever becomes of their bytes in it.
const LONGEST_WORDS: u64 = 4 * 1024;

/// What a compile process is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Task {
    /// Machine code that is called in this world.
    Artifact(Tier, World),
    /// What the module imports and exports (`catamaran_worker::describe`).
    Description,
}

/// How a compile ended.
pub(super) enum Verdict {
    Made,
    /// The module is at fault.
    Refused(String),
    /// The other engine runs it.
    OtherEngine(String),
    /// The module is not a plain command but of that world, for this reason.
    OtherWorld(World, String),
    /// The compile met a limit of time or memory.
    Limit(String),
    /// The artifact could not be written.
    Output(String),
    /// The compiler failed, or was killed.
    Failed(String),
}

/// Runs `compiler`, a program that lies at `path`, on the module in `bytes`, has it write to `output` what `task` asks for, and waits
/// for it. Calls `born` with the compile process's pid when it has one.
pub(super) fn run(
    compiler: &mut Command,
    path: &Path,
    name: &str,
    bytes: &File,
    output: &File,
    task: Task,
    born: impl FnOnce(u32),
) -> Result<Verdict> {
    let doing = || format!("compiling {name}");
    let mut words = File::from(rustix::fs::memfd_create("verdict", MemfdFlags::CLOEXEC).doing(doing)?);
    // Opened anew, because an earlier compile could move a position that it shares.
    let input = File::open(format!("/proc/self/fd/{}", bytes.as_raw_fd())).doing(doing)?;
    let (word, world) = match task {
        Task::Artifact(tier, world) => (tier.word(), Some(world.word())),
        Task::Description => (DESCRIBE, None),
    };
    let child = compiler
        .arg(word)
        // The compile process dies with this parent alone.
        .arg(std::process::id().to_string())
        .args(world)
        .env_clear()
        // A signal to its group reaches nobody else.
        .process_group(0)
        .stdin(Stdio::from(input))
        .stdout(Stdio::from(output.try_clone().doing(doing)?))
        .stderr(Stdio::from(words.try_clone().doing(doing)?))
        .spawn()
        .map_err(limits::of_processes)
        .on(path)?;
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
    // The process met hostile bytes, so the lengths are checked again.
    Ok(match judged(ended, code, shortened(text.trim()).into_owned()) {
        Verdict::Made => match out_of_proportion(length(bytes)?, length(output)?) {
            None => Verdict::Made,
            Some(reason) => Verdict::Refused(reason),
        },
        verdict => verdict,
    })
}

fn length(file: &File) -> Result<u64> {
    file.metadata().map(|status| status.len()).doing(|| "looking at what was compiled".to_owned())
}

fn judged(ended: bool, code: u32, words: String) -> Verdict {
    const ABORTED: u32 = 128 + libc::SIGABRT as u32;
    const CPU_TIME: u32 = 128 + libc::SIGXCPU as u32;
    match code {
        // Not remembered, because other compiles may be at fault. The processor time tells what the module itself takes.
        _ if !ended => Verdict::Failed(format!("it was still compiling after {LONGEST:?}: try again")),
        0 => Verdict::Made,
        _ if code == u32::from(EXIT_REFUSED) => Verdict::Refused(words),
        _ if code == u32::from(EXIT_OTHER_ENGINE) => Verdict::OtherEngine(words),
        _ if let Some(world) = World::of_exit_code(code) => Verdict::OtherWorld(world, words),
        _ if code == u32::from(EXIT_OUTPUT) => Verdict::Output(words),
        CPU_TIME => {
            Verdict::Limit("it takes more processor time to compile than a node gives to one module".to_owned())
        }
        // A Rust program aborts when it is refused memory.
        ABORTED => Verdict::Limit(format!("it takes more memory to compile than a node gives to one module ({words})")),
        _ => Verdict::Failed(format!("the compiler ended with {code}: {words}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    /// Nothing is believed of what a compile process says of itself.
    #[test]
    fn a_hostile_compile_process_fills_neither_cache_nor_log() {
        let folder = std::env::temp_dir().join(format!("catamaran-compile-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let program = folder.join("compiler");
        let memory = |name: &str| File::from(rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC).unwrap());
        let verdict = |script: &str| {
            // Another process writes it, because a file that this process holds open for writing cannot be executed.
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
            let task = Task::Artifact(Tier::Best, World::Http);
            run(&mut Command::new(&program), &program, "m", &module, &memory("artifact"), task, |_| ()).unwrap()
        };
        let most = (64 << 20) + 64 * 4;
        assert!(matches!(verdict(&format!("head -c {most} /dev/zero")), Verdict::Made));
        match verdict(&format!("head -c {} /dev/zero", most + 1)) {
            Verdict::Refused(reason) => assert!(reason.contains(&format!("at most {most} are kept")), "{reason}"),
            _ => panic!("it is kept"),
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
