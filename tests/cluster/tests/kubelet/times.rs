//! Start-up times of pods, on both engines and on runc.

use std::time::{Duration, Instant};

use catamaran_cluster::Space;
use catamaran_harness::{Engine, Runtime, guests};

use crate::guest::{GUESTS, indented, pod, template};
use crate::run::tests;

tests! {
    Alone: a_pod_is_ready_at_most_two_seconds_later_than_on_runc, sixty_pods_come_and_go_at_once;
}

/// The number of pods that are timed one after the other; the median counts.
const SAMPLES: usize = 5;
const CROWD: usize = 60;

/// The runtime of the pods: runc, or one of our engines.
type Runner = Option<Engine>;
const RUNNERS: [Runner; 3] = [Some(Engine::Wasmtime), Some(Engine::Wasmer), None];

fn name(runner: Runner) -> &'static str {
    runner.map_or("runc", Engine::name)
}

/// The specification of a container that prints `ready` and sleeps, the same on all of them.
fn spec(runner: Runner) -> String {
    let native = guests::image(Runtime::Runc, "sleep");
    let image = if runner.is_some() { GUESTS } else { native.name() };
    format!("containers: [{{name: main, image: '{image}', imagePullPolicy: Never}}]")
}

/// The manifest for this runner: for runc, without its runtime class.
fn of(runner: Runner, manifest: &str) -> String {
    let ours = |line: &&str| runner.is_some() || line.trim() != "runtimeClassName: catamaran";
    manifest.lines().filter(ours).map(|line| format!("{line}\n")).collect()
}

fn ready(space: &Space<'_>, runner: Runner, number: usize) -> Duration {
    let pod_name = format!("{}-{number}", name(runner));
    let manifest = pod(&pod_name, runner.unwrap_or(Engine::Wasmtime), &spec(runner));
    let begin = Instant::now();
    space.apply(&of(runner, &manifest));
    space.wait(&format!("pod/{pod_name}"), "condition=Ready");
    let took = begin.elapsed();
    space.ok(["delete", "pod", &pod_name]);
    took
}

fn a_pod_is_ready_at_most_two_seconds_later_than_on_runc(space: &Space<'_>) {
    space.cluster().import(&guests::image(Runtime::Runc, "sleep"));
    let mut samples = RUNNERS.map(|_| Vec::new());
    // In turns, so that other load of the machine affects all of them alike.
    for number in 0..SAMPLES {
        for (runner, samples) in RUNNERS.into_iter().zip(&mut samples) {
            samples.push(ready(space, runner, number));
        }
    }
    let medians = samples.map(|mut samples| {
        samples.sort();
        samples[SAMPLES / 2]
    });
    for (runner, median) in RUNNERS.into_iter().zip(medians) {
        println!("pod created to Ready on {}: {:.2} s", name(runner), median.as_secs_f32());
    }
    let [wasmtime, wasmer, runc] = medians;
    assert!(wasmtime.max(wasmer) < runc + Duration::from_secs(2), "{medians:?}");
}

fn sixty_pods_come_and_go_at_once(space: &Space<'_>) {
    space.cluster().import(&guests::image(Runtime::Runc, "sleep"));
    for runner in RUNNERS {
        let crowd = format!("crowd-{}", name(runner));
        let pods = template(&format!("app: {crowd}"), runner.unwrap_or(Engine::Wasmtime), &spec(runner));
        let manifest = format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {crowd}}}\nspec:\n  replicas: {CROWD}\n  \
             selector: {{matchLabels: {{app: {crowd}}}}}\n  template:\n{}",
            indented(&pods, 4)
        );
        let begin = Instant::now();
        space.apply(&of(runner, &manifest));
        space.ok(["rollout", "status", &format!("deployment/{crowd}"), "--timeout=120s"]);
        let came = begin.elapsed();
        let begin = Instant::now();
        space.ok(["delete", "deployment", &crowd]);
        space.ok(["wait", "pods", "--all", "--for=delete", "--timeout=120s"]);
        let (came, went) = (came.as_secs_f32(), begin.elapsed().as_secs_f32());
        println!("{CROWD} pods at once on {}: ready after {came:.1} s, gone after {went:.1} s", name(runner));
    }
}
