//! One pending request: the state that the server, its guest and its response share.
//!
//! An instance of WASI 0.2 has one request at a time, and ends when that request is to end. An instance of 0.3 has several at once, and
//! goes on for the others: a guest's work for a request that nobody waits for any more ends with its instance.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use futures_util::task::AtomicWaker;
use tokio::sync::oneshot;
use wasmtime::Error;
use wasmtime_wasi_http::WasiBody;
use wasmtime_wasi_http::p2::bindings::http::types::ErrorCode;

/// The answer that a guest of WASI 0.2 sets: the head of its response, with the body that is to come, or an error.
pub(crate) type Head = Result<hyper::Response<WasiBody>, ErrorCode>;

pub(crate) struct Exchange {
    /// The head's sender, until the guest has set the head.
    head: Mutex<Option<oneshot::Sender<Head>>>,
    expired: AtomicBool,
    /// Whether the request shares its instance with others.
    shared: bool,
    /// Whether the shared instance counts the request.
    counted: AtomicBool,
    /// The life of the instance that handles the request, once there is one.
    life: OnceLock<Arc<Life>>,
}

/// How an instance has failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// No request has reported the failure so far.
    New(Error),
    /// Another request of the same instance has reported the failure.
    Told,
}

impl Exchange {
    pub(crate) fn new(shared: bool) -> (Arc<Self>, oneshot::Receiver<Head>) {
        let (sender, head) = oneshot::channel();
        let exchange = Self {
            head: Mutex::new(Some(sender)),
            expired: AtomicBool::new(false),
            shared,
            counted: AtomicBool::new(false),
            life: OnceLock::new(),
        };
        (Arc::new(exchange), head)
    }

    pub(crate) fn set_head(&self, head: Head) {
        if let Some(sender) = self.head.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // The receiver may be gone.
            let _ = sender.send(head);
        }
    }

    /// Ends its guest: nobody waits for the response any more.
    pub(crate) fn expire(&self) {
        self.expired.store(true, Ordering::SeqCst);
        match self.life.get() {
            Some(life) if self.shared => self.leave(life, Left::Expired),
            Some(life) => life.end(),
            None => {}
        }
    }

    /// Notes that its response is sent, or that there is none: an instance that it shares with others goes on without it.
    pub(crate) fn finish(&self) {
        if let Some(life) = self.life.get() {
            self.leave(life, Left::Finished);
        }
    }

    fn leave(&self, life: &Life, how: Left) {
        if self.counted.swap(false, Ordering::SeqCst) {
            life.leave(how);
        }
    }

    pub(crate) fn is_expired(&self) -> bool {
        self.expired.load(Ordering::SeqCst)
    }

    pub(crate) fn is_shared(&self) -> bool {
        self.shared
    }

    /// Returns the guest's own failure, a trap or an exit, if it failed: the dispatcher's error for the request, or else the instance's. An
    /// error without a cause is the dispatcher's own, and says that no response came.
    pub(crate) fn failure(&self, told: Option<Error>) -> Option<Failure> {
        let of_instance = || self.life.get()?.failure();
        told.filter(|error| error.chain().nth(1).is_some()).map(Failure::New).or_else(of_instance)
    }

    /// Whether its instance was ended because it computed for too long.
    pub(crate) fn is_overdone(&self) -> bool {
        self.life.get().is_some_and(|life| life.overdone.load(Ordering::Relaxed))
    }

    pub(crate) fn is_handled_by(&self, life: &Arc<Life>) {
        let _ = self.life.set(Arc::clone(life));
        if self.shared {
            life.enter();
            self.counted.store(true, Ordering::SeqCst);
        }
        if self.is_expired() {
            self.expire();
        }
    }
}

/// How a request leaves an instance that it shares with others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    Finished,
    /// Its guest may go on for ever, which it must not.
    Expired,
}

/// Whether an instance goes on.
#[derive(Default)]
pub(crate) struct Life {
    /// For a shared instance: the requests whose response is not sent yet, and since when there are none.
    served: AtomicUsize,
    alone: Mutex<Option<Instant>>,
    /// The instance has had as many requests as it may.
    full: AtomicBool,
    /// The instance may be at work for a request that nobody waits for any more.
    burdened: AtomicBool,
    over: AtomicBool,
    /// The instance is over because it computed for too long.
    overdone: AtomicBool,
    /// The instance was interrupted while it computed, since `has_computed` last asked.
    computed: AtomicBool,
    waker: AtomicWaker,
    failed: AtomicBool,
    failure: Mutex<Option<Error>>,
}

