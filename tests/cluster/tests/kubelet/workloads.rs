//! Controllers' reactions to the ends of containers: Deployment, Job, CronJob, DaemonSet.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use catamaran_cluster::Space;
use catamaran_harness::{Engine, wait_until};
use serde_json::Value;

use crate::guest::{GUESTS, indented, template, web};
use crate::run::tests;

tests! {
    Each: a_deployment_rolls_without_losing_a_request, a_job_is_done_when_its_pods_are,
        a_job_that_fails_is_tried_again_and_given_up, a_pod_failure_policy_tells_exit_codes_apart,
        a_cron_job_runs_on_the_minute, a_daemon_set_has_a_pod_on_the_node;
}

/// The manifest of a kind whose pods are made from a template.
fn controller(kind: &str, name: &str, spec: &str, pods: &str) -> String {
    let version = if kind.ends_with("Job") { "batch/v1" } else { "apps/v1" };
    format!(
        "apiVersion: {version}\nkind: {kind}\nmetadata: {{name: {name}}}\nspec:\n{}  template:\n{}",
        indented(spec, 2),
        indented(pods, 4)
    )
}

fn job(name: &str, engine: Engine, spec: &str, command: &str) -> String {
    let container = format!(
        "restartPolicy: Never\ncontainers:\n- name: main\n  image: {GUESTS}\n  imagePullPolicy: Never\n  command: {command}"
    );
    controller("Job", name, spec, &template(&format!("app: {name}"), engine, &container))
}

/// The exit codes of a job's pods.
fn exit_codes(space: &Space<'_>, job: &str) -> Vec<i64> {
    let pods = space.list("pods", &format!("batch.kubernetes.io/job-name={job}"));
    let code = |pod: &Value| pod["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"].as_i64();
    pods.iter().filter_map(code).collect()
}

/// The reason for which a job was given up.
fn given_up(space: &Space<'_>, job: &str) -> String {
    let object = format!("job/{job}");
    space.until(&object, "its failure", |job| {
        let conditions = job["status"]["conditions"].as_array()?;
        let failed = conditions.iter().find(|one| one["type"] == "Failed" && one["status"] == "True")?;
        Some(failed["reason"].as_str().unwrap_or_default().to_owned())
    })
}

