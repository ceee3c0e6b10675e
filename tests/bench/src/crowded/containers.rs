//! Hundreds of `ctr`'s containers, each with a shim of its own.

use std::time::{Duration, Instant};

use catamaran_harness::Node;

use super::{Figures, ROWS, again, containerd, idle, starts};
use crate::account::{Account, Member};
use crate::contender::Contender;
use crate::crowd::crowd;
use crate::ctr;
use crate::rows::{Crowded, Row};
use crate::run::Run;
use crate::samples::Samples;

const AT_A_TIME: usize = 8;

/// Measures the rows of the crowd of containers.
pub(crate) fn measure(run: &Run<'_>, samples: &mut Samples) {
    let Run { node, account, contenders, plan } = *run;
    if plan.crowd == 0 {
        return;
    }
    for contender in contenders {
        eprintln!("{} containers: {}", plan.crowd, contender.name);
        account.turn(samples, contender.side(), &ROWS.map(Row::Containers), || {
            let figures = one(node, account, contender, plan.crowd);
            figures.into_iter().map(|(figure, value)| (Row::Containers(figure), value)).collect()
        });
    }
}

fn one(node: &Node, account: &Account<'_>, contender: &Contender, size: usize) -> Figures {
    let (sleeper, hello) = (contender.image("sleep"), contender.image("hello"));
    for image in [&sleeper, &hello] {
        // Compiles it, if that is needed.
        contender.container(node, &contender.id("crowd-warm-up", 0), image).spawn().discard();
    }
    account.settle();
    let mut figures = Figures::new();
    let more = |figure: Crowded, figures: &mut Figures| {
        again(figure, figures, |number| {
            let id = contender.id(&format!("crowd-{figure:?}"), number);
            ctr::run(node, contender, &["--rm"], hello.name(), &id).1
        });
    };
    more(Crowded::OneBefore, &mut figures);
    account.settle();
    let before = containerd(node);

    let id = |number| contender.id("crowd", number);
    let begin = Instant::now();
    let durations: Vec<Duration> = crowd(size, AT_A_TIME, |number| {
        // Without stdio, because ctr closes its ends of the FIFOs when it returns.
        ctr::run(node, contender, &["--detach", "--null-io"], sleeper.name(), &id(number)).1
    });
    starts(&durations, begin.elapsed(), &mut figures);
    let members = account.members().into_iter();
    let processes: Vec<u32> = members.map(|(Member::Shim(pid) | Member::Container(pid))| pid).collect();
    idle(&processes, size, &mut figures);
    again(Crowded::List, &mut figures, |_| listed(node, contender, size));
    more(Crowded::OneMore, &mut figures);
    figures.push((Crowded::Containerd, containerd(node) - before));

    let begin = Instant::now();
    crowd(size, AT_A_TIME, |number| {
        ctr::ctr(node, &["tasks", "rm", "--force", &id(number)]);
        ctr::ctr(node, &["containers", "rm", &id(number)]);
    });
    figures.push((Crowded::Deletes, begin.elapsed().as_secs_f64() * 1e3 / size as f64));
    account.settle();
    more(Crowded::OneAfter, &mut figures);
    figures.push((Crowded::ContainerdAfter, containerd(node) - before));
    figures
}

/// `ctr tasks ls`, for which containerd asks every shim.
fn listed(node: &Node, contender: &Contender, size: usize) -> Duration {
    let (text, duration) = ctr::ctr(node, &["tasks", "ls"]);
    let running = text.lines().filter(|line| line.contains("RUNNING")).count();
    assert!(running == size, "{running} of {size} containers of {} run", contender.name);
    duration
}
