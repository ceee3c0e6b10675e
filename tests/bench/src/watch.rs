//! Moments of events on a file that the harness made, reported by the kernel.
//!
//! The harness's task API returns answers and output, not their times. inotify marks the two moments between which its calls do their work,
//! without disturbing them: a task's stdio folder is made (the harness is about to ask for Create), and the first bytes are read from a
//! task's stdout.

use std::mem::MaybeUninit;
use std::path::Path;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

use catamaran_harness::PATIENCE;

/// A watch for one moment.
pub(crate) struct Watch {
    thread: JoinHandle<Instant>,
}

impl Watch {
    /// Watches for the next file made in a folder.
    pub(crate) fn made_in(folder: &Path) -> Self {
        Self::new(folder, WatchFlags::CREATE, PATIENCE)
    }

    /// Watches for the next read of a file that yields bytes.
    pub(crate) fn read_from(file: &Path, limit: Duration) -> Self {
        Self::new(file, WatchFlags::ACCESS, limit)
    }

    fn new(path: &Path, flags: WatchFlags, limit: Duration) -> Self {
        let events = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).expect("cannot use inotify");
        inotify::add_watch(&events, path, flags)
            .unwrap_or_else(|error| panic!("cannot watch {}: {error}", path.display()));
        let what = format!("nothing happened to {} within {limit:?}", path.display());
        let thread = std::thread::spawn(move || {
            let limit = Timespec { tv_sec: limit.as_secs().cast_signed(), tv_nsec: 0 };
            let awake = poll(&mut [PollFd::new(&events, PollFlags::IN)], Some(&limit));
            let moment = Instant::now();
            assert!(matches!(awake, Ok(1..)), "{what}");
            let mut room = [MaybeUninit::uninit(); 1024];
            let event = inotify::Reader::new(&events, &mut room).next().map(|event| event.events());
            // The removal of a watched file is an event too.
            assert!(event.is_ok_and(|event| !event.contains(inotify::ReadFlags::IGNORED)), "{what}");
            moment
        });
        Self { thread }
    }

    /// Waits for it.
    ///
    /// # Panics
    /// When it does not come.
    pub(crate) fn moment(self) -> Instant {
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}
