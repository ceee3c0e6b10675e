//! Catamaran's costs, beside runc and, if `VERSUS` names its binary, beside another shim.
//!
//! ```text
//! environment -> Plan -> Contenders: catamaran on each engine, runc, VERSUS     one Node: a private containerd
//!                           |                                       '- Account: the cgroup that all of it runs in
//!                           |- hello     ctr run --rm: wall, CPU; the task API: Create, Start to first byte
//!                           |- herd      20 starts, 8 at a time; 20 idle containers: Census of their processes
//!                           |- first     real programs with much to compile, to their first output; quiet and beside load
//!                           |- sizes     modules of three sizes, as a file and as a layer: Create, with an empty cache and a full one
//!                           |- stampede  ten first starts of one module at once, and one; quiet and beside load
//!                           |- code      20 idle containers of one large module: its code in their memory
//!                           |- compute   C programs for their own speed, the same natively
//!                           |- servers   of HTTP, beside `wasmtime serve` and native ones: requests a CPU-second, overload;
//!                           |            WASI 0.2 and 0.3, outgoing requests
//!                           |- crowded   hundreds of containers, and of pods of the CRI: what one more takes then, and what grows
//!                           '- pods      20 idle pods of the CRI, on a node of their own
//!                                |
//!                           Samples by row and contender -> table on stdout, bench.json with every sample
//! ```
//!
//! Contenders take turns within every round, so that other load of the machine affects all of them alike. Only ratios within one run are
//! meaningful; absolute times are this machine's, this minute's. No figure makes the program fail, only a failed turn of ours does. A
//! peer's failed turns are counted and shown, and their remains removed.
//!
//! Needs root. `CATAMARAN_BIN` is the folder of our programs, see [`plan`] for the rest of the environment.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "like a test: a panic is how the program says that a run failed, and the node is removed by unwinding"
)]

mod account;
mod busy;
mod census;
mod code;
mod compiles;
mod compute;
mod contender;
mod crowd;
mod crowded;
mod ctr;
mod first;
mod hello;
mod herd;
mod plan;
mod pods;
mod report;
mod rows;
mod run;
mod samples;
mod servers;
mod sizes;
mod stampede;
mod start;
mod table;
mod trees;
mod watch;

use catamaran_harness::Node;

use crate::account::Account;
use crate::contender::Contender;
use crate::plan::Plan;
use crate::report::Report;
use crate::run::Run;
use crate::samples::Samples;
use crate::servers::Server;

fn main() {
    let mut words = std::env::args().skip(1);
    match words.next().as_deref() {
        Some(busy::WORD) => busy::run(),
        Some(servers::native::WORD) => {
            let port = words.next().and_then(|port| port.parse().ok()).expect("a port follows the word");
            return servers::native::serve(port).expect("cannot serve");
        }
        _ => {}
    }
    let plan = Plan::from_environment();
    let contenders = Contender::all(&plan);
    let servers = if plan.servers == 0 { Vec::new() } else { Server::all(&contenders) };
    let node = Node::start();
    let account = Account::open(&node);
    let mut samples = Samples::default();
    let mut of_servers = Samples::default();

    let run = Run { node: &node, account: &account, contenders: &contenders, plan: &plan };
    hello::measure(&run, &mut samples);
    herd::measure(&run, &mut samples);
    first::measure(&run, &mut samples);
    sizes::measure(&run, &mut samples);
    stampede::measure(&run, &mut samples);
    code::measure(&run, &mut samples);
    compute::measure(&run, &mut samples);
    crowded::containers::measure(&run, &mut samples);

    servers::measure(&node, &account, &servers, &plan, &mut of_servers);

    // Before the node looks for leftovers, because a cgroup below its own would be one.
    drop(account);
    pods::measure(&contenders, &plan, &mut samples);
    crowded::pods::measure(&contenders, &plan, &mut samples);
    let failed = samples.any_failed() || of_servers.any_failed();
    let report = Report::new(&node, &contenders, samples, &servers, of_servers, plan);
    table::print(&report);
    report.write();
    if failed {
        // A peer's failed turns may leave anything; dropping the node takes it away.
        let left = node.leftovers();
        eprintln!("peers' failed turns left {} things: {:?} ...", left.len(), &left[..left.len().min(3)]);
    } else {
        node.finish();
    }
}
