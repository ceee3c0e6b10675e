//! A native container that shares its pid namespace with workers, reads the mount table of each from its first moment on, and tries to read
//! its limits.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::call::{call, into};
use crate::outcome::Outcome;

/// A part of the path of one of the host's mounts.
pub const CANARY: &str = "a-mount-of-the-host";
/// The file that appears when the last worker has ended.
pub const DONE: &str = "/told/done";
/// The line that it prints for each new process.
pub const SEEN: &str = "seen";
/// Its aims, in the order of the outcomes that it prints.
pub const AIMS: [&str; 2] = ["the host's mount table", "prlimit"];

/// Far longer than needed, even in the emulated machine: the workers are in its pid namespace, and end with it.
const LONGEST: Duration = Duration::from_secs(900);

/// The sidecar's program.
pub fn watch() {
    say("waiting");
    let (begin, own) = (Instant::now(), std::process::id());
    let mut seen = BTreeSet::new();
    let mut through = [0, 0];
    while !Path::new(DONE).exists() && begin.elapsed() < LONGEST {
        let names = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = names.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        for pid in pids.filter(|pid| *pid != own) {
            let Ok(table) = std::fs::read_to_string(format!("/proc/{pid}/mountinfo")) else { continue };
            if seen.insert(pid) {
                say(SEEN);
            }
            through[0] += u32::from(table.contains(CANARY));
            through[1] += u32::from(may_limit(pid));
        }
    }
    for times in through {
        let outcome = match times {
            0 => Outcome::Denied(format!("{} processes seen", seen.len())),
            times => Outcome::Open(format!("{times} times")),
        };
        say(&format!("= {}", outcome.to_line()));
    }
}

/// Whether the kernel lets this process read, and so set, a limit of another (prlimit(2)).
fn may_limit(pid: u32) -> bool {
    let mut limit = [0_u64; 2];
    call(libc::SYS_prlimit64, [u64::from(pid), u64::from(libc::RLIMIT_NOFILE), 0, into(&mut limit)]).is_ok()
}

fn say(line: &str) {
    // The reader notices if standard output is gone.
    let _ = std::io::stdout().write_all(format!("{line}\n").as_bytes());
}
