//! Mixed load on both engines and runc for a requested time, and the growth that it causes.
//!
//! ```text
//! minutes -> Node: a private containerd
//!              |- Residents   containers that stay from before the first sample until after the last, and shims that serve
//!              |              one container after the other, as a pod's does
//!              |- load        threads that start, stop, kill, print; between them containerd is restarted
//!              '- Census      every few seconds: descriptors, threads, memory, mounts, cgroups, zombies, sizes of folders
//!                   |
//!              Report: start, middle, end, most -> a table; fails on resources at the end that were not there at the start
//! ```
//!
//! Start and end are measured at rest: only the residents are there.
//!
//! Needs root. The one argument is the number of minutes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "like a test: a panic is how the program says that a run failed, and the node is removed by unwinding"
)]

mod census;
mod load;
mod report;
mod residents;

use std::time::{Duration, Instant};

use catamaran_harness::Node;

use crate::census::Census;
use crate::load::Load;
use crate::report::Report;
use crate::residents::Residents;

/// The time between two samples.
const PERIOD: Duration = Duration::from_secs(5);
/// How long the remains of the load may take to end.
const REST: Duration = Duration::from_secs(60);
const LAST_COMPILE: Duration = Duration::from_secs(3600);

fn main() {
    let minutes = std::env::args().nth(1).expect("the number of minutes: catamaran-soak MINUTES");
    let minutes: f64 = minutes.parse().unwrap_or_else(|e| panic!("MINUTES is {minutes:?}, no number: {e}"));
    let node = Node::start();
    let residents = Residents::start(&node);
    // Each deed once, so that one-time resources exist and the cache is filled. Containerd is restarted before the first census because it
    // is restarted before the last.
    load::warm_up(&node, &residents);
    residents.restart_containerd();
    await_compiles(&node);
    let mut report = Report::new(at_rest(&node, &residents, None));
    println!("{minutes} minutes of load");
    let load = Load::new(&node, &residents);
    let end = Instant::now() + Duration::from_secs_f64(minutes * 60.0);
    let samples = load.run(end, || Census::take(&node, &residents), PERIOD);
    samples.into_iter().for_each(|census| report.add(census));
    residents.restart_containerd();
    await_compiles(&node);
    let last = at_rest(&node, &residents, Some(report.start()));
    report.end(last, load.done());
    report.print();
    residents.end();
    node.finish();
    report.judge();
}

/// Waits for the optimiser, which has the lowest weight: it waits for as long as the machine has other work.
fn await_compiles(node: &Node) {
    let until = Instant::now() + LAST_COMPILE;
    while census::compiles(node) {
        assert!(Instant::now() < until, "the optimiser has had no processor for {LAST_COMPILE:?}");
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// Measures at rest. Waits until the figures are as `before`, for at most a minute.
fn at_rest(node: &Node, residents: &Residents<'_>, before: Option<&Census>) -> Census {
    let until = Instant::now() + REST;
    loop {
        std::thread::sleep(Duration::from_secs(2));
        let census = Census::take(node, residents);
        if before.is_none_or(|before| census.grown(before).is_empty()) || Instant::now() >= until {
            return census;
        }
    }
}
