//! The attacker's engine: maps the artifact as Wasmtime does, and runs native code in place of a guest.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};
use std::process::ExitCode;

use catamaran_worker::job::Server;
use catamaran_worker::{Guest, Needs, Runner, RunnerError, Terms, listener};

use crate::call::{call, status};
use crate::code::{ARTIFACT, Artifact};
use crate::outcome::Outcome;
use crate::rows::{self, Context, When};

const LONGER_THAN_ANY_TEST: std::time::Duration = std::time::Duration::from_secs(600);

/// A worker whose guest has broken out of the engine, with or without the filter of system calls.
pub struct Attacker<const FILTER: bool> {
    /// The terms of a server, if it is a server's worker.
    server: Option<Server>,
    listener: Option<OwnedFd>,
}

impl<const FILTER: bool> Runner for Attacker<FILTER> {
    const VERSION: &'static str = rows::EXECUTED;
    const FILTERED: bool = FILTER;

    type Program = Box<dyn FnOnce() -> ExitCode>;

    fn load(artifact: File, terms: Terms) -> Result<Self, RunnerError> {
        let mapped = map(artifact).map_err(|e| RunnerError::Artifact(e.to_string()))?;
        // A process loads only one worker.
        let _ = ARTIFACT.set(mapped);
        Ok(Self { server: terms.server, listener: None })
    }

    fn listen(&mut self) -> Result<(), RunnerError> {
        if let Some(server) = &self.server {
            rows::try_low_port();
            self.listener = Some(listener::open(server)?);
        }
        Ok(())
    }

    fn needs(&self) -> Needs {
        // The most that any module may get, so that every call beyond it is an attack: a command has TCP and UDP. A server that imports no
        // sockets may only accept.
        let reuse = self.server.as_ref().map(|server| server.instance_reuse);
        let sockets = reuse.is_none_or(|reuse| reuse == Some(rows::REUSE_WITH_SOCKETS));
        let connects = reuse == Some(Some(rows::REUSE_WITH_REQUESTS));
        Needs { threads: true, sockets, accepts: self.server.is_some(), connects }
    }

    fn link(self, guest: &Guest) -> Result<Self::Program, RunnerError> {
        let mut context = Context::new(guest);
        if let Some(listener) = self.listener {
            context.listens(listener.into_raw_fd());
        }
        let names: Vec<String> = guest.args.iter().skip(1).cloned().collect();
        asked(&names).filter_map(|row| row.prepare).for_each(|prepare| prepare());
        for row in asked(&names).filter(|row| row.when == When::BeforeStart) {
            // The outcome does not matter here: the test looks at the shim from outside.
            let _ = (row.attack)(&context);
        }
        Ok(Box::new(move || {
            context.read_told();
            if names == [rows::WAIT] {
                say("waiting");
                std::thread::sleep(LONGER_THAN_ANY_TEST);
            }
            for row in asked(&names).filter(|row| row.when != When::BeforeStart) {
                say(&format!("> {}", row.name));
                let outcome = (row.attack)(&context);
                say(&format!("= {}", outcome.to_line()));
                // A gain could help the next attack, so the next one gets a new container.
                if matches!(outcome, Outcome::Open(_)) {
                    break;
                }
            }
            ExitCode::SUCCESS
        }))
    }
}

fn asked(names: &[String]) -> impl Iterator<Item = rows::Row> {
    rows::all().into_iter().filter(|row| names.iter().any(|name| name == row.name))
}

fn say(line: &str) {
    // One write a line. The reader notices if standard output is gone.
    let _ = std::io::stdout().write_all(format!("{line}\n").as_bytes());
}

/// Maps the file for reading, and its code for execution: a worker may do so until its filter is applied.
fn map(mut file: File) -> std::io::Result<Artifact> {
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let (offset, length) = code(&bytes).ok_or(std::io::ErrorKind::InvalidData)?;
    let private = libc::MAP_PRIVATE as u64;
    let whole = [0, bytes.len() as u64, libc::PROT_READ as u64, private, file.as_raw_fd() as u64, 0];
    let base = call(libc::SYS_mmap, whole)? as usize;
    let executable = (libc::PROT_READ | libc::PROT_EXEC) as u64;
    call(libc::SYS_mprotect, [(base + offset) as u64, length as u64, executable])?;
    Ok(Artifact { fd: file.into_raw_fd(), length: bytes.len(), code: (base + offset, length), offset })
}

/// The place of an ELF file's executable section (elf(5)), in whole pages.
fn code(elf: &[u8]) -> Option<(usize, usize)> {
    const EXECUTABLE: usize = 4;
    let word = |at: usize| Some(usize::from_ne_bytes(elf.get(at..at + 8)?.try_into().ok()?));
    let half = |at: usize| Some(usize::from(u16::from_ne_bytes(elf.get(at..at + 2)?.try_into().ok()?)));
    let (table, size, count) = (word(0x28)?, half(0x3a)?, half(0x3c)?);
    let executable = (0..count).map(|n| table + n * size).find(|&at| word(at + 8).is_some_and(|f| f & EXECUTABLE != 0));
    let at = executable?;
    let (offset, length) = (word(at + 0x18)?, word(at + 0x20)?);
    Some((offset, length.next_multiple_of(crate::code::PAGE)))
}

impl Outcome {
    /// A denial without an error number.
    pub(crate) fn denied(text: impl Into<String>) -> Self {
        Outcome::Denied(text.into())
    }
}

/// The control socket, if it can be found among the open descriptors.
pub(crate) fn socket() -> Option<i32> {
    (3..1024).find(|&fd| status(fd).is_some_and(|s| s.st_mode & libc::S_IFMT == libc::S_IFSOCK))
}
