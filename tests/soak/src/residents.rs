//! The residents: containers of both engines and of runc that stay for the whole run, and shims that serve one container after the other.

use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use catamaran_harness::direct::Shim;
use catamaran_harness::{Engine, Node, Runtime, State, Task, guests};

pub(crate) struct Residents<'n> {
    node: &'n Node,
    sleeping: Vec<Task<'n>>,
    /// Containers that echo what the test writes to them.
    speaking: Vec<Task<'n>>,
    /// Shims without containerd, which would end each with its last container.
    pub(crate) direct: Vec<Shim<'n>>,
    /// Held by every caller of containerd, so that containerd is restarted only between calls: an interrupted call fails on any runtime.
    calls: RwLock<()>,
}

impl<'n> Residents<'n> {
    pub(crate) fn start(node: &'n Node) -> Self {
        let on = |runtime, name: &str, number: usize| {
            node.container(&format!("{name}-{number}")).runtime(runtime).image(&guests::image(runtime, name))
        };
        let mut sleeping = vec![on(Runtime::Runc, "sleep", 0).spawn()];
        let mut speaking = vec![on(Runtime::Runc, "cat", 0).hold_stdin().spawn()];
        let mut direct = Vec::new();
        for (number, engine) in Engine::ALL.into_iter().enumerate() {
            sleeping.push(on(Runtime::Catamaran, "sleep", 2 * number + 1).engine(engine).spawn());
            sleeping.push(on(Runtime::Catamaran, "sleep", 2 * number + 2).engine(engine).spawn());
            speaking.push(on(Runtime::Catamaran, "cat", number + 1).engine(engine).hold_stdin().spawn());
            direct.push(Shim::start(node, Runtime::Catamaran, engine));
        }
        sleeping.iter().for_each(|task| task.expect_stdout("ready\n"));
        Self { node, sleeping, speaking, direct, calls: RwLock::new(()) }
    }

    /// Permission to call containerd.
    pub(crate) fn call(&self) -> RwLockReadGuard<'_, ()> {
        self.calls.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Kills and restarts containerd while no call runs; all residents must survive.
    pub(crate) fn restart_containerd(&self) {
        let _alone = self.calls.write().unwrap_or_else(PoisonError::into_inner);
        self.node.kill_containerd();
        self.node.restart_containerd();
        for task in self.sleeping.iter().chain(&self.speaking) {
            assert_eq!(task.state(), State::Running, "{} after containerd's restart", task.id());
        }
    }

    /// Makes each of them echo a word.
    pub(crate) fn speak(&self, word: &str) {
        for task in &self.speaking {
            task.write(&format!("{word}\n"));
            task.expect_stdout(word);
        }
    }

    /// The pids of our shims among the residents' shims.
    pub(crate) fn shims(&self) -> Vec<u32> {
        let ours = self.sleeping.iter().chain(&self.speaking).filter(|task| !task.id().ends_with("-0"));
        ours.filter_map(|task| parent(task.pid())).chain(self.direct.iter().map(|shim| shim.pid)).collect()
    }

    pub(crate) fn end(self) {
        self.sleeping.into_iter().chain(self.speaking).for_each(|task| drop(task.discard()));
        self.direct.into_iter().for_each(Shim::end);
    }
}

fn parent(pid: u32) -> Option<u32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    text.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}
