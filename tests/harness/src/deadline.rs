//! Waits with a deadline: each ends with the awaited result, or with a panic that names it.
//!
//! Limits are for an ordinary machine. On an emulated one, `CATAMARAN_TEST_SLOWNESS` is the factor to multiply them with.

use std::sync::OnceLock;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long a wait lasts unless the test says otherwise.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A limit, multiplied for this machine.
pub(crate) fn stretched(limit: Duration) -> Duration {
    const NAME: &str = "CATAMARAN_TEST_SLOWNESS";
    static SLOWNESS: OnceLock<u32> = OnceLock::new();
    let slowness = SLOWNESS.get_or_init(|| match std::env::var(NAME) {
        Err(_) => 1,
        Ok(text) => match text.parse() {
            Ok(number @ 1..=1000) => number,
            _ => panic!("{NAME} is {text:?}: write a whole number from 1 to 1000"),
        },
    });
    limit * *slowness
}

/// Asks until there is an answer; returns None if the limit passes without one.
pub(crate) fn poll<T>(limit: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + stretched(limit);
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
    poll(limit, ask).unwrap_or_else(|| panic!("waited {} s for {what}", stretched(limit).as_secs_f32()))
}
