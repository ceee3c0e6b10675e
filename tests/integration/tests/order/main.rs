//! Calls of the task API in every order, and concurrently, sent to the shim itself.
//!
//! ```text
//! one after the other:  ours  ==  runc's shim, except for listed differences       (answer by answer, and the state after)
//! concurrently:         ours  ==  ours, one after the other, in some order         (no call is seen half done)
//! ```

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

mod listed;

use std::collections::BTreeMap;
use std::sync::Barrier;

use catamaran_harness::direct::{Answer, Call, Case, Shim, Standing};
use catamaran_harness::{Engine, Node, Runtime};
use containerd_shim_protos::ttrpc::Code;

use listed::is_listed;

/// runc sometimes fails to delete a created container while the machine is busy; our shim must give runc's answer at the first try.
const TRIES: usize = 3;

/// The outcome of some calls: an answer each, and the container's state after them.
type Outcome = (Vec<Answer>, Standing);

/// Makes the calls one after the other, each when the effects of the one before are over.
fn in_order(case: Case<'_>, from: Standing, calls: &[Call]) -> Outcome {
    case.bring(from);
    let answers = calls.iter().map(|&call| case.settled(call)).collect();
    let outcome = (answers, case.standing());
    case.discard();
    outcome
}

fn at_once(case: Case<'_>, from: Standing, calls: &[Call]) -> Outcome {
    case.bring(from);
    let ready = Barrier::new(calls.len());
    let answers: Vec<Answer> = std::thread::scope(|scope| {
        let send = |call| {
            let (case, ready) = (&case, &ready);
            scope.spawn(move || {
                ready.wait();
                case.call(call)
            })
        };
        let sent: Vec<_> = calls.iter().map(|&call| send(call)).collect();
        sent.into_iter().map(|answer| answer.join().unwrap()).collect()
    });
    let done: Vec<Call> =
        calls.iter().zip(&answers).filter(|(_, answer)| **answer == Answer::Done).map(|(call, _)| *call).collect();
    case.settle(&done);
    let outcome = (answers, case.standing());
    case.discard();
    outcome
}

/// Whether the answers and the state after are the same, except for listed differences.
fn agree(calls: &[Call], own: &Outcome, other: &Outcome) -> bool {
    let same = |(&call, (&own, &other))| own == other || is_listed(call, own, other);
    own.1 == other.1 && calls.iter().zip(own.0.iter().zip(&other.0)).all(same)
}

/// Records a complaint for each of our shim's answers that differs from runc's.
fn compare(ours: &Shim<'_>, theirs: &Shim<'_>, from: Standing, calls: &[Call], complaints: &mut Vec<String>) {
    let own = in_order(ours.case(), from, calls);
    let mut others = Vec::new();
    for _ in 0..TRIES {
        let other = in_order(theirs.case(), from, calls);
        if agree(calls, &own, &other) {
            return;
        }
        others.push(other);
    }
    complaints.push(format!("{from:?} {calls:?}: {own:?}, on runc's shim {others:?}"));
}

fn compare_all(engine: Engine, sequences: impl IntoIterator<Item = Vec<Call>>) {
    compare_on(|node| Shim::start(node, Runtime::Catamaran, engine), engine, sequences);
}

