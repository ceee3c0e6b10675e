//! Rows in which the attacker is a native sidecar in the pid namespace of the workers: root, with the capabilities of any container.

use std::fs;
use std::path::Path;
use std::time::Duration;

use catamaran_attacks::{Outcome, sidecar};
use catamaran_harness::{Container, Engine, Image, Mounted, Node, Runtime, Task, guests, shim_folder};
use serde_json::json;

use crate::report::Line;

const SOON: Duration = Duration::from_secs(20);
/// The least number of containers, and of execs.
const MADE: usize = 16;
/// The least number of workers that the sidecar must see. The test makes more until then, because on a busy machine a worker is often ready
/// before the sidecar runs.
const SEEN: usize = MADE / 2;
const MOST: usize = MADE * 20;

/// Runs the rows on each engine.
pub(crate) fn lines() -> Vec<Line> {
    Engine::ALL.into_iter().flat_map(on).collect()
}

fn on(engine: Engine) -> Vec<Line> {
    let node = Node::start().engine(engine);
    let canary = Mounted::tmpfs(&node.dir().join(sidecar::CANARY));
    let told = node.dir().join("told");
    fs::create_dir(&told).unwrap();
    let created = beside(&node, &told, "creates", |pids, numbers| {
        for number in numbers {
            let id = format!("c{number}");
            let order = in_pids(node.container(&id), pids).image(&guests::image(Runtime::Catamaran, "hello"));
            assert_eq!(order.to_its_end().code, 0);
        }
    });
    let executed = beside(&node, &told, "executes", |pids, numbers| {
        let order = in_pids(node.container("own"), pids).image(&guests::image(Runtime::Catamaran, "sleep"));
        let task = order.spawn();
        for number in numbers {
            let exec = task.further(&format!("e{number}")).spawn();
            exec.try_kill(9).unwrap();
            exec.wait(SOON);
            exec.delete();
        }
        task.discard();
    });
    drop(canary);
    node.finish();
    let named = |when: &str, outcomes: Vec<Outcome>| -> Vec<Line> {
        let lines = sidecar::AIMS.iter().zip(outcomes);
        lines.map(|(aim, outcome)| Line::sidecar(&format!("{when}: {aim}"), engine, outcome)).collect()
    };
    let mut lines = named("a worker while it is made", created);
    lines.extend(named("an exec while it is made", executed));
    lines
}

/// Runs a sidecar while `workers` makes one worker for each number in the given pid namespace.
fn beside(
    node: &Node,
    told: &Path,
    id: &str,
    workers: impl FnOnce(&str, &mut dyn Iterator<Item = usize>),
) -> Vec<Outcome> {
    // Beside the shim: in the emulated machine cargo's folder does not exist.
    let program = fs::read(shim_folder().join("sidecar")).unwrap();
    let image = Image::new("sidecar").file("/sidecar", program).entrypoint(["/sidecar"]);
    let sidecar: Task<'_> =
        node.container(id).runtime(Runtime::Runc).image(&image).bind(told, "/told", ["rbind", "ro"]).spawn();
    sidecar.expect_stdout("waiting\n");
    let seen = || sidecar.stdout().lines().filter(|line| *line == sidecar::SEEN).count();
    workers(
        &format!("/proc/{}/ns/pid", sidecar.pid()),
        &mut (0..MOST).take_while(|number| *number < MADE || seen() < SEEN),
    );
    let done = told.join(sidecar::DONE.rsplit('/').next().unwrap());
    fs::write(&done, "").unwrap();
    sidecar.wait(SOON);
    fs::remove_file(done).unwrap();
    let output = sidecar.delete();
    let outcomes: Vec<_> =
        output.stdout.lines().filter_map(|line| line.strip_prefix("= ").and_then(Outcome::parse)).collect();
    assert_eq!(outcomes.len(), sidecar::AIMS.len(), "{output:?}");
    for outcome in &outcomes {
        let Outcome::Denied(text) = outcome else { continue };
        let seen: usize = text.split(' ').next().and_then(|number| number.parse().ok()).unwrap();
        assert!(seen >= SEEN, "hardly a worker was seen: {text}");
    }
    outcomes
}

/// Puts the order into that pid namespace, with another user than the sidecar's: the worker changes to this user in the last step of its
/// confinement.
fn in_pids<'n>(order: Container<'n>, pids: &str) -> Container<'n> {
    let pids = pids.to_owned();
    order.user("1000:1000").spec(move |spec| {
        let all = spec["linux"]["namespaces"].as_array_mut().unwrap();
        all.iter_mut().filter(|namespace| namespace["type"] == "pid").for_each(|own| own["path"] = json!(pids));
    })
}
