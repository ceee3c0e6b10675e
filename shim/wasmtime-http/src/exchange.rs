//! One request on its way: what the server, its guest and its response know of each other.
//!
//! An instance of WASI 0.2 has one request at a time, and ends when that one is to end. One of 0.3 has several at once, and goes on
//! for the others: it accepts no further request, and ends when the last one's response is sent.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;

use futures_util::task::AtomicWaker;
use tokio::sync::oneshot;
use wasmtime::Error;
use wasmtime_wasi_http::WasiBody;
use wasmtime_wasi_http::p2::bindings::http::types::ErrorCode;

/// What a guest of WASI 0.2 sets: the head of its response, with the body that is to come, or an error.
pub(crate) type Head = Result<hyper::Response<WasiBody>, ErrorCode>;

pub(crate) struct Exchange {
    /// Until the guest has set it.
    head: Mutex<Option<oneshot::Sender<Head>>>,
    expired: AtomicBool,
    /// Of the instance's event loop, which waits for the expiration.
    waker: AtomicWaker,
    /// Whether its instance, which it shares with others, counts it.
    counted: AtomicBool,
    /// Of the instance that handles it, once there is one.
    life: OnceLock<Arc<Life>>,
}

/// How an instance has failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Nobody was told so far.
    New(Error),
    /// Another request of the same instance has told.
    Told,
}

impl Exchange {
    pub(crate) fn new() -> (Arc<Self>, oneshot::Receiver<Head>) {
        let (sender, head) = oneshot::channel();
        let exchange = Self {
            head: Mutex::new(Some(sender)),
            expired: AtomicBool::new(false),
            waker: AtomicWaker::new(),
            counted: AtomicBool::new(false),
            life: OnceLock::new(),
        };
        (Arc::new(exchange), head)
    }

    pub(crate) fn set_head(&self, head: Head) {
        if let Some(sender) = self.head.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // Who waited for it may be gone.
            let _ = sender.send(head);
        }
    }

    /// Ends its guest: nobody waits for the response any more.
    pub(crate) fn expire(&self) {
        self.expired.store(true, Ordering::SeqCst);
        self.waker.wake();
        match self.life.get() {
            Some(life) if life.shared => self.leave(life, Left::Expired),
            Some(life) => life.end(),
            None => {}
        }
    }

    /// Its response is sent, or there is none: an instance that it shares with others goes on without it.
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

    /// Ready when it is expired.
    pub(crate) fn poll_expired(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.waker.register(cx.waker());
        if self.is_expired() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// The guest's own failure, a trap or an exit, where it failed: what the dispatcher says of the request, or else what the
    /// instance ended with. A remark without a cause is the dispatcher's own, that no response came by it.
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
        if life.shared {
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
    /// Its guest may go on for ever, and is not to.
    Expired,
}

/// Whether an instance is to go on.
#[derive(Default)]
pub(crate) struct Life {
    /// It may have several requests at once.
    shared: bool,
    /// Of an instance that is shared: requests whose response is not sent yet, and since when there is none.
    served: AtomicUsize,
    alone: Mutex<Option<Instant>>,
    /// It takes no further request.
    retired: AtomicBool,
    over: AtomicBool,
    /// Because it computed for too long.
    overdone: AtomicBool,
    /// It was interrupted while it computed, since that was last asked.
    computed: AtomicBool,
    waker: AtomicWaker,
    failed: AtomicBool,
    failure: Mutex<Option<Error>>,
}

impl Life {
    pub(crate) fn new(shared: bool) -> Self {
        Self { shared, ..Self::default() }
    }

    fn end(&self) {
        self.over.store(true, Ordering::SeqCst);
        self.waker.wake();
    }

    fn enter(&self) {
        self.served.fetch_add(1, Ordering::SeqCst);
        *self.alone.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn leave(&self, how: Left) {
        let last = self.served.fetch_sub(1, Ordering::SeqCst) == 1;
        if how == Left::Expired {
            self.retired.store(true, Ordering::SeqCst);
        }
        match how {
            Left::Expired if last => self.over.store(true, Ordering::SeqCst),
            Left::Finished if last => {
                *self.alone.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
            }
            Left::Expired | Left::Finished => {}
        }
        self.waker.wake();
    }

    /// Since when nobody waits for a response of it. None while somebody does, and of an instance that is not shared.
    pub(crate) fn alone_since(&self) -> Option<Instant> {
        *self.alone.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::SeqCst)
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    /// It has trapped, or exited.
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

    /// Nobody has waited for it for as long as it may go on.
    pub(crate) fn give_up(&self) {
        self.end();
    }

    /// It computes for too long.
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

    /// Whether it is over; if not, who asks is woken up when it is.
    pub(crate) fn poll_over(&self, waker: &std::task::Waker) -> bool {
        self.waker.register(waker);
        self.is_over()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handled(life: &Arc<Life>) -> Arc<Exchange> {
        let exchange = Exchange::new().0;
        exchange.is_handled_by(life);
        exchange
    }

    #[test]
    fn an_instance_with_one_request_ends_with_it() {
        let life = Arc::new(Life::new(false));
        let exchange = handled(&life);
        exchange.finish();
        assert!(!life.is_over() && life.alone_since().is_none());
        exchange.expire();
        assert!(life.is_over() && !life.is_retired());
    }

    #[test]
    fn a_shared_instance_goes_on_for_the_others_and_takes_no_more() {
        let life = Arc::new(Life::new(true));
        let (first, second) = (handled(&life), handled(&life));
        first.expire();
        first.finish();
        assert!(life.is_retired() && !life.is_over() && life.alone_since().is_none());
        second.finish();
        assert!(!life.is_over() && life.alone_since().is_some(), "it may have something left to do");
        // Given up before an instance took it.
        let late = Exchange::new().0;
        late.expire();
        late.is_handled_by(&life);
        assert!(life.is_over());
    }

    #[test]
    fn a_failure_is_told_once_and_known_to_all() {
        let life = Arc::new(Life::new(true));
        let (first, second) = (handled(&life), handled(&life));
        assert!(first.failure(Some(Error::msg("no response"))).is_none());
        life.fail(Error::msg("trap"));
        assert!(matches!(first.failure(None), Some(Failure::New(_))));
        assert!(matches!(second.failure(Some(Error::msg("no response"))), Some(Failure::Told)));
        let told = Error::msg("cause").context("trap");
        assert!(matches!(second.failure(Some(told)), Some(Failure::New(_))));
    }
}
