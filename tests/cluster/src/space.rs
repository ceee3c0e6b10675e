//! A Kubernetes namespace of a test's own, and what tests do in it.

use std::time::{Duration, Instant};

use catamaran_harness::{Output, wait_until};
use serde_json::Value;

use crate::cluster::Cluster;

/// How long a pod may take to reach the state that a test waits for, including the first compile of its module.
const LIMIT: Duration = Duration::from_secs(90);

/// A namespace. Dropping this deletes it with all its objects, without waiting for the end.
pub struct Space<'c> {
    cluster: &'c Cluster,
    name: String,
}

impl<'c> Space<'c> {
    pub(crate) fn make(cluster: &'c Cluster, name: &str) -> Self {
        cluster.kubectl().ok(["create", "namespace", name]);
        let space = Self { cluster, name: name.to_owned() };
        // Pods are refused until the service account exists.
        wait_until(LIMIT, "the namespace's service account", || space.try_get("serviceaccount/default").map(drop));
        space
    }

    /// The cluster.
    pub fn cluster(&self) -> &'c Cluster {
        self.cluster
    }

    /// The namespace's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `kubectl` in this namespace.
    pub fn run<S: AsRef<str>>(&self, args: impl IntoIterator<Item = S>) -> Output {
        self.run_with(args, "")
    }

    /// The same, with standard input.
    pub fn run_with<S: AsRef<str>>(&self, args: impl IntoIterator<Item = S>, stdin: &str) -> Output {
        self.cluster.kubectl().run_with(self.words(args), stdin)
    }

    /// `kubectl` in this namespace, which must succeed.
    pub fn ok<S: AsRef<str>>(&self, args: impl IntoIterator<Item = S>) -> String {
        self.cluster.kubectl().ok(self.words(args))
    }

    /// A `kubectl` that goes on running.
    pub fn start<S: AsRef<str>>(&self, args: impl IntoIterator<Item = S>) -> std::process::Child {
        self.cluster.kubectl().start(self.words(args))
    }

    fn words<S: AsRef<str>>(&self, args: impl IntoIterator<Item = S>) -> Vec<String> {
        let own = ["--namespace".to_owned(), self.name.clone()];
        own.into_iter().chain(args.into_iter().map(|arg| arg.as_ref().to_owned())).collect()
    }

    /// `kubectl apply`.
    ///
    /// # Panics
    /// When the API server refuses it.
    pub fn apply(&self, manifest: &str) {
        let output = self.run_with(["apply", "-f", "-"], manifest);
        assert!(output.code == 0, "{}\nof:\n{manifest}", output.stderr);
    }

    /// An object, such as `pod/NAME`, if it exists.
    pub fn try_get(&self, object: &str) -> Option<Value> {
        self.cluster.kubectl().try_get(&["--namespace", &self.name, object])
    }

    /// An object.
    ///
    /// # Panics
    /// When it does not exist.
    pub fn get(&self, object: &str) -> Value {
        self.try_get(object).unwrap_or_else(|| panic!("there is no {object} in {}", self.name))
    }

    /// The objects of a kind with a label, such as `pods`, `app=web`.
    pub fn list(&self, kind: &str, label: &str) -> Vec<Value> {
        let list = self.cluster.kubectl().try_get(&["--namespace", &self.name, kind, "--selector", label]);
        list.and_then(|list| list["items"].as_array().cloned()).unwrap_or_default()
    }

    /// `kubectl wait`: `what` is a condition, or `jsonpath=...`.
    ///
    /// # Panics
    /// When it does not come true in time, with the object's state and events.
    pub fn wait(&self, object: &str, what: &str) {
        let limit = format!("--timeout={}s", LIMIT.as_secs());
        let output = self.run(["wait", object, &format!("--for={what}"), &limit]);
        if output.code != 0 {
            let told = self.run(["describe", object]).stdout;
            panic!("{object} in {}: no {what}: {}\n{told}", self.name, output.stderr);
        }
    }

    /// Waits until a pod has ended, and returns its phase.
    ///
    /// # Panics
    /// When it has not ended in time.
    pub fn end_of(&self, pod: &str) -> String {
        let object = format!("pod/{pod}");
        let phase = |value: &Value| value["status"]["phase"].as_str().unwrap_or_default().to_owned();
        self.until(&object, "its end", |value| {
            let phase = phase(value);
            ["Succeeded", "Failed"].contains(&phase.as_str()).then_some(phase)
        })
    }

    /// Asks for an object until `ask` has an answer.
    ///
    /// # Panics
    /// When there is none in time, with the object's state.
    pub fn until<T>(&self, object: &str, what: &str, ask: impl Fn(&Value) -> Option<T>) -> T {
        let end = Instant::now() + LIMIT;
        loop {
            let value = self.try_get(object).unwrap_or_default();
            if let Some(answer) = ask(&value) {
                return answer;
            }
            if Instant::now() > end {
                let told = self.run(["describe", object]).stdout;
                panic!("{object} in {}: waited for {what}\n{told}", self.name);
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Returns a container's output.
    pub fn logs(&self, pod: &str, container: &str) -> String {
        self.ok(["logs", pod, "--container", container])
    }

    /// Executes a program in a pod's first container.
    pub fn exec(&self, pod: &str, words: &[&str]) -> Output {
        self.run([&["exec", pod, "--"], words].concat())
    }
}

impl Drop for Space<'_> {
    fn drop(&mut self) {
        self.cluster.kubectl().run(["delete", "namespace", &self.name, "--wait=false"]);
    }
}
