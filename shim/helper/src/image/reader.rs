//! Reads an image's manifests in a process without rights, because the image's author wrote them.
//!
//! ```text
//! driver (root)                                    reader (a user of its own, no file, no network, a filter of system calls)
//! document's type, length, bytes --- a pipe -----> parses the document
//! checks every word              <-- a pipe ------ length, summary
//! ```
//!
//! Each driver that looks for a layer has a reader. The driver starts the reader before it calls containerd, so that the reader gives up
//! its rights meanwhile, and kills it once the layer is known.

use std::ffi::OsString;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use catamaran_host::{child, limits, programs};
use catamaran_worker::unprivileged::{Allowance, give_up_rights};
use nix::libc;
use rustix::event::{PollFd, PollFlags, Timespec};

use super::config::Config;
use super::manifest::{LARGEST_DOCUMENT, TYPES};
use super::summary::{LONGEST_SUMMARY, Summary};
use crate::error::{Doing, Error, Result};

/// The longest time for all of an image's documents. The largest takes some tenths of a second, and more on a busy node.
const PATIENCE: Duration = Duration::from_secs(30);
/// The reader's limits. A document of 4 MB full of descriptors takes some 100 MB.
const ALLOWANCE: Allowance = Allowance { file: 0, processor: 10, memory: 256 << 20, threads: 1 };
/// The bytes of a request's head: the number of the media type, whether containerd resolved the part, and the document's length.
const HEADER: usize = 6;
/// The type's number for a configuration. An index's or a manifest's is its place in [`TYPES`].
pub(super) const CONFIG: u8 = u8::MAX;

/// A process without rights that reads documents.
pub(super) struct Reader {
    pidfd: OwnedFd,
    requests: OwnedFd,
    summaries: OwnedFd,
    /// The time limit for all documents, and the time used so far.
    patience: Duration,
    spent: Duration,
}

impl Reader {
    /// Starts the reader. Does not wait until it is confined.
    pub(super) fn start() -> Result<Self> {
        // This program, even if its file has been replaced.
        let mut command = Command::new("/proc/self/exe");
        command.arg0(std::env::args_os().next().unwrap_or_default());
        command.arg(programs::MANIFESTS).arg(std::process::id().to_string());
        Self::spawn(command, PATIENCE)
    }

    fn spawn(mut command: Command, patience: Duration) -> Result<Self> {
        let doing = || "starting the process that reads an image's manifests".to_owned();
        let mut child = command
            .env_clear()
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(limits::of_processes)
            .doing(doing)?;
        let pidfd = child::pidfd(child.id())?;
        let (Some(requests), Some(summaries)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(ErrorKind::BrokenPipe).doing(doing);
        };
        let reader =
            Self { pidfd, requests: requests.into(), summaries: summaries.into(), patience, spent: Duration::ZERO };
        // Non-blocking, so that `patience` limits the driver's waits.
        rustix::io::ioctl_fionbio(&reader.requests, true).doing(doing)?;
        rustix::io::ioctl_fionbio(&reader.summaries, true).doing(doing)?;
        Ok(reader)
    }

    /// Has a document read. The caller has verified its digest. The error says what is wrong with the document.
    pub(super) fn read(
        &mut self,
        media_type: &str,
        resolved: bool,
        document: &[u8],
    ) -> std::result::Result<Summary, String> {
        let number = TYPES.iter().position(|known| *known == media_type).unwrap_or(TYPES.len()) as u8;
        Summary::parse(&self.ask(number, resolved, document)?, document)
    }

    /// Has an image's configuration read.
    pub(super) fn config(&mut self, document: &[u8]) -> std::result::Result<Config, String> {
        Config::read(&self.ask(CONFIG, false, document)?)
    }

    fn ask(&mut self, number: u8, resolved: bool, document: &[u8]) -> std::result::Result<Vec<u8>, String> {
        let length = u32::try_from(document.len()).unwrap_or(u32::MAX).to_be_bytes();
        let request = [&[number, u8::from(resolved)], &length[..], document].concat();
        let begin = Instant::now();
        let until = begin + self.patience.saturating_sub(self.spent);
        let summary = self.write(&request, until).and_then(|()| self.summary(until));
        self.spent += begin.elapsed();
        summary.map_err(|e| self.explain(&e))
    }

