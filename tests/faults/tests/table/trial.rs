//! One death: a step of a container's life, a process killed in it, and the checks afterwards.

use std::time::{Duration, Instant};

use catamaran_harness::procfs::{self, runs};
use catamaran_harness::{Task, kill9};
use catamaran_integration::http::Client;

use crate::cells::{Step, Who};
use crate::scene::{MEMBER, POD, SOLO, SOON, Scene, soon};
use crate::tracer::{Role, Tracer};

/// The length of a server's request under way when it gets its stop signal.
const SHORT: Duration = Duration::from_millis(300);

/// The place in the step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    /// Without a victim, to measure the length of the step.
    Never,
    /// At the victim's system call of this number.
    Call(usize),
    /// This long after the call was made.
    Time(Duration),
    /// The step has no length.
    Once,
}

/// The result of a trial.
pub(crate) struct Died {
    /// Whether the victim was killed.
    pub(crate) killed: bool,
    /// The last place in the step.
    pub(crate) length: At,
    /// A description of the place.
    pub(crate) place: String,
}

/// Kills the victim at the place.
///
/// # Panics
/// When anything is not as it must be.
pub(crate) fn die(scene: &mut Scene<'_>, who: Who, step: Step, at: At) -> Died {
    match who {
        Who::Starter | Who::Server => starting(scene, who, at),
        Who::Containerd => containerd(scene, step, at),
        _ => followed(scene, who, step, at),
    }
}

/// Kills the start program that containerd runs, or the server that it forks.
fn starting(scene: &Scene<'_>, who: Who, at: At) -> Died {
    let role = if who == Who::Starter { Role::Starter } else { Role::Server };
    let victim = match at {
        At::Call(number) => Some((role, number)),
        _ => None,
    };
    let order = scene.order(SOLO);
    order.record();
    let tracer = Tracer::follow(scene.node.containerd_pid(), victim);
    let created = order.try_create_again();
    let seen = tracer.end();
    let killed = seen.killed_at.is_some();
    if let Ok(task) = created {
        scene.dismiss(task, !killed);
    }
    // containerd forgets a failed start, and calls no `delete`: the next start of any container cleans up.
    scene.use_briefly("other");
    scene.check();
    let length = At::Call(seen.calls.get(&role).copied().unwrap_or(0));
    Died { killed, length, place: seen.killed_at.unwrap_or_default() }
}

/// Kills a process that a shim starts, or a shim.
fn followed(scene: &mut Scene<'_>, who: Who, step: Step, at: At) -> Died {
    let (id, role) = match who {
        Who::Alone => (SOLO, Role::Root),
        Who::Intermediate => (MEMBER, Role::Intermediate),
        Who::Search => (MEMBER, Role::Search),
        Who::Driver => (MEMBER, Role::Driver),
        Who::Compile => (MEMBER, Role::Compile),
        Who::Runc => (MEMBER, Role::Runc),
        Who::Worker if step == Step::Create => (MEMBER, Role::Worker),
        _ => (MEMBER, Role::Root),
    };
    let pod = scene.need_pod();
    if matches!(who, Who::Driver | Who::Compile) {
        scene.empty_cache();
    }
    let before = (scene.exits(POD), scene.exits(id));
    let (prepared, shim, _request) = match step {
        Step::Create => (None, procfs::parent(pod), None),
        _ => {
            let Prepared { task, shim, request } = prepare(scene, id, step);
            (Some(task), shim, request)
        }
    };
    let root = match (&prepared, who) {
        (Some(task), Who::Worker | Who::Native) => task.pid(),
        _ => shim,
    };
    let victim = match at {
        At::Call(number) => Some((role, number)),
        _ => None,
    };
    let mut place = None;
    let mut length = At::Once;
    let task = if at == At::Once {
        kill9(root);
        place = Some("at once".to_owned());
        go(scene, prepared, id, step, root)
    } else {
        let tracer = Tracer::follow(root, victim);
        let task = go(scene, prepared, id, step, root);
        let seen = tracer.end();
        place = place.or(seen.killed_at);
        length = At::Call(seen.calls.get(&role).copied().unwrap_or(0));
        task
    };
    let shim_dead = place.is_some() && (who.is_pods_shim() || who == Who::Alone);
    let created = task.is_some();
    if shim_dead {
        soon("the shim to end", || !runs(shim));
    }
    if shim_dead && who.is_pods_shim() {
        scene.bury_pod();
    }
    if let Some(task) = task {
        scene.dismiss(task, !shim_dead);
    }
    scene.check();
    let exits = (scene.exits(POD) - before.0, scene.exits(id) - before.1);
    // For a pod containerd reports the first container alone, and repeats an exit that a shim reported before it was killed.
    let expected = match (who, created) {
        (who, _) if shim_dead && who.is_pods_shim() => (1..=1, 0..=1),
        (Who::Alone, _) if shim_dead => (0..=0, 1..=2),
        (_, true) => (0..=0, 1..=1),
        (_, false) => (0..=0, 0..=0),
    };
    assert!(
        expected.0.contains(&exits.0) && expected.1.contains(&exits.1),
        "reported exits: {} of the pod, {} of {id}; expected {expected:?}",
        exits.0,
        exits.1
    );
    Died { killed: place.is_some(), length, place: place.unwrap_or_default() }
}

