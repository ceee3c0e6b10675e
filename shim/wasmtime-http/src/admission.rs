//! How many requests are handled at once. The dispatcher takes as many as there are: what it cannot handle would wait in memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// So long a request waits for one of those before it to end. Who is refused then tries another pod, or the same in a second.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// As many requests wait as are handled, at most.
pub(crate) const WAITING: usize = 1;

/// A request that may be handled. Kept until its guest has returned.
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

    /// None where there are too many.
    pub(crate) async fn admit(&self) -> Option<Permit> {
        if let Ok(permit) = Arc::clone(&self.free).try_acquire_owned() {
            return Some(permit);
        }
        let _waiting = Waiting::begin(&self.waiting, WAITING * self.most as usize)?;
        tokio::time::timeout(LONGEST_WAIT, Arc::clone(&self.free).acquire_owned()).await.ok()?.ok()
    }

    /// Waits until no guest runs any more.
    pub(crate) async fn all_returned(&self) {
        // Never closed, so that it cannot fail.
        let _ = self.free.acquire_many(self.most).await;
    }
}

/// One of those that wait, until it is dropped.
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
