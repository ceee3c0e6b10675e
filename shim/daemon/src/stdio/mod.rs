//! The container's standard streams: containerd's FIFOs, used by the worker itself, or pipes to a program that logs.
//!
//! ```text
//! FIFO       worker --------------------> client             the shim keeps the other ends
//! binary://  worker ---> two pipes -----> the logger         a program of the host that the client names
//! file://    worker ---> one or two ----> `append`           the helper, which writes to the file
//! ```
//!
//! The shim opens them, because they lie on the host; what it keeps are the other ends. The read ends of stdout and
//! stderr make a dead containerd a full pipe instead of a broken one. The write end of stdin keeps a guest from reading
//! an end of file before the client came, or when it only detached; CloseIO lets it go. Of a logger's pipes nothing is
//! kept: its input ends with the worker, and where the logger is gone, writing is an error, since nobody comes back.
//! With a terminal the worker has that for its streams, and the shim copies (`terminal`).

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

/// Where containerd wants the streams: paths or URIs, empty for none.
#[derive(Debug, Clone, Default)]
pub(crate) struct Paths {
    pub(crate) stdin: String,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// They are one terminal's: there is no stderr then.
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

/// What stays in the shim while the container lives.
#[derive(Default)]
pub(crate) struct Kept {
    stdin: Option<File>,
    /// Held, never read.
    outputs: Vec<File>,
    /// Outlives the streams: it may have to write what it has read.
    logger: Option<Logger>,
    terminal: Option<Terminal>,
}

impl Kept {
    /// CloseIO: the guest's stdin ends when the client's own end does.
    pub(crate) fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// The worker has ended, and so do the streams.
    pub(crate) fn close(&mut self) {
        self.stdin = None;
        self.outputs.clear();
        self.terminal = None;
    }

    /// The size of the terminal's window, in characters; an error where there is no terminal.
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

    /// Whether something is left that the client has not read.
    pub(crate) fn unread(&self) -> bool {
        // A descriptor of ours that does not say holds up nobody.
        let unread = |fifo| rustix::io::ioctl_fionread(fifo).is_ok_and(|bytes| bytes > 0);
        self.terminal.as_ref().is_some_and(Terminal::unread) || self.outputs.iter().any(unread)
    }

    /// What `delete` has to know of the logger.
    pub(crate) fn logger(&self) -> Option<Record> {
        self.logger.as_ref().map(Logger::record)
    }

    /// The logger, to be ended by [`Logger::end`].
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

    /// Puts a new terminal between the process and the client, where `paths` says so.
    pub(crate) fn on_terminal(self, paths: &Paths) -> Result<Self> {
        if !paths.terminal {
            return Ok(self);
        }
        let (master, slave) = terminal::pair()?;
        let clone = || slave.try_clone().doing(|| "making a terminal".to_owned());
        let (stdin, stdout) = (clone()?, clone()?);
        Ok(Self { stdin, stdout, stderr: slave, kept: self.attach(master, paths)? })
    }

    /// Copies between a terminal's `master` and the client: what the shim keeps of the streams.
    pub(crate) fn attach(self, master: OwnedFd, paths: &Paths) -> Result<Kept> {
        let input = Some(self.stdin).filter(|_| !paths.stdin.is_empty());
        let output = Some(self.stdout).filter(|_| !paths.stdout.is_empty());
        let mut kept = self.kept;
        kept.terminal = Some(Terminal::begin(master, input, output)?);
        Ok(kept)
    }

    /// Closes the streams of a container that was not created. Of them its logger is left, to be ended by [`Logger::end`].
    pub(crate) fn discard(self) -> Option<Logger> {
        self.kept.logger
    }
}

/// Opens what `paths` names, for the container `id` in containerd's `namespace`. A logger has begun then, and is not ready.
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
