//! The shim's log: lines on the bundle's `log` FIFO, which containerd copies into its own.
//!
//! Writing never waits, because one full pipe must not stall a pod. A line that does not fit is dropped. If the reader went away
//! (containerd restarted), the next line opens the FIFO again for a new reader.

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
    /// Locked while the FIFO is opened and for one non-blocking write.
    fifo: Mutex<Option<File>>,
}

/// Sends the process's log to `path`. Called once, by the shim's server.
pub(crate) fn init(path: PathBuf, debug: bool) {
    let logger = FifoLog { path, fifo: Mutex::new(None) };
    // Fails only if this program has set a logger already, which then stays.
    if log::set_boxed_logger(Box::new(logger)).is_ok() {
        log::set_max_level(if debug { LevelFilter::Debug } else { LevelFilter::Info });
    }
}

impl Log for FifoLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // The RPC library logs every message at debug; a node's administrator looks for our own lines.
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
        self.write(&line(level, &record.args().to_string()));
    }

    fn flush(&self) {}
}

impl FifoLog {
    /// Writes a line, or drops it.
    fn write(&self, line: &str) {
        let mut fifo = self.fifo.lock().unwrap_or_else(PoisonError::into_inner);
        // Tries twice, because another reader may have come after the last one went away.
        for _ in 0..2 {
            if fifo.is_none() {
                // ENXIO: nobody reads. The line is dropped, and the next one tries again.
                *fifo = File::options().write(true).custom_flags(nix::libc::O_NONBLOCK).open(&self.path).ok();
            }
            let Some(open) = fifo.as_mut() else { return };
            match open.write_all(line.as_bytes()) {
                Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => *fifo = None,
                // Written, or dropped because the pipe is full.
                _ => return,
            }
        }
    }
}

/// Formats a line of logfmt, as containerd's own shims write it.
///
/// Cuts the message to fit, because a pipe takes PIPE_BUF bytes whole or not at all (pipe(7)), and a part would spoil the next line.
fn line(level: &str, message: &str) -> String {
    let head = format!("time=\"{}\" level={level} msg=", now());
    let room = nix::libc::PIPE_BUF - head.len() - "\n".len();
    let mut quoted = format!("{message:?}");
    if quoted.len() > room {
        const CUT: &str = " ...\"";
        let end = (0..=room - CUT.len()).rev().find(|&n| quoted.is_char_boundary(n)).unwrap_or(0);
        quoted.truncate(end);
        // The cut must not split an escape: its backslash would escape the quotation mark.
        if (quoted.len() - quoted.trim_end_matches('\\').len()) % 2 == 1 {
            quoted.pop();
        }
        quoted.push_str(CUT);
    }
    format!("{head}{quoted}\n")
}

/// Returns the time in UTC, as containerd's log has it.
fn now() -> String {
    OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::time::{Duration, Instant};

    fn reader(path: &std::path::Path) -> File {
        File::options().read(true).custom_flags(nix::libc::O_NONBLOCK).open(path).unwrap()
    }

    fn all(reader: &mut File) -> String {
        let mut text = Vec::new();
        let mut chunk = [0; 4096];
        while let Ok(length @ 1..) = reader.read(&mut chunk) {
            text.extend_from_slice(&chunk[..length]);
        }
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn log_lines_are_dropped_without_a_reader_and_written_for_a_new_one() {
        let path = std::env::temp_dir().join(format!("catamaran-log-{}", std::process::id()));
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        let log = FifoLog { path: path.clone(), fifo: Mutex::new(None) };
        let many = |log: &FifoLog| {
            let begin = Instant::now();
            (0..20_000).for_each(|n| log.write(&line("info", &format!("{n} {}", "x".repeat(100)))));
            assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
        };
        many(&log);
        let mut never = reader(&path);
        many(&log);
        let text = all(&mut never);
        assert!(text.len() > 60_000 && text.len() <= 65_536, "a full pipe: {}", text.len());
        assert!(text.lines().all(|line| line.ends_with("xxx\"")), "a part of a line was written");
        drop(never);
        let mut next = reader(&path);
        log.write(&line("info", "again"));
        assert!(all(&mut next).ends_with("level=info msg=\"again\"\n"), "the first line for a new reader");
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_long_log_line_is_cut_and_stays_one_line() {
        for message in ["x".repeat(10_000), "\\".repeat(10_000), "\u{e9}\"\n".repeat(3_000)] {
            let line = line("info", &message);
            assert!(line.len() <= nix::libc::PIPE_BUF && line.ends_with(" ...\"\n"), "{line}");
            let quoted = line.trim_end().split_once("msg=").unwrap().1;
            let inner = &quoted[1..quoted.len() - 1];
            let escapes = inner.replace("\\\\", "").replace("\\\"", "");
            assert!(!escapes.contains('"') && !escapes.ends_with('\\'), "{quoted}");
            assert!(!line.trim_end().contains('\n'));
        }
        assert!(line("warning", "a \"b\"").ends_with("level=warning msg=\"a \\\"b\\\"\"\n"));
    }
}
