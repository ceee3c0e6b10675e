//! Runs work concurrently.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::scope;

/// Calls `work` with each number below `size`, `at_a_time` calls at once, and returns the results in the order of the numbers.
pub(crate) fn crowd<T: Send>(size: usize, at_a_time: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let turns = || {
        let mut done = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= size {
                return done;
            }
            done.push((number, work(number)));
        }
    };
    let mut done: Vec<(usize, T)> = scope(|scope| {
        let threads: Vec<_> = (0..at_a_time).map(|_| scope.spawn(turns)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("a container failed, see above")).collect()
    });
    done.sort_by_key(|(number, _)| *number);
    done.into_iter().map(|(_, result)| result).collect()
}
