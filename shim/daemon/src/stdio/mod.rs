//! A container's standard streams: containerd's FIFOs, which the worker itself uses, or pipes to a logger.
//!
//! ```text
//! FIFO       worker --------------------> client             the shim keeps the other ends
//! binary://  worker ---> two pipes -----> the logger         a program of the host that the client names
//! file://    worker ---> one or two ----> `append`           the helper, which writes to the file
//! ```
//!
//! The shim opens the streams, because they lie on the host, and keeps the other ends. With the read ends of stdout and stderr open, the
//! guest of a dead containerd writes into a full pipe and not into a broken one. With the write end of stdin open, the guest reads no end
//! of file before the client comes, or when the client only detaches; CloseIO closes this end. The shim keeps no end of a logger's pipes:
//! the logger's input ends with the worker, and writing fails once the logger is gone, because no other reader will come. If the worker has
//! a terminal, that is all its streams, and the shim copies (`terminal`).

mod fifo;
mod logger;
mod process;
mod terminal;
mod uri;

use std::fs::File;
use std::os::fd::OwnedFd;

use rustix::pipe::PipeFlags;

use crate::error::{Doing, Error, Result};
use logger::Container;
pub(crate) use logger::{Logger, Record, end_recorded};
use terminal::Terminal;
use uri::Target;

/// The streams of a request: paths or URIs, empty for none.
#[derive(Debug, Clone, Default)]
pub(crate) struct Paths {
    pub(crate) stdin: String,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// Whether all streams are one terminal, which has no stderr.
    pub(crate) terminal: bool,
}

/// Both sides of the three streams.
pub(crate) struct Stdio {
    /// For the worker.
    pub(crate) stdin: OwnedFd,
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
    pub(crate) kept: Kept,
}

/// The part that stays in the shim while the container lives.
#[derive(Default)]
pub(crate) struct Kept {
    stdin: Option<File>,
    /// Kept open, never read.
    outputs: Vec<File>,
    /// Kept longer than the streams, because the logger may still be writing its input.
    logger: Option<Logger>,
    terminal: Option<Terminal>,
}

impl Kept {
    /// Does CloseIO: from now on the guest's stdin ends when the client closes its own end.
    pub(crate) fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Closes the streams, because the worker has ended.
    pub(crate) fn close(&mut self) {
        self.stdin = None;
        self.outputs.clear();
        self.terminal = None;
    }

    /// Sets the size of the terminal's window, in characters. Fails if there is no terminal.
    pub(crate) fn resize(&self, width: u32, height: u32) -> Result<()> {
        let short = |name: &str, size: u32| {
            let expected = format!("at most {}", u16::MAX);
            u16::try_from(size).map_err(|_| Error::refused(format!("the request's {name}"), size.to_string(), expected))
        };
        let (width, height) = (short("width", width)?, short("height", height)?);
        let expected = "a process that was created with one";
        let terminal = self.terminal.as_ref().ok_or_else(|| Error::refused("the request", "no terminal", expected))?;
        terminal.resize(width, height)
    }

    /// Whether there is output that the client has not read.
    pub(crate) fn unread(&self) -> bool {
        self.terminal.as_ref().is_some_and(Terminal::unread) || self.outputs.iter().any(fifo::holds_bytes)
    }

    /// Opens a writer of each FIFO with output that the client has not read. Hold the writers while you wait for the client: the worker's
    /// writers are closed, and a client that opens a FIFO without any waits for one (fifo(7)) and reads nothing.
    pub(crate) fn writers_of_unread(&self) -> Vec<File> {
        let unread = self.outputs.iter().filter(|fifo| fifo::holds_bytes(fifo));
        // Opening fails only if no descriptor is free.
        unread.filter_map(|fifo| fifo::writer_of(fifo).ok()).collect()
    }

    /// Returns the logger's record, for `delete`.
    pub(crate) fn logger(&self) -> Option<Record> {
        self.logger.as_ref().map(Logger::record)
    }

    /// Takes the logger. End it by [`Logger::end`].
    pub(crate) fn take_logger(&mut self) -> Option<Logger> {
        self.logger.take()
    }
}

