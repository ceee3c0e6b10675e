//! Bounds how many requests are handled at once. The dispatcher takes all requests: those that it cannot handle would wait in memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How long a request waits for an earlier one to end. A refused client tries another pod, or the same in a second.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// The most requests that wait, for each one that is handled.
pub(crate) const WAITING: usize = 1;

/// The right to handle a request. Kept until its guest has returned.
pub(crate) type Permit = OwnedSemaphorePermit;

pub(crate) struct Admission {
    free: Arc<Semaphore>,
    most: u32,
    waiting: AtomicUsize,
}

impl Admission {
    pub(crate) fn new(most: u32) -> Self {
        Self { free: Arc::new(Semaphore::new(most as usize)), most, waiting: AtomicUsize::new(0) }
    }

    /// Returns None if there are too many requests.
    pub(crate) async fn admit(&self) -> Option<Permit> {
        if let Ok(permit) = Arc::clone(&self.free).try_acquire_owned() {
            return Some(permit);
        }
        let _waiting = Waiting::begin(&self.waiting, WAITING * self.most as usize)?;
        tokio::time::timeout(LONGEST_WAIT, Arc::clone(&self.free).acquire_owned()).await.ok()?.ok()
    }

    /// Waits until no guest runs any more.
    pub(crate) async fn all_returned(&self) {
        // Cannot fail, because the semaphore is never closed.
        let _ = self.free.acquire_many(self.most).await;
    }
}

/// Counts one waiting request, until it is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn begin(count: &'a AtomicUsize, most: usize) -> Option<Self> {
        let waiting = Self(count);
        (count.fetch_add(1, Ordering::Relaxed) < most).then_some(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(test: impl Future<Output = ()>) {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(test);
    }

    #[test]
    fn as_many_requests_wait_as_run() {
        run(async {
            let admission = Arc::new(Admission::new(2));
            let held = (admission.admit().await.unwrap(), admission.admit().await.unwrap());
            let wait = || {
                tokio::spawn({
                    let admission = Arc::clone(&admission);
                    async move { admission.admit().await.is_some() }
                })
            };
            let waiting = [wait(), wait()];
            tokio::task::yield_now().await;
            let begin = std::time::Instant::now();
            assert!(admission.admit().await.is_none());
            assert!(begin.elapsed() < LONGEST_WAIT / 2, "the queue is full, which is said at once");
            drop(held.0);
            for task in waiting {
                assert!(task.await.unwrap(), "the first one's permit goes to the second when its task is over");
            }
        });
    }

    #[test]
    fn nobody_waits_for_longer_than_a_second() {
        run(async {
            let admission = Admission::new(1);
            let _held = admission.admit().await.unwrap();
            let begin = std::time::Instant::now();
            assert!(admission.admit().await.is_none());
            assert!(begin.elapsed() >= LONGEST_WAIT);
        });
    }
}