fn compare_on(ours: impl FnOnce(&Node) -> Shim<'_>, engine: Engine, sequences: impl IntoIterator<Item = Vec<Call>>) {
    let node = Node::start();
    let ours = ours(&node);
    let theirs = Shim::start(&node, Runtime::Runc, engine);
    let mut complaints = Vec::new();
    for calls in sequences {
        for from in Standing::ALL {
            compare(&ours, &theirs, from, &calls, &mut complaints);
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    ours.end();
    theirs.end();
    node.finish();
}

/// All orders of a number of calls, as their indices.
fn orders(size: usize) -> Vec<Vec<usize>> {
    let mut all = vec![Vec::new()];
    for _ in 0..size {
        let longer = |order: Vec<usize>| {
            let free: Vec<usize> = (0..size).filter(|number| !order.contains(number)).collect();
            free.into_iter().map(move |number| order.iter().copied().chain([number]).collect())
        };
        all = all.into_iter().flat_map(longer).collect();
    }
    all
}

/// Whether an answer to a concurrent call may stand for its answer between some others: true for calls that last, or whose effect shows
/// later.
fn may_stand_for(call: Call, answer: Answer, other: Answer) -> bool {
    let gone = Answer::Refused(Code::NOT_FOUND);
    answer == other
        || match call {
            // A signal reaches a process that another call is just ending.
            Call::Term | Call::Kill => answer == Answer::Done && other == gone,
            // Start is refused from the beginning of a deletion, and unknown from its end.
            Call::Start => answer == Answer::Refused(Code::FAILED_PRECONDITION) && other == gone,
            // Wait goes on while the others are answered.
            Call::Wait => answer == Answer::Done && [Answer::Waits, gone].contains(&other),
            _ => false,
        }
}

/// Outcomes that no order has, but that are right.
fn is_meant(calls: &[Call], (answers, end): &Outcome) -> bool {
    // A Delete during a Create: the client gave up waiting, and the shim undoes the creation.
    let undone = |(call, answer): (&Call, &Answer)| {
        !matches!(call, Call::Create | Call::Delete) || *answer == Answer::Refused(Code::NOT_FOUND) || {
            *call == Call::Create && *answer == Answer::Refused(Code::ALREADY_EXISTS)
        }
    };
    *end == Standing::None
        && [Call::Create, Call::Delete].iter().all(|call| calls.contains(call))
        && calls.iter().zip(answers).all(undone)
}

/// Checks that concurrent calls have the outcome of some order.
fn all_at_once(engine: Engine, sets: &[Vec<Call>]) {
    let node = Node::start();
    let shim = Shim::start(&node, Runtime::Catamaran, engine);
    let mut known: BTreeMap<(Standing, Vec<Call>), Outcome> = BTreeMap::new();
    let mut complaints = Vec::new();
    for calls in sets {
        for from in Standing::ALL {
            let outcome = at_once(shim.case(), from, calls);
            let alive = matches!(outcome.1, Standing::Created | Standing::Running | Standing::Paused);
            let ended = calls.iter().zip(&outcome.0).any(|pair| pair == (&Call::Wait, &Answer::Done));
            let mut fits = |order: Vec<usize>| {
                let sequence: Vec<Call> = order.iter().map(|&number| calls[number]).collect();
                let place = known.entry((from, sequence.clone()));
                let (answers, end) = place.or_insert_with(|| in_order(shim.case(), from, &sequence));
                let mut pairs = order.iter().zip(answers.iter());
                *end == outcome.1 && pairs.all(|(&n, &other)| may_stand_for(calls[n], outcome.0[n], other))
            };
            let some = orders(calls.len()).into_iter().any(&mut fits) || is_meant(calls, &outcome);
            if !some || alive && ended {
                complaints.push(format!("{from:?} {calls:?} at once: {outcome:?}, as in no order"));
            }
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    shim.end();
    node.finish();
}

/// Two and three of each call, and every pair of different calls.
fn sets(of: &[Call]) -> Vec<Vec<Call>> {
    let mut all: Vec<Vec<Call>> = of.iter().flat_map(|&call| [vec![call; 2], vec![call; 3]]).collect();
    for (number, &one) in of.iter().enumerate() {
        all.extend(of[number + 1..].iter().map(|&other| vec![one, other]));
    }
    all
}

#[test]
fn each_call_twice_in_each_state_is_answered_as_by_runcs_shim() {
    compare_all(Engine::Wasmtime, Call::ALL.map(|call| vec![call; 2]));
}

#[test]
fn each_call_twice_to_a_native_container_is_answered_as_by_runcs_shim() {
    // Whether a task is paused, and with which code other calls are refused then, concerns the whole shim.
    let own = |call: &Call| ![Call::Pause, Call::Exec, Call::ResizePty].contains(call);
    let calls = Call::ALL.into_iter().filter(own).map(|call| vec![call; 2]);
    compare_on(|node| Shim::start_native(node), Engine::Wasmtime, calls);
}

#[test]
fn two_concurrent_calls_are_linearizable() {
    all_at_once(
        Engine::Wasmtime,
        &sets(&[Call::Create, Call::Start, Call::Kill, Call::Wait, Call::Pause, Call::Resume, Call::Delete]),
    );
}

/// Both once happened, and listeners to events got the start.
#[test]
fn a_start_or_a_second_delete_during_a_delete_was_answered_as_done() {
    let node = Node::start();
    let shim = Shim::start(&node, Runtime::Catamaran, Engine::Wasmtime);
    for from in [Standing::Created, Standing::Stopped] {
        for calls in [[Call::Delete, Call::Start], [Call::Start, Call::Delete], [Call::Delete, Call::Delete]] {
            for _ in 0..10 {
                let (answers, _) = at_once(shim.case(), from, &calls);
                let done = answers.iter().filter(|answer| **answer == Answer::Done).count();
                assert_eq!(done, 1, "{from:?} {calls:?}: {answers:?}");
            }
        }
    }
    shim.end();
    node.finish();
}

/// All pairs in all states on three shims, which takes minutes.
#[test]
#[ignore = "minutes: make soak"]
fn every_two_calls_are_answered_as_by_runcs_shim() {
    for engine in Engine::ALL {
        let second = |one| Call::OF_LIFE.into_iter().map(move |other| vec![one, other]);
        compare_all(engine, Call::OF_LIFE.into_iter().flat_map(second));
    }
    let second = |one| Call::OF_LIFE.into_iter().map(move |other| vec![one, other]);
    compare_on(|node| Shim::start_native(node), Engine::Wasmtime, Call::OF_LIFE.into_iter().flat_map(second));
}

#[test]
#[ignore = "minutes: make soak"]
fn three_concurrent_calls_are_linearizable() {
    let of = Call::OF_LIFE;
    let mut all = sets(&of);
    for (one, &first) in of.iter().enumerate() {
        for (two, &second) in of.iter().enumerate().skip(one + 1) {
            all.extend(of[two + 1..].iter().map(|&third| vec![first, second, third]));
        }
    }
    for engine in Engine::ALL {
        all_at_once(engine, &all);
    }
}
