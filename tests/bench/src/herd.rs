//! Twenty containers at once: the time of their starts, and their cost when idle.

use std::thread::sleep;
use std::time::{Duration, Instant};

use catamaran_harness::{Image, Node, Task};

use crate::account::{Account, Member};
use crate::census::{self, Deeds, Memory};
use crate::contender::Contender;
use crate::crowd::crowd;
use crate::ctr;
use crate::rows::Row;
use crate::run::Run;
use crate::samples::{Samples, milliseconds};

const SIZE: usize = 20;
const AT_A_TIME: usize = 8;
/// The time from the last "ready" until all count as idle.
const CALM: Duration = Duration::from_secs(2);
const WINDOW: Duration = Duration::from_secs(5);
/// The rows of idle containers.
const IDLE: [Row; 10] = [
    Row::Pss,
    Row::PssShim,
    Row::PssContainer,
    Row::Dirty,
    Row::DirtyShim,
    Row::DirtyContainer,
    Row::Processes,
    Row::Threads,
    Row::IdleCpu,
    Row::WakeUps,
];

/// Measures the rows of the herd.
pub(crate) fn measure(run: &Run<'_>, samples: &mut Samples) {
    let Run { node, account, contenders, plan } = *run;
    if plan.herds == 0 {
        return;
    }
    let images: Vec<Image> = contenders.iter().map(|contender| contender.image("sleep")).collect();
    for (contender, image) in contenders.iter().zip(&images) {
        account.turn(samples, contender.side(), &[], || {
            // Compiles it, if that is needed.
            contender.container(node, &contender.id("warm-up", 0), image).spawn().discard();
            Vec::new()
        });
    }
    for round in 0..plan.herds {
        eprintln!("herd {} of {}", round + 1, plan.herds);
        for (contender, image) in contenders.iter().zip(&images) {
            account.turn(samples, contender.side(), &[Row::TwentyStarts], || {
                vec![(Row::TwentyStarts, milliseconds(starts(node, contender, image, round)))]
            });
        }
        for (contender, image) in contenders.iter().zip(&images) {
            account.turn(samples, contender.side(), &IDLE, || idle(node, account, contender, image, round));
        }
    }
}

/// `ctr run --detach` of twenty. It returns when Start has answered.
fn starts(node: &Node, contender: &Contender, image: &Image, round: usize) -> Duration {
    let id = |number| contender.id("start", round * SIZE + number);
    let begin = Instant::now();
    // Without stdio, because ctr closes its ends of the FIFOs when it returns.
    crowd(SIZE, AT_A_TIME, |number| ctr::run(node, contender, &["--detach", "--null-io"], image.name(), &id(number)));
    let wall = begin.elapsed();
    let running = node.ctr_ok(["tasks", "ls"]).lines().filter(|line| line.contains("RUNNING")).count();
    assert!(running == SIZE, "{running} of {SIZE} containers of {} run", contender.name);
    crowd(SIZE, AT_A_TIME, |number| {
        ctr::ctr(node, &["tasks", "rm", "--force", &id(number)]);
        ctr::ctr(node, &["containers", "rm", &id(number)]);
    });
    wall
}

/// Twenty that printed "ready" and sleep, with readers of stdout and stderr, as under Kubernetes.
fn idle(node: &Node, account: &Account<'_>, contender: &Contender, image: &Image, round: usize) -> Vec<(Row, f64)> {
    let tasks: Vec<Task<'_>> = crowd(SIZE, AT_A_TIME, |number| {
        let id = contender.id("idle", round * SIZE + number);
        let task = contender.container(node, &id, image).spawn();
        task.expect_stdout("ready");
        task
    });
    sleep(CALM);

    let members = account.members();
    let before = all_deeds(&members);
    let begin = Instant::now();
    sleep(WINDOW);
    let after = all_deeds(&members);
    let seconds = begin.elapsed().as_secs_f64();
    assert!(account.members() == members, "processes of {} came or went while idle", contender.name);

    let mut shims = Memory::default();
    let mut containers = Memory::default();
    for member in &members {
        let (pid, sum) = match *member {
            Member::Shim(pid) => (pid, &mut shims),
            Member::Container(pid) => (pid, &mut containers),
        };
        let memory = census::memory(pid);
        sum.pss += memory.pss;
        sum.dirty += memory.dirty;
    }

    let each = |sum: f64| sum / SIZE as f64;
    let busy = (after.nanoseconds - before.nanoseconds) as f64 / 1e9;
    let figures = vec![
        (Row::Pss, each(shims.pss + containers.pss)),
        (Row::PssShim, each(shims.pss)),
        (Row::PssContainer, each(containers.pss)),
        (Row::Dirty, each(shims.dirty + containers.dirty)),
        (Row::DirtyShim, each(shims.dirty)),
        (Row::DirtyContainer, each(containers.dirty)),
        (Row::Processes, each(members.len() as f64)),
        (Row::Threads, each(after.threads as f64)),
        (Row::IdleCpu, 100.0 * busy / seconds),
        (Row::WakeUps, (after.wake_ups - before.wake_ups) as f64 / seconds),
    ];
    for task in tasks {
        task.discard();
    }
    figures
}

fn all_deeds(members: &[Member]) -> Deeds {
    let mut sum = Deeds::default();
    for member in members {
        let (Member::Shim(pid) | Member::Container(pid)) = *member;
        let deeds = census::deeds(pid);
        sum.nanoseconds += deeds.nanoseconds;
        sum.wake_ups += deeds.wake_ups;
        sum.threads += deeds.threads;
    }
    sum
}
