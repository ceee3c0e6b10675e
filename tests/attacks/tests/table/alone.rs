//! Rows in which the host takes part: a worker's messages to the shim before Start, and a worker whose shim is killed.

use std::time::{Duration, Instant};

use catamaran_attacks::Outcome;
use catamaran_attacks::rows::{self, Shape, When};
use catamaran_harness::procfs::{parent, runs};
use catamaran_harness::{Image, wait_until};
use rustix::process::Signal;

use crate::world::World;
use crate::{Outcomes, run};

const SOON: Duration = Duration::from_secs(10);
/// The number of execs beside an attacker.
const JOINING: u32 = 24;
/// The parent-death signal takes microseconds.
const AT_ONCE: Duration = Duration::from_millis(500);

/// Runs workers that send forged reports before they are ready. The shim must answer Create, serve the next container and pass on nothing
/// that a terminal or a log would obey.
pub(crate) fn before_start(world: &World<'_>, image: &Image) -> Outcomes {
    let rows = rows::all();
    let before = rows.iter().filter(|row| row.when == When::BeforeStart);
    before.map(|row| (row.name.to_owned(), lie(world, image, row.name))).collect()
}

fn lie(world: &World<'_>, image: &Image, name: &str) -> Outcome {
    let begin = Instant::now();
    let created = run::order(world, image, Shape::Plain, &[name]).try_create();
    if begin.elapsed() > SOON {
        return Outcome::Open(format!("Create took {:?}", begin.elapsed()));
    }
    match created {
        Ok(task) => {
            // The shim believed a well-formed report: it concerns only the worker that sent it.
            let shim = parent(task.pid());
            let open = std::fs::read_dir(format!("/proc/{shim}/fd")).unwrap().count();
            task.start();
            let answered = task.try_wait(SOON).is_ok();
            let output = task.discard();
            if world.log().contains('\u{1b}')
                || world.log().lines().any(|line| line.starts_with("level=error msg=forged"))
            {
                return Outcome::Open("containerd's log has the forged line".to_owned());
            }
            match (answered, open) {
                (true, 0..64) => Outcome::Denied(format!("Create answered, exit code {}", output.code)),
                (true, _) => Outcome::Open(format!("the shim has {open} descriptors open")),
                (false, _) => Outcome::Open("Start did not end".to_owned()),
            }
        }
        Err(status) if status.message.contains(['\u{1b}', '\u{7}']) => {
            Outcome::Open(format!("the caller's terminal got {:?}", status.message))
        }
        Err(status) => Outcome::Denied(format!("Create answered {:?}", status.code)),
    }
}

/// Runs workers that attack the execs beside them, from their first moment on.
pub(crate) fn joins(world: &World<'_>, image: &Image, must_see: bool) -> Outcomes {
    let rows = rows::all();
    let all = rows.iter().filter(|row| row.when == When::Joined);
    all.map(|row| (row.name.to_owned(), joined(world, image, row.name, row.shape, must_see))).collect()
}

fn joined(world: &World<'_>, image: &Image, name: &str, shape: Shape, must_see: bool) -> Outcome {
    let done = world.folder("told").join(rows::DONE.rsplit('/').next().unwrap());
    let task = run::order(world, image, shape, &[name]).spawn();
    task.expect_stdout("waiting\n");
    for number in 0..JOINING {
        let ran = task.further(&format!("e{number}")).args(["/attack.wasm"]).run();
        assert_eq!(ran.code, 0, "{ran:?}");
    }
    std::fs::write(&done, "").unwrap();
    task.wait(SOON);
    let output = task.delete();
    std::fs::remove_file(&done).unwrap();
    let said = output.stdout.lines().find_map(|line| line.strip_prefix("= ").and_then(Outcome::parse));
    let said = said.unwrap_or_else(|| panic!("no outcome: {output:?}"));
    let seen = matches!(&said, Outcome::Denied(text) if text.contains("EPERM"));
    assert!(!must_see || seen || matches!(said, Outcome::Open(_)), "nobody was attacked: {said:?}");
    said
}

/// Runs workers that try not to die with their shim.
pub(crate) fn orphans(world: &World<'_>, image: &Image) -> Outcomes {
    let rows = rows::all();
    let all = rows.iter().filter(|row| row.when == When::Orphaned);
    all.map(|row| (row.name.to_owned(), orphan(world, image, row.name))).collect()
}

fn orphan(world: &World<'_>, image: &Image, name: &str) -> Outcome {
    let task = run::order(world, image, Shape::Plain, &[name]).spawn();
    task.expect_stdout("waiting\n");
    let worker = task.pid();
    // While containerd cannot call `delete`, only the kernel's signal ends the worker.
    send(world.containerd(), Signal::STOP);
    send(parent(worker), Signal::KILL);
    let begin = Instant::now();
    while runs(worker) && begin.elapsed() < AT_ONCE {
        std::thread::sleep(Duration::from_millis(5));
    }
    let outlived = runs(worker);
    send(world.containerd(), Signal::CONT);
    wait_until(SOON, "the worker to end when containerd calls delete", || (!runs(worker)).then_some(()));
    wait_until(SOON, "containerd to forget the task", || task.try_state().is_err().then_some(()));
    task.remove_container();
    match outlived {
        false => Outcome::Denied("killed: SIGKILL".to_owned()),
        true => Outcome::Open("it outlived its shim, until containerd called delete".to_owned()),
    }
}

fn send(pid: u32, signal: Signal) {
    let pid = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}
