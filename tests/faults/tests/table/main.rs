//! The table of faults: whatever process dies, at whatever moment, nothing is lost and nothing is left.
//!
//! ```text
//! cells      the victims, and the steps of a container's life
//! tracer     kills at a counted system call
//! scene      the node, a neighbour, a pod, leftovers
//! trial      one death, and the checks afterwards
//! report     the table
//! ```
//!
//! After each death: nothing of the victim's containers is left (processes, cgroups, mounts, sockets, state, bundles, leases), every exit
//! was reported once, the neighbour and, unless its shim died, the pod run on, and the ids are free: the next trial uses the same.
//! `CATAMARAN_FAULTS` sets the number of points of each step.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

mod cells;
mod report;
mod scene;
mod tracer;
mod trial;

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use catamaran_harness::Node;

use cells::{Extent, Guest, Step, Who};
use report::{Cell, Row};
use scene::Scene;
use trial::{At, Died, die};

/// The number of lines of containerd's log shown with a failure.
const LOG_LINES: usize = 40;

#[test]
fn killing_any_process_at_any_step_loses_nothing_and_leaves_nothing() {
    let extent = Extent::wanted();
    let rows: Vec<Row> = extent.rows().into_iter().map(|(who, guest)| row(who, guest, extent.points)).collect();
    report::print(&rows);
    let troubles: Vec<String> = rows.iter().flat_map(Row::troubles).collect();
    assert!(troubles.is_empty(), "not clean:\n  {}", troubles.join("\n  "));
}

/// All deaths of one row.
fn row(who: Who, guest: Guest, points: usize) -> Row {
    let mut cells: Vec<(Step, Cell)> = who.steps(guest).map(|step| (step, Cell::default())).collect();
    let mut todo: VecDeque<(usize, At)> = VecDeque::new();
    for (n, (step, _)) in cells.iter().enumerate() {
        todo.push_back((n, if who.dies_at_once(*step) { At::Once } else { At::Never }));
    }
    while !todo.is_empty() {
        let node = Node::start().engine(guest.engine());
        let mut scene = Scene::new(&node, who, guest);
        if go_through(&mut scene, who, points, &mut todo, &mut cells) {
            scene.end();
            node.finish();
        }
    }
    Row { who, guest, cells }
}

/// Runs trials until one is not clean. Returns false then: the scene cannot be used any more.
fn go_through(
    scene: &mut Scene<'_>,
    who: Who,
    points: usize,
    todo: &mut VecDeque<(usize, At)>,
    cells: &mut [(Step, Cell)],
) -> bool {
    while let Some((n, at)) = todo.pop_front() {
        let (step, cell) = &mut cells[n];
        let last = todo.front().is_none_or(|(next, _)| *next != n) && at != At::Never;
        let tried = catch_unwind(AssertUnwindSafe(|| {
            let died = die(scene, who, *step, at);
            if last {
                scene.use_again();
            }
            died
        }));
        match tried {
            Ok(Died { length, .. }) if at == At::Never => {
                spread(length, points).into_iter().rev().for_each(|at| todo.push_front((n, at)));
            }
            Ok(Died { killed: true, place, .. }) => {
                cell.killed += 1;
                println!("{} {step:?}: {place}", who.words());
            }
            Ok(Died { killed: false, .. }) => cell.missed += 1,
            Err(panic) => {
                cell.killed += 1;
                let words = panic.downcast_ref::<String>().cloned();
                let words = words.or_else(|| panic.downcast_ref::<&str>().map(|words| (*words).to_owned()));
                let log = scene.node.log();
                let lines: Vec<&str> = log.lines().filter(|line| !line.contains("loading plugin")).collect();
                println!("containerd's log:\n{}", lines[lines.len().saturating_sub(LOG_LINES)..].join("\n"));
                cell.troubles.push(format!("{at:?}: {}", words.unwrap_or_default()));
                return false;
            }
        }
    }
    true
}

/// Returns `points` places in a step, evenly spread, beginning with the first.
fn spread(length: At, points: usize) -> Vec<At> {
    match length {
        At::Call(count) => {
            let points = points.min(count);
            (0..points).map(|n| At::Call(n * count / points)).collect()
        }
        At::Time(length) => {
            let part = length / u32::try_from(points).unwrap_or(u32::MAX);
            (0..points).map(|n| At::Time(part * u32::try_from(n).unwrap_or(u32::MAX))).collect()
        }
        At::Never | At::Once => vec![At::Time(Duration::ZERO)],
    }
}
