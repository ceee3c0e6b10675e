//! A task's stdio: FIFOs that the test reads and writes.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, Mode, OFlags};

use crate::deadline;

/// The bytes read so far, and whether the end was seen.
#[derive(Default)]
struct Heard {
    text: Mutex<Vec<u8>>,
    ended: AtomicBool,
    stop: AtomicBool,
}

/// Reads to the end in the background.
pub(crate) struct Capture {
    heard: Arc<Heard>,
    thread: Option<JoinHandle<()>>,
}

impl Capture {
    /// Reads a pipe that has a writer.
    pub(crate) fn pipe(mut from: impl Read + Send + 'static) -> Self {
        Self::start(move |heard| {
            let mut chunk = [0; 16384];
            while let Ok(length @ 1..) = from.read(&mut chunk) {
                heard.text.lock().unwrap().extend_from_slice(&chunk[..length]);
            }
        })
    }

    /// Makes and reads a FIFO, which is open when this returns, so that a writer never waits for a reader.
    pub(crate) fn fifo(path: &Path) -> Self {
        make_fifo(path);
        let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())
            .unwrap_or_else(|error| panic!("cannot open {}: {error}", path.display()));
        Self::start(move |heard| read_fifo(file, heard))
    }

    /// Reads nothing, for a stream that another program reads.
    pub(crate) fn nothing() -> Self {
        Self::start(|_| {})
    }

    fn start(read: impl FnOnce(&Heard) + Send + 'static) -> Self {
        let heard = Arc::new(Heard::default());
        let listener = Arc::clone(&heard);
        let thread = std::thread::spawn(move || {
            read(&listener);
            listener.ended.store(true, Ordering::SeqCst);
        });
        Self { heard, thread: Some(thread) }
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.heard.text.lock().unwrap()).into_owned()
    }

    /// Whether every writer has closed its end within the limit.
    pub(crate) fn ended_within(&self, limit: Duration) -> bool {
        deadline::poll(limit, || self.heard.ended.load(Ordering::SeqCst).then_some(())).is_some()
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.heard.stop.store(true, Ordering::SeqCst);
        // Joins only a thread that has ended. A thread that waits for a writer notices the flag and ends by itself.
        if self.heard.ended.load(Ordering::SeqCst)
            && let Some(thread) = self.thread.take()
        {
            let _ = thread.join();
        }
    }
}

fn read_fifo(file: OwnedFd, heard: &Heard) {
    let mut file = File::from(file);
    let mut chunk = [0; 16384];
    let pause = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
    while !heard.stop.load(Ordering::SeqCst) {
        let mut waiting = [PollFd::new(&file, PollFlags::IN)];
        // poll reports no hang-up before a first writer has come, so the end is not seen too early.
        if !matches!(poll(&mut waiting, Some(&pause)), Ok(1..)) {
            continue;
        }
        match file.read(&mut chunk) {
            Ok(0) => return,
            Ok(length) => heard.text.lock().unwrap().extend_from_slice(&chunk[..length]),
            Err(_) => {}
        }
    }
}

/// A task's stdin: written in the background, open until closed.
pub(crate) struct Stdin {
    file: Option<File>,
}

impl Stdin {
    /// Makes a FIFO and opens it.
    pub(crate) fn fifo(path: &Path) -> Self {
        make_fifo(path);
        // Read-write, so that opening does not wait for the task. The task still sees the end, because nothing else has the FIFO open.
        Self { file: Some(Fifo(path.to_owned()).writer()) }
    }

    pub(crate) fn write(&mut self, text: &[u8]) {
        let mut file = self.file.as_ref().expect("stdin was closed").try_clone().expect("cannot duplicate stdin");
        let text = text.to_vec();
        let writer = std::thread::spawn(move || file.write_all(&text));
        deadline::wait_until(deadline::PATIENCE, "the task to read its stdin", || writer.is_finished().then_some(()));
        writer.join().expect("the writer panicked").expect("cannot write stdin");
    }

    pub(crate) fn close(&mut self) {
        self.file = None;
    }
}

/// The folder and the three paths of one task's stdio.
pub(crate) struct Paths {
    pub(crate) dir: PathBuf,
}

impl Paths {
    pub(crate) fn make(dir: PathBuf) -> Self {
        // An earlier task may have had this name.
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap_or_else(|error| panic!("cannot make {}: {error}", dir.display()));
        Self { dir }
    }

    pub(crate) fn of(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

/// A FIFO that the test itself makes, reads and writes.
pub struct Fifo(PathBuf);

impl Fifo {
    /// Makes it, in a folder that its owner removes.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn make(path: PathBuf) -> Self {
        make_fifo(&path);
        Self(path)
    }

    /// Its path, as a request has it.
    pub fn path(&self) -> &str {
        self.0.to_str().expect("the path is no UTF-8")
    }

    /// Opens the reading end without waiting for a writer.
    ///
    /// # Panics
    /// When it cannot be opened.
    pub fn reader(&self) -> File {
        let reader = rustix::fs::open(&self.0, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())
            .unwrap_or_else(|error| panic!("cannot open {}: {error}", self.0.display()));
        rustix::fs::fcntl_setfl(&reader, OFlags::empty()).expect("cannot make a pipe wait");
        reader.into()
    }

    /// Opens the writing end without waiting for a reader.
    ///
    /// # Panics
    /// When it cannot be opened.
    pub fn writer(&self) -> File {
        let writer = rustix::fs::open(&self.0, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
            .unwrap_or_else(|error| panic!("cannot open {}: {error}", self.0.display()));
        writer.into()
    }
}

fn make_fifo(path: &Path) {
    rustix::fs::mknodat(rustix::fs::CWD, path, FileType::Fifo, Mode::from_raw_mode(0o600), 0)
        .unwrap_or_else(|error| panic!("cannot make {}: {error}", path.display()));
}