/// A container just before the step.
struct Prepared<'n> {
    task: Task<'n>,
    shim: u32,
    /// A server's request under way.
    request: Option<Client>,
}

fn prepare<'n>(scene: &Scene<'n>, id: &str, step: Step) -> Prepared<'n> {
    let task = scene.order(id).create();
    let shim = procfs::parent(task.pid());
    if matches!(step, Step::Running | Step::Stop | Step::Kill | Step::Delete) {
        task.start();
        scene.expect_begun(&task);
    }
    let request = match step {
        Step::Stop => scene.request(&task, SHORT),
        Step::Running | Step::Kill => scene.request(&task, 2 * SOON),
        _ => None,
    };
    if step == Step::Delete {
        task.kill("KILL");
        task.wait(SOON);
    }
    Prepared { task, shim, request }
}

/// Runs the step itself, whose answer may be anything.
fn go<'n>(scene: &Scene<'n>, task: Option<Task<'n>>, id: &str, step: Step, root: u32) -> Option<Task<'n>> {
    let Some(task) = task else { return scene.order(id).try_create().ok() };
    match step {
        Step::Start => {
            if task.try_start().is_ok() {
                soon("the guest to begin", || scene.has_begun(&task) || !runs(root));
            }
        }
        Step::Stop => {
            let _ = task.try_kill(15, false);
            let _ = task.try_wait(SOON);
        }
        Step::Kill => {
            let _ = task.try_kill(9, true);
            let _ = task.try_wait(SOON);
        }
        Step::Delete => drop(task.try_delete()),
        Step::Bootstrap | Step::Create | Step::Created | Step::Running => {}
    }
    Some(task)
}

/// Kills containerd, and restarts it.
fn containerd(scene: &Scene<'_>, step: Step, at: At) -> Died {
    let node = scene.node;
    let order = scene.order(SOLO).keep();
    let prepared = (step != Step::Create).then(|| prepare(scene, SOLO, step));
    let (prepared, _request) = prepared.map(|prepared| (prepared.task, prepared.request)).unzip();
    let worker = prepared.as_ref().map(Task::pid);
    if prepared.is_none() {
        order.record();
    }
    let begin = Instant::now();
    let (task, length) = std::thread::scope(|scope| {
        let killer = scope.spawn(|| match at {
            At::Never => {}
            At::Time(delay) => {
                std::thread::sleep(delay);
                node.kill_containerd();
            }
            At::Once | At::Call(_) => node.kill_containerd(),
        });
        let task = match prepared {
            None => order.try_create_again().ok(),
            Some(task) if at == At::Once => Some(task),
            Some(task) => go(scene, Some(task), SOLO, step, worker.unwrap_or(0)),
        };
        let length = begin.elapsed();
        killer.join().unwrap();
        (task, length)
    });
    if at != At::Never {
        scene.finish_for_containerd(SOLO);
        node.restart_containerd();
    }
    after_restart(scene, step, worker, task);
    scene.check();
    Died { killed: at != At::Never, length: At::Time(length), place: format!("{at:?}") }
}

fn after_restart(scene: &Scene<'_>, step: Step, worker: Option<u32>, task: Option<Task<'_>>) {
    let Some(task) = task else {
        // The client does not know whether the container was created. Like a kubelet, it removes whatever exists under the name.
        for words in [["tasks", "delete", "-f", SOLO].as_slice(), &["containers", "rm", SOLO]] {
            scene.node.ctr(words);
        }
        return;
    };
    if step == Step::Running {
        assert!(worker.is_some_and(runs), "it did not go on");
        let events = scene.node.events();
        task.kill("KILL");
        assert_eq!(task.wait(SOON).code, 137);
        events.expect(SOLO, &["exit"]);
    }
    if step == Step::Created {
        task.start();
        scene.expect_begun(&task);
    }
    scene.dismiss(task, true);
}
