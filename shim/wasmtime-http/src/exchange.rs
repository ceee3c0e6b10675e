//! One request on its way: what the server, its guest and its response know of each other.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use futures_util::task::AtomicWaker;
use tokio::sync::oneshot;
use wasmtime::Error;
use wasmtime_wasi_http::WasiBody;
use wasmtime_wasi_http::p2::bindings::http::types::ErrorCode;

/// What a guest sets: the head of its response, with the body that is to come, or an error.
pub(crate) type Head = Result<hyper::Response<WasiBody>, ErrorCode>;

pub(crate) struct Exchange {
    /// Until the guest has set it.
    head: Mutex<Option<oneshot::Sender<Head>>>,
    expired: AtomicBool,
    /// Of the instance that handles it, once there is one.
    life: OnceLock<Arc<Life>>,
}

impl Exchange {
    pub(crate) fn new() -> (Arc<Self>, oneshot::Receiver<Head>) {
        let (sender, head) = oneshot::channel();
        let exchange = Self { head: Mutex::new(Some(sender)), expired: AtomicBool::new(false), life: OnceLock::new() };
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
        if let Some(life) = self.life.get() {
            life.end();
        }
    }

    pub(crate) fn is_expired(&self) -> bool {
        self.expired.load(Ordering::SeqCst)
    }

    /// The guest's own failure, a trap or an exit, where it failed: what the dispatcher says of the request, or else what the
    /// instance ended with. A remark without a cause is the dispatcher's own, that no response came by it.
    pub(crate) fn failure(&self, told: Option<Error>) -> Option<Error> {
        let of_instance =
            || self.life.get().and_then(|life| life.failure.lock().unwrap_or_else(PoisonError::into_inner).take());
        told.filter(|error| error.chain().nth(1).is_some()).or_else(of_instance)
    }

    /// Whether its instance was ended because it computed for too long.
    pub(crate) fn is_overdone(&self) -> bool {
        self.life.get().is_some_and(|life| life.overdone.load(Ordering::Relaxed))
    }

    pub(crate) fn is_handled_by(&self, life: &Arc<Life>) {
        let _ = self.life.set(Arc::clone(life));
        if self.is_expired() {
            life.end();
        }
    }
}

/// Whether an instance is to go on.
#[derive(Default)]
pub(crate) struct Life {
    over: AtomicBool,
    /// Because it computed for too long.
    overdone: AtomicBool,
    /// It was interrupted while it computed, since that was last asked.
    computed: AtomicBool,
    waker: AtomicWaker,
    failure: Mutex<Option<Error>>,
}

impl Life {
    fn end(&self) {
        self.over.store(true, Ordering::SeqCst);
        self.waker.wake();
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    /// It has trapped, or exited.
    pub(crate) fn fail(&self, error: Error) {
        if !self.is_over() {
            *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        }
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
