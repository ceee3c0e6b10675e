//! Kills at any moment of a container's creation.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use catamaran_harness::{Container, Node};
use rustix::process::{Pid, Signal, kill_process};

/// How long it may take until nothing is left of a container.
const SOON: Duration = Duration::from_secs(10);

/// Creates the container sixteen times, and each time kills the first process that `own` knows by its folder in /proc: at once the first
/// time, and a `step` later each further time. Checks that each creation succeeds or is refused with that reason, and leaves nothing.
///
/// # Panics
/// When it does not, and when no creation was refused.
pub fn kills_at_any_moment(node: &Node, order: &Container<'_>, step: Duration, own: impl Fn(&Path) -> bool + Sync) {
    let mut refused = 0;
    for number in 0..16 {
        let done = AtomicBool::new(false);
        let created = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let Some(pid) = first(&own) else { continue };
                    std::thread::sleep(step * number);
                    // It may be gone: an intermediate lives for a few milliseconds.
                    let _ = kill_process(pid, Signal::KILL);
                    return;
                }
            });
            let created = order.try_create();
            done.store(true, Ordering::Relaxed);
            created
        });
        match created {
            Ok(task) => drop(task.discard()),
            Err(status) => {
                refused += 1;
                assert!(status.message.contains("the container's process: "), "{status}");
            }
        }
        node.expect_nothing_left(SOON);
    }
    assert!(refused > 0, "none was killed in time: the test needs other delays");
}

fn first(own: impl Fn(&Path) -> bool) -> Option<Pid> {
    let found = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path()).find(|process| own(process))?;
    Pid::from_raw(found.file_name()?.to_str()?.parse().ok()?)
}
