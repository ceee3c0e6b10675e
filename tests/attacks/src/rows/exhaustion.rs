//! Demands beyond the container's share.

use std::time::Duration;

use super::{Row, Shape, also};
use crate::call::twice;
use crate::outcome::Outcome;

/// The limits of [`Shape::Limits`].
pub const MOST_PROCESSES: u32 = 24;
/// In bytes.
pub const MOST_MEMORY: u64 = 64 << 20;

pub(super) fn rows() -> Vec<Row> {
    [
        Row::new("threads without end", also::CGROUP, |_| {
            // They live until the process ends, so that each counts.
            for n in 0..MOST_PROCESSES * 4 {
                let made = std::thread::Builder::new()
                    .stack_size(64 << 10)
                    .spawn(|| std::thread::sleep(Duration::from_secs(60)));
                if let Err(e) = made {
                    return Outcome::denied(format!("{} after {n}", name(&e)));
                }
            }
            Outcome::Open(format!("{} threads", MOST_PROCESSES * 4))
        }),
        Row::new("processes without end", also::CGROUP, |_| {
            // A child that ended counts until it is reaped.
            for n in 0..MOST_PROCESSES * 4 {
                if let Err(e) = twice(libc::SYS_clone, [libc::SIGCHLD as u64, 0]) {
                    return Outcome::denied(format!("{e:?} after {n}"));
                }
            }
            Outcome::Open(format!("{} processes", MOST_PROCESSES * 4))
        }),
        Row::new("memory without end", also::CGROUP, |_| {
            let mut all = Vec::new();
            while all.len() as u64 * (1 << 20) < MOST_MEMORY * 4 {
                all.push(vec![1_u8; 1 << 20]);
            }
            Outcome::Open(format!("{} MB", all.len()))
        }),
    ]
    .into_iter()
    // An attack that used up the limits would disturb the next one.
    .map(|row| row.shape(Shape::Limits).alone())
    .collect()
}

fn name(e: &std::io::Error) -> String {
    e.raw_os_error().map_or_else(|| e.to_string(), |e| format!("{:?}", nix::errno::Errno::from_raw(e)))
}