impl Stdio {
    /// Waits until the logger says that it is ready.
    pub(crate) async fn ready(&mut self) -> Result<()> {
        match &mut self.kept.logger {
            Some(logger) => logger.ready().await,
            None => Ok(()),
        }
    }

    /// Puts a new terminal between the process and the client, if `paths` asks for one.
    pub(crate) fn on_terminal(self, paths: &Paths) -> Result<Self> {
        if !paths.terminal {
            return Ok(self);
        }
        let (master, slave) = terminal::pair()?;
        let clone = || slave.try_clone().doing(|| "making a terminal".to_owned());
        let (stdin, stdout) = (clone()?, clone()?);
        Ok(Self { stdin, stdout, stderr: slave, kept: self.attach(master, paths)? })
    }

    /// Begins to copy between a terminal's `master` and the client. Returns the ends that the shim keeps.
    pub(crate) fn attach(self, master: OwnedFd, paths: &Paths) -> Result<Kept> {
        let input = Some(self.stdin).filter(|_| !paths.stdin.is_empty());
        let output = Some(self.stdout).filter(|_| !paths.stdout.is_empty());
        let mut kept = self.kept;
        kept.terminal = Some(Terminal::begin(master, input, output)?);
        Ok(kept)
    }

    /// Closes the streams of a container that was not created. Returns their logger. End it by [`Logger::end`].
    pub(crate) fn discard(self) -> Option<Logger> {
        self.kept.logger
    }
}

/// Opens the streams that `paths` names, for the container `id` in containerd's `namespace`. Starts a logger, but does not wait for it.
pub(crate) fn open(paths: &Paths, id: &str, namespace: &str) -> Result<Stdio> {
    let container = Container { id, namespace };
    let (stdin, stdin_kept) = match uri::parse("stdin", &paths.stdin)? {
        Target::Null => (null()?, None),
        Target::Fifo(path) => fifo::input("stdin", &path).map(|(reader, writer)| (reader, Some(writer)))?,
        Target::File(_) | Target::Program(_) => {
            return Err(Error::refused(
                "the request's stdin",
                &paths.stdin,
                "the path of a FIFO: a logger is for output",
            ));
        }
    };
    let stderr = if paths.terminal { "" } else { &paths.stderr };
    let targets = [uri::parse("stdout", &paths.stdout)?, uri::parse("stderr", stderr)?];
    let mut kept = Kept { stdin: stdin_kept, ..Kept::default() };
    let [stdout, stderr] = match targets {
        [Target::Program(program), _] if paths.terminal || paths.stdout == paths.stderr => {
            let ((out_reader, out), (err_reader, err)) = (pipe()?, pipe()?);
            kept.logger = Some(Logger::program(container, &program, [out_reader, err_reader])?);
            [out, err]
        }
        [stdout, stderr] => outputs(container, &mut kept, [("stdout", stdout), ("stderr", stderr)])?,
    };
    Ok(Stdio { stdin, stdout, stderr, kept })
}

fn outputs(container: Container<'_>, kept: &mut Kept, targets: [(&str, Target); 2]) -> Result<[OwnedFd; 2]> {
    let mut files = Vec::new();
    let mut output = |(name, target)| match target {
        Target::Null => null(),
        Target::Fifo(path) => {
            let (writer, reader) = fifo::output(name, &path)?;
            kept.outputs.push(reader);
            Ok(writer)
        }
        Target::File(path) => {
            let (reader, writer) = pipe()?;
            files.push((path, reader));
            Ok(writer)
        }
        Target::Program(program) => {
            let expected = "the same URI for stdout and stderr: a logger reads both";
            Err(Error::refused(format!("the request's {name}"), program.name(), expected))
        }
    };
    let [stdout, stderr] = targets;
    let outputs = [output(stdout)?, output(stderr)?];
    if !files.is_empty() {
        kept.logger = Some(Logger::append(container, files)?);
    }
    Ok(outputs)
}

fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    rustix::pipe::pipe_with(PipeFlags::CLOEXEC).doing(|| "making a pipe for a logger".to_owned())
}

fn null() -> Result<OwnedFd> {
    Ok(catamaran_worker::devices::null().on("/dev/null")?.into())
}
