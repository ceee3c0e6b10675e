//! Workers that try to outlive their shim. The test kills the shim when the worker has printed that it waits.

use std::io::Write;
use std::time::Duration;

use super::{Row, also};
use crate::call::call;
use crate::outcome::Outcome;

const LONGER_THAN_ANY_TEST: Duration = Duration::from_secs(600);

pub(super) fn rows() -> Vec<Row> {
    vec![
        Row::new("a shim killed: prctl, then wait", also::DEATH_SIGNAL, |_| {
            let _ = call(libc::SYS_prctl, [libc::PR_SET_PDEATHSIG as u64, 0, 0, 0, 0]);
            wait()
        })
        .orphaned(),
        Row::new("a shim killed: the first thread ends, another waits", also::DEATH_SIGNAL, |_| {
            let other = std::thread::Builder::new().spawn(wait);
            if let Err(e) = other {
                return Outcome::denied(e.to_string());
            }
            // Ends this thread alone, because the parent-death signal belongs to it.
            call(libc::SYS_exit, [0]).into()
        })
        .orphaned(),
    ]
}

fn wait() -> Outcome {
    // The reader notices if standard output is gone.
    let _ = std::io::stdout().write_all(b"waiting\n");
    std::thread::sleep(LONGER_THAN_ANY_TEST);
    Outcome::Open("nobody ended it".to_owned())
}
