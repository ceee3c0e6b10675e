//! Runs a future unless another one ends first.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

/// Returns the output of `work`, or None if `end` is ready first.
pub async fn unless<T>(end: impl Future<Output = ()>, work: impl Future<Output = T>) -> Option<T> {
    let (mut end, mut work) = (pin!(end), pin!(work));
    poll_fn(|context| match work.as_mut().poll(context) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending => end.as_mut().poll(context).map(|()| None),
    })
    .await
}
