//! Figures of first starts beside load: the time of a Create that has to compile, and of a running container's answers meanwhile. `cargo
//! test -p catamaran-integration --test beside_load -- --ignored --nocapture --test-threads=1`

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use std::fs;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use catamaran_harness::{Node, Runtime, Task, guests};
use catamaran_integration::compiles::{image, quiet};

const ROUNDS: usize = 5;
const LATER: Duration = Duration::from_secs(120);

/// Twice as many processes as processors, each busy all the time.
struct Load(Vec<Child>);

impl Load {
    fn start() -> Self {
        let count = 2 * std::thread::available_parallelism().unwrap().get();
        let busy = || Command::new("sh").args(["-c", "while :; do :; done"]).stdin(Stdio::null()).spawn().unwrap();
        Self((0..count).map(|_| busy()).collect())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // The child is ours and not yet reaped.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Measures how long the guest takes to echo the text.
fn echo(cat: &Task<'_>, text: &str) -> Duration {
    let begin = Instant::now();
    cat.write(&format!("{text}\n"));
    while !cat.stdout().contains(text) {
        assert!(begin.elapsed() < LATER, "no echo");
        std::thread::sleep(Duration::from_micros(200));
    }
    begin.elapsed()
}

fn told(what: &str, mut all: Vec<Duration>) {
    all.sort();
    let at = |part: usize| all[(all.len() - 1) * part / 100].as_secs_f64() * 1e3;
    println!("{what}: median {:.1} ms, 90 % {:.1} ms, all {:.1} ms ({})", at(50), at(90), at(100), all.len());
}

#[test]
#[ignore = "figures, for an idle machine"]
fn first_starts_of_a_module_of_go_alone() {
    measure(false);
}

#[test]
#[ignore = "figures, for a machine that has nothing else to do"]
fn first_starts_of_a_module_of_go_beside_twice_as_many_busy_processes_as_processors() {
    measure(true);
}

fn measure(loaded: bool) {
    let module = guests::go("report");
    println!("a module of Go of {} bytes", module.len());
    let cat = guests::image(Runtime::Catamaran, "cat");
    let node = Node::start();
    let neighbour = node.container("neighbour").image(&cat).hold_stdin().spawn();
    let image = image("report", &module);
    node.import(&image);
    let load = loaded.then(Load::start);
    let alone = (0..100).map(|n| echo(&neighbour, &format!("alone-{n}."))).collect();
    let (mut creates, mut echoes) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let order = node.container(&format!("c{round}")).image(&image).limit(LATER);
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let created = scope.spawn(|| {
                let begin = Instant::now();
                let task = order.create();
                let took = begin.elapsed();
                done.store(true, Ordering::Relaxed);
                (task, took)
            });
            for n in 0.. {
                echoes.push(echo(&neighbour, &format!("{round}-{n}.")));
                if done.load(Ordering::Relaxed) {
                    break;
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            let (task, took) = created.join().unwrap();
            creates.push(took);
            task.discard();
        });
        for pid in catamaran_integration::compiles::processes(&node, "driver") {
            catamaran_integration::compiles::kill(pid);
        }
        quiet(&node);
        fs::remove_dir_all(node.catamaran_root().join("cache")).unwrap();
    }
    drop(load);
    let where_ = if loaded { "beside load" } else { "alone" };
    told(&format!("first start {where_}"), creates);
    told(&format!("a neighbour's answer {where_}, nothing compiled"), alone);
    told(&format!("a neighbour's answer {where_}, meanwhile"), echoes);
    neighbour.discard();
    node.finish();
}
