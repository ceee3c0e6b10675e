//! The table of attacks: each of them must be denied, and the table shows which ones only the filter of system calls denies.
//!
//! ```text
//! world   an attack's possible targets outside, and their state before and after
//! image   the attacks' surroundings inside
//! run     rows -> containers -> outcomes, one container for as many rows as it survives
//! alone   rows in which the host takes part: before Start, and a shim that is killed
//! guest   attacks of a Wasm guest, on each engine's shipped worker
//! sidecar rows of a native sidecar that looks into workers while they are made
//! report  the table
//! ```
//!
//! The programs are those beside this one, or in `CATAMARAN_BIN`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

mod alone;
mod guest;
mod image;
mod report;
mod run;
mod sidecar;
mod world;

use std::collections::BTreeMap;

use catamaran_attacks::{Outcome, rows};
use catamaran_harness::{Node, Options, shim_folder};

use report::Line;
use run::By;
use world::World;

/// The outcome of every row for one attacker.
type Outcomes = BTreeMap<String, Outcome>;

#[test]
fn every_attack_is_denied() {
    let (filtered, mut changes) = attack("attacker", Filter::On);
    let (unfiltered, more) = attack("attacker-unfiltered", Filter::Off);
    changes.extend(more);
    let mut lines: Vec<Line> = guest::lines();
    lines.extend(sidecar::lines());
    for row in rows::all() {
        lines.push(Line::native(row.name, row.also, &filtered.own[row.name], unfiltered.own.get(row.name)));
    }
    for row in rows::all() {
        if let Some(outcome) = filtered.executed.get(row.name) {
            lines.push(Line::executed(row.name, row.also, outcome, unfiltered.executed.get(row.name)));
        }
    }
    report::print(&lines);
    let through: Vec<_> = lines.iter().filter_map(Line::broken_through).collect();
    assert!(through.is_empty(), "attacks that went through:\n  {}", through.join("\n  "));
    assert!(changes.is_empty(), "changed outside of the containers:\n  {}", changes.join("\n  "));
}

/// The sidecar's rows alone, which take less time than the whole table.
#[test]
fn a_sidecar_sees_no_host_mount_in_a_worker_and_cannot_read_its_limits() {
    let through: Vec<_> = sidecar::lines().iter().filter_map(Line::broken_through).collect();
    assert!(through.is_empty(), "attacks that went through:\n  {}", through.join("\n  "));
}

/// The attacker with the filter, or the one without.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Filter {
    On,
    Off,
}

/// One attacker's outcomes, as a container's own process and as an exec in it.
struct Got {
    own: Outcomes,
    executed: Outcomes,
}

/// Runs every row of one attacker, and returns the outcomes and the changes outside.
fn attack(program: &str, filter: Filter) -> (Got, Vec<String>) {
    let file = shim_folder().join(program);
    assert!(file.exists(), "{} is missing: run `make attacks`, which builds it", file.display());
    let options = Options::new().program("catamaran-wasmtime", &file).program("catamaran-wasmtime-http", &file);
    let node = Node::start_with(options);
    let world = World::new(&node);
    let image = image::hostile(&world, &file);
    let before = world.look();
    let mut own = run::batches(&world, &image, By::First);
    own.extend(alone::before_start(&world, &image));
    own.extend(alone::orphans(&world, &image));
    own.extend(alone::joins(&world, &image, filter == Filter::Off));
    let executed = run::batches(&world, &image, By::Exec { filtered: filter == Filter::On });
    let changes = world.changes(&before, filter == Filter::On);
    drop(world);
    node.finish();
    (Got { own, executed }, changes)
}
