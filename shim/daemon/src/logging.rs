//! The shim's log: lines on the bundle's `log` FIFO, which containerd copies into its own.
//!
//! Written without ever waiting: one full pipe must not stall a pod. A line that does not fit is dropped; a reader that
//! went away (containerd restarted) is looked for again at the next line.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use log::{LevelFilter, Log, Metadata, Record};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

struct FifoLog {
    path: PathBuf,
    /// Guards the reopening; held for one non-blocking write.
    fifo: Mutex<Option<File>>,
}

/// Sends the process's log to `path`. Called once, by the shim's server.
pub(crate) fn init(path: PathBuf, debug: bool) {
    let logger = FifoLog { path, fifo: Mutex::new(None) };
    // A second logger can only be a mistake in this program, and the first one goes on.
    if log::set_boxed_logger(Box::new(logger)).is_ok() {
        log::set_max_level(if debug { LevelFilter::Debug } else { LevelFilter::Info });
    }
}

impl Log for FifoLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // The RPC library tells every message at debug; our own lines are what a node's administrator looks for.
        metadata.level() <= log::Level::Warn || metadata.target().starts_with(env!("CARGO_CRATE_NAME"))
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let level = match record.level() {
            log::Level::Error => "error",
            log::Level::Warn => "warning",
            log::Level::Info => "info",
            log::Level::Debug => "debug",
            log::Level::Trace => "trace",
        };
        let message = format!("{:?}", record.args().to_string());
        let mut line = format!("time=\"{}\" level={level} msg={message}", now());
        // A pipe takes so much whole or not at all (PIPE_BUF, pipe(7)); a part would spoil the next line.
        let end = (0..nix::libc::PIPE_BUF).rev().find(|&n| line.is_char_boundary(n)).unwrap_or(0);
        line.truncate(end);
        line.push('\n');
        let mut fifo = self.fifo.lock().unwrap_or_else(PoisonError::into_inner);
        if fifo.is_none() {
            // ENXIO: nobody reads. Dropped, and tried again at the next line.
            *fifo = File::options().write(true).custom_flags(nix::libc::O_NONBLOCK).open(&self.path).ok();
        }
        let broken = fifo
            .as_mut()
            .is_some_and(|f| f.write_all(line.as_bytes()).is_err_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe));
        if broken {
            *fifo = None;
        }
    }

    fn flush(&self) {}
}

/// Now, in UTC, as containerd's log has it.
fn now() -> String {
    OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default()
}
