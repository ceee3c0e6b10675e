//! The clock of interruptible code: a thread that counts while requests are handled, and sleeps otherwise.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::Thread;
use std::time::{Duration, Instant};

use wasmtime::Engine;

/// How often a guest that computes is interrupted, which gives the other guests of its thread their turn.
pub(crate) const TICK: Duration = Duration::from_millis(10);
/// How long the clock goes on after the last request, because waking it for each request would cost more.
const LINGERING: Duration = Duration::from_secs(1);
const STACK: usize = 64 << 10;

pub(crate) struct Ticker {
    shared: Arc<Shared>,
    thread: Thread,
}

struct Shared {
    requests: AtomicUsize,
    asleep: AtomicBool,
}

/// Counts a request that is handled, until it is dropped.
pub(crate) struct Ticking(Arc<Shared>);

impl Ticker {
    pub(crate) fn start(engine: &Engine) -> std::io::Result<Self> {
        let shared = Arc::new(Shared { requests: AtomicUsize::new(0), asleep: AtomicBool::new(false) });
        let (counted, engine) = (Arc::clone(&shared), engine.clone());
        let thread = std::thread::Builder::new().name("ticker".to_owned()).stack_size(STACK);
        let thread = thread.spawn(move || counted.run(&engine))?.thread().clone();
        Ok(Self { shared, thread })
    }

    pub(crate) fn begin(&self) -> Ticking {
        // This counts before it reads `asleep`, and the thread sets `asleep` before it reads the count: one of the two sees the other.
        self.shared.requests.fetch_add(1, Ordering::SeqCst);
        if self.shared.asleep.load(Ordering::SeqCst) {
            self.thread.unpark();
        }
        Ticking(Arc::clone(&self.shared))
    }
}

impl Drop for Ticking {
    fn drop(&mut self) {
        self.0.requests.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Shared {
    fn run(&self, engine: &Engine) -> ! {
        self.sleep();
        let mut last = Instant::now();
        loop {
            if self.requests.load(Ordering::SeqCst) > 0 {
                last = Instant::now();
            } else if last.elapsed() > LINGERING {
                self.sleep();
                last = Instant::now();
            }
            std::thread::sleep(TICK);
            engine.increment_epoch();
        }
    }

    fn sleep(&self) {
        self.asleep.store(true, Ordering::SeqCst);
        while self.requests.load(Ordering::SeqCst) == 0 {
            std::thread::park();
        }
        self.asleep.store(false, Ordering::SeqCst);
    }
}