fn a_job_is_done_when_its_pods_are(space: &Space<'_>, engine: Engine) {
    space.apply(&job("counts", engine, "completions: 3\nparallelism: 3", r#"["/exit.wasm", "0"]"#));
    space.wait("job/counts", "condition=Complete");
    assert_eq!(exit_codes(space, "counts"), [0, 0, 0]);
}

fn a_job_that_fails_is_tried_again_and_given_up(space: &Space<'_>, engine: Engine) {
    space.apply(&job("fails", engine, "backoffLimit: 1", r#"["/exit.wasm", "3"]"#));
    assert_eq!(given_up(space, "fails"), "BackoffLimitExceeded");
    assert_eq!(exit_codes(space, "fails"), [3, 3]);
}

fn a_pod_failure_policy_tells_exit_codes_apart(space: &Space<'_>, engine: Engine) {
    let policy = "backoffLimit: 6\npodFailurePolicy:\n  rules:\n  - action: FailJob\n    onExitCodes: {operator: In, values: [42]}";
    space.apply(&job("policy", engine, policy, r#"["/exit.wasm", "42"]"#));
    assert_eq!(given_up(space, "policy"), "PodFailurePolicy");
    assert_eq!(exit_codes(space, "policy"), [42]);
}

fn a_cron_job_runs_on_the_minute(space: &Space<'_>, engine: Engine) {
    let job = job("none", engine, "", r#"["/hello.wasm"]"#);
    let (_, spec) = job.split_once("spec:\n").expect("a specification");
    space.apply(&format!(
        "apiVersion: batch/v1\nkind: CronJob\nmetadata: {{name: minutely}}\nspec:\n  schedule: '* * * * *'\n  jobTemplate:\n    spec:\n{}",
        indented(spec, 4)
    ));
    space.wait("cronjob/minutely", "jsonpath={.status.lastSuccessfulTime}");
}

fn a_daemon_set_has_a_pod_on_the_node(space: &Space<'_>, engine: Engine) {
    let container = format!("containers:\n- name: main\n  image: {GUESTS}\n  imagePullPolicy: Never");
    let pods = template("app: everywhere", engine, &container);
    space.apply(&controller("DaemonSet", "everywhere", "selector: {matchLabels: {app: everywhere}}", &pods));
    space.wait("daemonset/everywhere", "jsonpath={.status.numberReady}=1");
}

/// The addresses and ports that a service proxy would send a new connection to.
pub(crate) fn endpoints(space: &Space<'_>, service: &str) -> Vec<(String, u16)> {
    let mut found = Vec::new();
    for slice in space.list("endpointslices", &format!("kubernetes.io/service-name={service}")) {
        let port = slice["ports"][0]["port"].as_u64().unwrap_or_default() as u16;
        let all = slice["endpoints"].as_array().into_iter().flatten();
        let ready = all.filter(|endpoint| endpoint["conditions"]["ready"] == true);
        found.extend(ready.filter_map(|endpoint| Some((endpoint["addresses"][0].as_str()?.to_owned(), port))));
    }
    found
}

/// Requests a page from a server, as through a service's address.
pub(crate) fn ask(address: &str, port: u16) -> std::io::Result<String> {
    ask_for("/", address, port)
}

/// The same for another page.
pub(crate) fn ask_for(path: &str, address: &str, port: u16) -> std::io::Result<String> {
    let mut stream = TcpStream::connect((address, port))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    if answer.starts_with("HTTP/1.") && answer.contains(" 200 ") {
        Ok(answer)
    } else {
        Err(std::io::Error::other(answer))
    }
}

/// `preStop` gives the controllers time to report that a pod ends, so that no request goes to an ended pod.
fn a_deployment_rolls_without_losing_a_request(space: &Space<'_>, engine: Engine) {
    let (image, command, port) = web(engine);
    let container = format!(
        "containers:\n- name: web\n  image: {image}\n  imagePullPolicy: Never\n  command: {command}\n  \
         readinessProbe: {{tcpSocket: {{port: {port}}}, periodSeconds: 1}}\n  \
         lifecycle: {{preStop: {{sleep: {{seconds: 4}}}}}}"
    );
    let pods = template("app: web", engine, &container).replace("PeriodSeconds: 5", "PeriodSeconds: 15");
    rolls_without_losing_a_request(space, &pods, port, "/");
}

/// Makes a Deployment `web` of these pods, and updates it while requests for `path` go to its endpoints all the time.
pub(crate) fn rolls_without_losing_a_request(space: &Space<'_>, pods: &str, port: u16, path: &str) {
    let spec = "replicas: 2\nselector: {matchLabels: {app: web}}\n\
                strategy: {type: RollingUpdate, rollingUpdate: {maxUnavailable: 0, maxSurge: 1}}";
    space.apply(&controller("Deployment", "web", spec, pods));
    space.apply(&format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: web}}\nspec: {{selector: {{app: web}}, ports: [{{port: {port}}}]}}"
    ));
    space.ok(["rollout", "status", "deployment/web", "--timeout=90s"]);
    let (over, good, lost) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                // Kept for 20 rounds, because a service proxy's addresses may be as stale.
                let addresses = endpoints(space, "web");
                for _ in 0..20 {
                    for (address, port) in &addresses {
                        match ask_for(path, address, *port) {
                            Ok(_) => good.fetch_add(1, Ordering::Relaxed),
                            Err(error) => {
                                eprintln!("{address}: {error}");
                                lost.fetch_add(1, Ordering::Relaxed)
                            }
                        };
                    }
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
        });
        let rolled = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            space.ok(["set", "env", "deployment/web", "VERSION=2"]);
            space.ok(["rollout", "status", "deployment/web", "--timeout=90s"]);
            // Until the earlier ones have gone.
            wait_until(Duration::from_secs(60), "two pods", || {
                (space.list("pods", "app=web").len() == 2).then_some(())
            });
        }));
        over.store(true, Ordering::Relaxed);
        rolled.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    let (good, lost) = (good.into_inner(), lost.into_inner());
    assert!(lost == 0 && good > 50, "{good} answered, {lost} lost");
}
