//! Every wait ends: with what was waited for, or with a panic that says what it was.

use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long a wait lasts unless the test says otherwise.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Asks until there is an answer; `None` when the limit passed without one.
pub(crate) fn poll<T>(limit: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + limit;
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        if Instant::now() >= end {
            return None;
        }
        sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(25));
    }
}

/// Asks until there is an answer.
///
/// # Panics
/// When the limit passes without one; `what` completes "waited 30 s for ...".
pub fn wait_until<T>(limit: Duration, what: &str, ask: impl FnMut() -> Option<T>) -> T {
    poll(limit, ask).unwrap_or_else(|| panic!("waited {} s for {what}", limit.as_secs_f32()))
}