impl Life {
    pub(crate) fn end(&self) {
        self.over.store(true, Ordering::SeqCst);
        self.waker.wake();
    }

    fn enter(&self) {
        self.served.fetch_add(1, Ordering::SeqCst);
        *self.alone.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn leave(&self, how: Left) {
        let last = self.served.fetch_sub(1, Ordering::SeqCst) == 1;
        match how {
            Left::Expired if last => self.over.store(true, Ordering::SeqCst),
            Left::Expired => self.burdened.store(true, Ordering::SeqCst),
            Left::Finished if last => {
                *self.alone.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
            }
            Left::Finished => {}
        }
        self.waker.wake();
    }

    /// Whether somebody waits for a response of the instance. Always false for an instance that is not shared.
    pub(crate) fn serves(&self) -> bool {
        self.served.load(Ordering::SeqCst) > 0
    }

    /// Since when nobody waits for a response. None before the first response, and for an instance that is not shared.
    pub(crate) fn alone_since(&self) -> Option<Instant> {
        *self.alone.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn fill(&self) {
        self.full.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_full(&self) -> bool {
        self.full.load(Ordering::SeqCst)
    }

    pub(crate) fn is_burdened(&self) -> bool {
        self.burdened.load(Ordering::SeqCst)
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    /// Notes that the instance has trapped, or exited.
    pub(crate) fn fail(&self, error: Error) {
        if !self.is_over() {
            *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            self.failed.store(true, Ordering::SeqCst);
        }
    }

    fn failure(&self) -> Option<Failure> {
        let new = self.failure.lock().unwrap_or_else(PoisonError::into_inner).take().map(Failure::New);
        new.or_else(|| self.failed.load(Ordering::SeqCst).then_some(Failure::Told))
    }

    /// Ends the instance because it computes for too long.
    pub(crate) fn overdo(&self) {
        self.overdone.store(true, Ordering::Relaxed);
        self.end();
    }

    pub(crate) fn computes(&self) {
        self.computed.store(true, Ordering::Relaxed);
    }

    pub(crate) fn has_computed(&self) -> bool {
        self.computed.swap(false, Ordering::Relaxed)
    }

    /// Whether the instance is over; if not, `waker` is woken when it is.
    pub(crate) fn poll_over(&self, waker: &std::task::Waker) -> bool {
        self.waker.register(waker);
        self.is_over()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handled(life: &Arc<Life>, shared: bool) -> Arc<Exchange> {
        let exchange = Exchange::new(shared).0;
        exchange.is_handled_by(life);
        exchange
    }

    #[test]
    fn an_instance_with_one_request_ends_with_it() {
        let life = Arc::new(Life::default());
        let exchange = handled(&life, false);
        exchange.finish();
        assert!(!life.is_over() && !life.serves() && life.alone_since().is_none());
        exchange.expire();
        assert!(life.is_over());
    }

    #[test]
    fn a_shared_instance_goes_on_for_the_others() {
        let life = Arc::new(Life::default());
        let (first, second) = (handled(&life, true), handled(&life, true));
        first.expire();
        first.finish();
        assert!(life.is_burdened() && life.serves() && !life.is_over() && life.alone_since().is_none());
        second.finish();
        assert!(!life.serves() && !life.is_over() && life.alone_since().is_some(), "it may have something left to do");
        // A request that was given up before an instance took it.
        let late = Exchange::new(true).0;
        late.expire();
        assert!(!life.is_over());
        late.is_handled_by(&life);
        assert!(life.is_over() && !life.serves());
    }

    #[test]
    fn a_failure_is_logged_once_and_fails_every_request_of_its_instance() {
        let life = Arc::new(Life::default());
        let (first, second) = (handled(&life, true), handled(&life, true));
        assert!(first.failure(Some(Error::msg("no response"))).is_none());
        life.fail(Error::msg("trap"));
        assert!(matches!(first.failure(None), Some(Failure::New(_))));
        assert!(matches!(second.failure(Some(Error::msg("no response"))), Some(Failure::Told)));
        let told = Error::msg("cause").context("trap");
        assert!(matches!(second.failure(Some(told)), Some(Failure::New(_))));
    }
}