    fn write(&self, mut rest: &[u8], until: Instant) -> io::Result<()> {
        while !rest.is_empty() {
            match rustix::io::write(&self.requests, rest) {
                Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                Err(rustix::io::Errno::AGAIN) => await_ready(&self.requests, PollFlags::OUT, until)?,
                Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }

    fn summary(&self, until: Instant) -> io::Result<Vec<u8>> {
        let mut length = [0; 4];
        self.fill(&mut length, until)?;
        let length = u32::from_be_bytes(length) as usize;
        if length > LONGEST_SUMMARY {
            return Err(ErrorKind::InvalidData.into());
        }
        let mut summary = vec![0; length];
        self.fill(&mut summary, until)?;
        Ok(summary)
    }

    fn fill(&self, buffer: &mut [u8], until: Instant) -> io::Result<()> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match rustix::io::read(&self.summaries, rest) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(read) => filled += read,
                Err(rustix::io::Errno::AGAIN) => await_ready(&self.summaries, PollFlags::IN, until)?,
                Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }

    /// Kills the reader. Returns why there is no summary.
    fn explain(&self, e: &io::Error) -> String {
        let _ = child::signal(&self.pidfd, libc::SIGKILL);
        let Allowance { processor, memory, .. } = ALLOWANCE;
        match e.kind() {
            ErrorKind::TimedOut => {
                format!(
                    "the process without rights that reads it took longer than {:?} and was killed",
                    self.patience
                )
            }
            ErrorKind::InvalidData => {
                "the process without rights that reads it gave a longer answer than any document can lead to, and was killed"
                    .to_owned()
            }
            ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe => {
                let code = child::wait_blocking(&self.pidfd)
                    .map_or_else(|e| e.to_string(), |s| child::exit_code(s).to_string());
                format!(
                    "the process without rights that reads it ended with {code}: it may take {processor} s of processor time and \
                     {memory} bytes of memory"
                )
            }
            _ => format!("asking the process that reads it: {e}"),
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // The reader has nothing to finish. This wait fails if `explain` has already waited.
        let _ = child::signal(&self.pidfd, libc::SIGKILL);
        let _ = child::wait_blocking(&self.pidfd);
    }
}

fn await_ready(pipe: &OwnedFd, flags: PollFlags, until: Instant) -> io::Result<()> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(ErrorKind::TimedOut.into());
    }
    let timeout = Timespec::try_from(left).unwrap_or(Timespec { tv_sec: 1, tv_nsec: 0 });
    let mut watched = [PollFd::from_borrowed_fd(pipe.as_fd(), flags)];
    match rustix::event::poll(&mut watched, Some(&timeout)) {
        // The caller checks the time on its next call.
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// The `manifests` action: gives up every right, then reads documents until standard input ends.
pub(crate) fn run(arguments: &[OsString]) -> Result<()> {
    let parent = arguments.first().and_then(|word| word.to_str()?.parse().ok());
    let Some(parent) = parent else {
        return Err(Error::refused(
            "command line",
            "manifests",
            "only the compile driver and the action image start it: manifests PARENT",
        ));
    };
    let doing = || "reading an image's manifests".to_owned();
    let (mut requests, mut summaries) = (io::stdin().lock(), io::stdout().lock());
    let mut answer = |text: String| {
        let length = u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes();
        let written = summaries.write_all(&length).and_then(|()| summaries.write_all(text.as_bytes()));
        written.and_then(|()| summaries.flush()).doing(doing)
    };
    if let Err(e) = give_up_rights(Some(parent), ALLOWANCE) {
        // Written before any request. The driver reads it as the answer about its first document.
        return answer(Summary::write(&Err(format!("the process that reads it could not give up its rights: {e}"))));
    }
    loop {
        let mut header = [0; HEADER];
        match requests.read_exact(&mut header) {
            Err(e) if e.kind() == ErrorKind::UnexpectedEof => return Ok(()),
            read => read.doing(doing)?,
        }
        let [number, resolved, length @ ..] = header;
        let mut document = Vec::new();
        let length = u64::from(u32::from_be_bytes(length)).min(LARGEST_DOCUMENT);
        requests.by_ref().take(length).read_to_end(&mut document).doing(doing)?;
        answer(written(number, resolved != 0, &document))?;
    }
}

/// Returns the summary of a document, by the number of its type.
pub(super) fn written(number: u8, resolved: bool, document: &[u8]) -> String {
    let media_type = TYPES.get(usize::from(number)).copied().unwrap_or_default();
    match number {
        CONFIG => Config::write(&Config::parse(document)),
        _ => Summary::write(&Summary::new(media_type, resolved, document)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &[u8] = b"{\"layers\":[]}";

    fn reader(script: &str, patience: Duration) -> Reader {
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(script);
        Reader::spawn(command, patience).unwrap()
    }

    /// Each script does what a reader could do that a document has compromised.
    #[test]
    fn a_hostile_reader_is_refused_and_killed() {
        let moment = Duration::from_millis(300);
        for (script, word) in [
            ("exec sleep 300", "took longer than 300ms"),
            ("cat > /dev/null; exec sleep 300", "took longer than 300ms"),
            ("printf '\\000\\000\\000'; exec sleep 300", "took longer than 300ms"),
            ("printf '\\000\\000\\000\\100'; while :; do printf x; sleep 0.05; done", "took longer than 300ms"),
            ("exec cat /dev/zero", "that no document can lead to"),
            ("printf '\\377\\377\\377\\377'; exec yes", "longer answer than any document can lead to"),
            ("printf '\\000\\001\\000\\001'; exec yes", "longer answer than any document can lead to"),
            ("exit 3", "ended with 3"),
            ("kill -ABRT $$", "ended with 134"),
            ("printf '\\000\\000\\000\\011refused\\tx'; exec sleep 300", "x"),
        ] {
            let mut reader = reader(script, moment);
            // The second document is larger than a pipe's buffer, so that its write blocks.
            for document in [DOCUMENT, &[b' '; 1 << 20]] {
                let reason = reader.read(TYPES[2], false, document).unwrap_err();
                let written = document.len() == DOCUMENT.len();
                assert!(reason.contains(word) || !written, "{script}: {reason}");
            }
            let pidfd = reader.pidfd.try_clone().unwrap();
            drop(reader);
            assert!(child::signal(&pidfd, 0).is_err(), "{script}: it is still there");
        }
    }
}
