//! The load: threads that each do one deed after the other, in a pseudo-random order that is the same in every run.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use catamaran_harness::direct::{Shim, Standing};
use catamaran_harness::{Container, Engine, Image, Node, Runtime, guests};

use crate::census::Census;
use crate::residents::Residents;

const SOON: Duration = Duration::from_secs(60);
/// Threads that go through containerd.
const CLIENTS: u64 = 3;
/// The number of containers that a shim serves before it is measured.
const WARM: u32 = 300;
/// The time between two restarts of containerd.
const RESTART: Duration = Duration::from_secs(180);

/// One client's work with one container.
#[derive(Clone, Copy, Debug)]
enum Deed {
    Hello,
    Exit,
    Trap,
    Go,
    Output,
    Unstarted,
    KilledAtOnce,
    Terminated,
    Refused,
}

const DEEDS: [Deed; 9] = [
    Deed::Hello,
    Deed::Exit,
    Deed::Trap,
    Deed::Go,
    Deed::Output,
    Deed::Unstarted,
    Deed::KilledAtOnce,
    Deed::Terminated,
    Deed::Refused,
];

/// The runtimes and engines to do a deed on.
const PLACES: [(Runtime, Engine); 3] =
    [(Runtime::Catamaran, Engine::Wasmtime), (Runtime::Catamaran, Engine::Wasmer), (Runtime::Runc, Engine::Wasmtime)];

pub(crate) struct Load<'a> {
    node: &'a Node,
    residents: &'a Residents<'a>,
    stop: AtomicBool,
    containers: AtomicU64,
    restarts: AtomicU64,
}

/// Stops the other threads when one fails, so that the run ends early.
struct Alarm<'a>(&'a AtomicBool);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.store(true, Ordering::SeqCst);
        }
    }
}

/// A pseudo-random sequence (Knuth's multiplier).
struct Chance(u64);

impl Chance {
    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        from[(self.0 >> 33) as usize % from.len()]
    }
}

/// Does each deed once in each place.
pub(crate) fn warm_up(node: &Node, residents: &Residents<'_>) {
    for place in PLACES {
        DEEDS.into_iter().for_each(|deed| act(node, "warm", deed, place));
    }
    // An allocator reaches its full size only after some hundreds of containers, and then keeps it.
    for shim in &residents.direct {
        (0..WARM).for_each(|_| serve(shim));
    }
    residents.speak("warm");
}

impl<'a> Load<'a> {
    pub(crate) fn new(node: &'a Node, residents: &'a Residents<'a>) -> Self {
        let (containers, restarts) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { node, residents, stop: AtomicBool::new(false), containers, restarts }
    }

    /// Runs until `end`, and returns the result of `sample` for every `period`.
    pub(crate) fn run(&self, end: Instant, sample: impl Fn() -> Census, period: Duration) -> Vec<Census> {
        let samples = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for number in 0..CLIENTS {
                scope.spawn(move || self.client(number));
            }
            for shim in &self.residents.direct {
                scope.spawn(move || {
                    let _alarm = Alarm(&self.stop);
                    while !self.over() {
                        serve(shim);
                        self.containers.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            scope.spawn(|| self.visits());
            let _alarm = Alarm(&self.stop);
            while Instant::now() < end && !self.over() {
                std::thread::sleep(period.min(end.saturating_duration_since(Instant::now())));
                samples.lock().unwrap().push(sample());
            }
            self.stop.store(true, Ordering::SeqCst);
        });
        samples.into_inner().unwrap()
    }

    fn over(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    fn client(&self, number: u64) {
        let _alarm = Alarm(&self.stop);
        let mut chance = Chance(number + 1);
        while !self.over() {
            let _call = self.residents.call();
            act(self.node, &format!("client-{number}"), chance.pick(&DEEDS), chance.pick(&PLACES));
            self.containers.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Writes to the residents, and restarts containerd.
    fn visits(&self) {
        let _alarm = Alarm(&self.stop);
        let mut restarted = Instant::now();
        let mut words = 0;
        while !self.over() {
            words += 1;
            {
                let _call = self.residents.call();
                self.residents.speak(&format!("word {words}"));
            }
            if restarted.elapsed() >= RESTART {
                self.residents.restart_containerd();
                self.restarts.fetch_add(1, Ordering::Relaxed);
                restarted = Instant::now();
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// A summary of the work done.
    pub(crate) fn done(&self) -> String {
        let count = |number: &AtomicU64| number.load(Ordering::Relaxed);
        format!("{} containers, {} restarts of containerd meanwhile", count(&self.containers), count(&self.restarts))
    }
}

/// Runs one more container of a long-lived shim, from its creation to its deletion.
fn serve(shim: &Shim<'_>) {
    let case = shim.case();
    case.bring(Standing::Deleted);
    case.discard();
}

fn act(node: &Node, id: &str, deed: Deed, (runtime, engine): (Runtime, Engine)) {
    let order = |image: &Image| node.container(id).runtime(runtime).engine(engine).image(image).limit(SOON);
    let guest = |name: &str| order(&guests::image(runtime, name));
    let code = |order: Container<'_>, code: i32| {
        let output = order.run();
        assert_eq!(output.code, code, "{deed:?} on {runtime:?}, {}: {output:?}", engine.name());
        output.stdout
    };
    match deed {
        Deed::Hello => assert_eq!(code(guest("hello"), 0), guests::greeting(runtime)),
        Deed::Exit => drop(code(guest("exit").args(["/exit", "7"]), 7)),
        // Under runc the program is the first process of its pid namespace, where abort(3) ends in SIGSEGV.
        Deed::Trap => drop(code(guest("trap"), if runtime == Runtime::Runc { 139 } else { 134 })),
        // The Go program has no native form here, so runc runs hello instead.
        Deed::Go if runtime == Runtime::Runc => drop(code(guest("hello"), 0)),
        Deed::Go => drop(code(order(&guests::kitchen()).args(["/kitchen.wasm", "exit", "3"]), 3)),
        Deed::Output => {
            let task = guest("cat").stdin(&"all work and no play\n".repeat(20_000)).spawn();
            assert_eq!(task.wait(SOON).code, 0);
            assert_eq!(task.delete().stdout.len(), 21 * 20_000);
        }
        Deed::Unstarted => drop(guest("sleep").create().delete()),
        Deed::KilledAtOnce => drop(guest("spin").spawn().discard()),
        Deed::Terminated => {
            let task = guest("sleep").spawn();
            task.expect_stdout("ready\n");
            task.kill("TERM");
            assert_eq!(task.wait(SOON).code, 143);
            task.delete();
        }
        Deed::Refused => {
            let refused = guest("hello").args(["/there-is-no-such-file"]).try_create();
            assert!(refused.is_err() || runtime == Runtime::Runc, "created without a file");
            refused.into_iter().for_each(|task| drop(task.discard()));
        }
    }
}
