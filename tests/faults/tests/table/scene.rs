//! The scene of the deaths: a node with a neighbour that must stay untouched, a pod, and a single container.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use catamaran_harness::procfs::{self, runs};
use catamaran_harness::{Code, Container, Events, Image, Node, Runtime, State, Status, Task, guests};
use catamaran_integration::http::{self, Client};

use crate::cells::{Guest, Who};

pub(crate) const SOON: Duration = Duration::from_secs(20);
/// The ids of a pod, of its second container, and of a single container.
pub(crate) const POD: &str = "pod";
pub(crate) const MEMBER: &str = "member";
pub(crate) const SOLO: &str = "solo";

pub(crate) struct Scene<'n> {
    pub(crate) node: &'n Node,
    neighbour: Task<'n>,
    /// None in the rows that kill containerd, because that ends the listener.
    events: Option<Events>,
    pub(crate) pod: Option<Task<'n>>,
    /// Whether the pod's second container is a native one.
    native: bool,
    /// The program of that container if it is not native, and of the single container.
    guest: Guest,
    /// The lines of [`Node::leftovers`] that belong to the neighbour and the pod.
    expected: BTreeSet<String>,
}

pub(crate) fn sleeping() -> Image {
    guests::image(Runtime::Catamaran, "sleep")
}

impl<'n> Scene<'n> {
    pub(crate) fn new(node: &'n Node, who: Who, guest: Guest) -> Self {
        let neighbour = node.container("neighbour").image(&sleeping()).spawn();
        neighbour.expect_stdout("ready\n");
        let events = (who != Who::Containerd).then(|| node.events());
        let expected = node.leftovers().into_iter().collect();
        Self { node, neighbour, events, pod: None, native: who.is_native(), guest, expected }
    }

    /// A container that prints "ready" and sleeps, or answers requests.
    pub(crate) fn order(&self, id: &str) -> Container<'n> {
        let order = self.node.container(id).limit(SOON);
        let order = match id {
            MEMBER if self.native => order.image(&guests::image(Runtime::Runc, "sleep")),
            _ if self.serves(id) => order.image(&http::image("server")),
            _ => order.image(&sleeping()),
        };
        if id == MEMBER { order.in_pod(POD) } else { order }
    }

    /// Whether the container of this id is a server.
    fn serves(&self, id: &str) -> bool {
        self.guest == Guest::Server && [MEMBER, SOLO].contains(&id)
    }

    /// Whether the task's guest has begun: a server answers, another guest has printed "ready". False if the worker is gone.
    pub(crate) fn has_begun(&self, task: &Task<'_>) -> bool {
        if !self.serves(task.id()) {
            return task.stdout().contains("ready\n");
        }
        let answered = task.try_within(|| {
            let mut client = asked("/hello")?;
            client.try_answer()
        });
        answered.is_some_and(|answer| answer.is_ok_and(|answer| answer.status == 200))
    }

    pub(crate) fn expect_begun(&self, task: &Task<'_>) {
        soon("the guest to begin", || self.has_begun(task));
    }

    /// A server's request that takes this long; None if the task is no server.
    pub(crate) fn request(&self, task: &Task<'_>, time: Duration) -> Option<Client> {
        let path = format!("/sleep?{}", time.as_millis());
        self.serves(task.id())
            .then(|| task.within(|| asked(&path).expect("a server that has answered does not listen")))
    }

    /// Makes the pod if there is none, and returns the pid of its first container.
    pub(crate) fn need_pod(&mut self) -> u32 {
        if self.pod.is_none() {
            let pod = self.order(POD).spawn();
            pod.expect_stdout("ready\n");
            self.pod = Some(pod);
            self.expected = self.node.leftovers().into_iter().collect();
        }
        self.pod.as_ref().map_or(0, Task::pid)
    }

    /// The number of exits of this container's task that containerd reported.
    pub(crate) fn exits(&self, id: &str) -> usize {
        let Some(events) = &self.events else { return 0 };
        events.settle();
        events.of(id).iter().filter(|topic| *topic == "exit").count()
    }

    /// Waits, after the death of the pod's shim, until containerd forgets the pod.
    pub(crate) fn bury_pod(&mut self) {
        let Some(pod) = self.pod.take() else { return };
        soon("containerd to forget the pod", || pod.try_state().is_err());
        soon("the pod's container to end", || !runs(pod.pid()));
        pod.remove_container();
        self.forget_pod();
    }

    fn forget_pod(&mut self) {
        let of_neighbour = |line: &String| !line.contains(&format!("/{POD}")) && !line.ends_with(&format!(" {POD}"));
        self.expected.retain(of_neighbour);
        // A process's line does not name its container: keep those of the neighbour and its shim.
        let neighbour = self.neighbour.pid();
        let shim = procfs::parent(neighbour);
        let own = [format!("process {neighbour}:"), format!("process {shim}:")];
        self.expected.retain(|line| !line.starts_with("process ") || own.iter().any(|own| line.starts_with(own)));
    }

    /// Removes what is left of a trial's container by containerd's own calls, each of which may find nothing.
    pub(crate) fn dismiss(&self, task: Task<'n>, shim_lives: bool) {
        let gone = |status: &Status| matches!(status.code, Code::NotFound | Code::FailedPrecondition);
        let check = |what: &str, answer: Result<(), Status>| {
            if let Err(status) = answer {
                assert!(!shim_lives || gone(&status), "{what} {}: {status}", task.id());
            }
        };
        check("kill", task.try_kill(9, true));
        check("wait for", task.try_wait(SOON).map(drop));
        check("delete", task.try_delete().map(drop));
        task.remove_container();
    }

    /// Checks everything that a death must leave unchanged.
    pub(crate) fn check(&self) {
        let begin = Instant::now();
        loop {
            let left: Vec<String> =
                self.node.leftovers().into_iter().filter(|line| !self.expected.contains(line)).collect();
            if left.is_empty() {
                break;
            }
            assert!(begin.elapsed() < SOON, "left behind: {}", left.join("; "));
            std::thread::sleep(Duration::from_millis(50));
        }
        for task in self.pod.iter().chain([&self.neighbour]) {
            let state = task.try_state();
            assert!(state == Ok(State::Running) && runs(task.pid()), "the other container {}: {state:?}", task.id());
        }
    }

    /// Checks that the ids are free: new containers of these ids run and end.
    pub(crate) fn use_again(&mut self) {
        self.need_pod();
        for id in [MEMBER, SOLO] {
            let task = self.order(id).spawn();
            self.expect_begun(&task);
            let output = task.discard();
            assert!(output.code == 137, "{id} again: {output:?}");
        }
        // Compiles another module, which also removes what killed processes have left.
        self.empty_cache();
        let other = self.node.container("other").image(&guests::image(Runtime::Catamaran, "hello")).create();
        other.discard();
        let rubbish = self.rubbish();
        assert!(rubbish.is_empty(), "left in the cache: {rubbish:?}");
    }

    /// Removes a bundle's hidden folder, as an administrator must on any runtime: a containerd that is killed while it removes a bundle
    /// leaves this folder for ever, and then cannot remove a later bundle of that id.
    pub(crate) fn finish_for_containerd(&self, id: &str) {
        let hidden = self.node.bundle(&format!(".{id}"));
        if hidden.exists() {
            fs::remove_dir_all(hidden).expect("cannot remove what containerd has left");
        }
    }

    /// Creates a container and deletes it.
    pub(crate) fn use_briefly(&self, id: &str) {
        self.order(id).create().discard();
    }

    /// Forgets all machine code, so that the next Create compiles.
    pub(crate) fn empty_cache(&self) {
        self.node.await_compiles();
        let cache = self.node.catamaran_root().join("cache");
        if cache.exists() {
            fs::remove_dir_all(cache).expect("cannot empty the cache");
        }
    }

    /// Files that compiling processes leave only if they are killed: unfinished files, locks, tickets.
    fn rubbish(&self) -> Vec<PathBuf> {
        let root = self.node.catamaran_root();
        let files = |folder: PathBuf| fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
        let entries = files(root.join("cache")).flat_map(files);
        let new =
            entries.filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("new-")));
        let tickets = files(root.join("slots")).flat_map(|lane| files(lane.join("queue")));
        new.chain(files(root.join("locks"))).chain(tickets).collect()
    }

    /// Ends a scene in which all was clean.
    pub(crate) fn end(self) {
        for task in self.pod.into_iter().chain([self.neighbour]) {
            task.discard();
        }
    }
}

/// Asks the server of this network namespace, and does not wait for the answer.
fn asked(path: &str) -> io::Result<Client> {
    let mut client = Client::try_connect((Ipv4Addr::LOCALHOST, http::PORT).into())?;
    client.try_send(format!("GET {path} HTTP/1.1\r\nhost: pod\r\n\r\n"))?;
    Ok(client)
}

/// Waits for a condition that must come true soon.
pub(crate) fn soon(what: &str, mut is: impl FnMut() -> bool) {
    catamaran_harness::wait_until(SOON, what, || is().then_some(()));
}
