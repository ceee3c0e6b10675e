//! A kubelet's work on containers: their order, probes, hooks, messages, limits.

use std::fs;
use std::time::Duration;

use catamaran_cluster::Space;
use catamaran_harness::{Engine, wait_until};
use serde_json::Value;

use crate::guest::{BUSYBOX, GUESTS, once, pod, web};
use crate::run::tests;

tests! {
    Each: init_containers_and_a_sidecar_come_before_the_rest, an_exec_probe_makes_a_pod_ready,
        a_liveness_probe_restarts_a_container, probes_by_network_reach_a_guest, a_grpc_probe_asks_a_guest, hooks_run_after_start_and_before_stop,
        a_termination_message_is_what_the_guest_wrote, a_trap_is_explained_in_the_termination_message, a_guest_above_its_limit_is_oom_killed,
        a_resize_in_place_keeps_the_container, a_container_that_fails_is_started_again;
    Once: a_pod_that_fills_its_volume_is_evicted;
}

/// The final state of the pod's only container.
pub(crate) fn terminated(space: &Space<'_>, name: &str) -> Value {
    space.end_of(name);
    space.get(&format!("pod/{name}"))["status"]["containerStatuses"][0]["state"]["terminated"].clone()
}

/// A pod whose container sleeps until it is killed, with more lines of the container.
pub(crate) fn sleeper(name: &str, engine: Engine, more: &str) -> String {
    once(name, engine, r#"["/sleep.wasm"]"#, more)
}

fn init_containers_and_a_sidecar_come_before_the_rest(space: &Space<'_>, engine: Engine) {
    let guest = |name: &str, command: &str| {
        format!(
            "- name: {name}\n  image: {GUESTS}\n  imagePullPolicy: Never\n  command: {command}\n  volumeMounts: [{{name: work, mountPath: /work}}]"
        )
    };
    let spec = format!(
        "restartPolicy: Never\nvolumes: [{{name: work, emptyDir: {{}}}}]\ninitContainers:\n{}\n\
         - name: sidecar\n  image: {BUSYBOX}\n  imagePullPolicy: Never\n  restartPolicy: Always\n  \
         command: [sh, -c, 'cat /work/one >/work/two; trap \"exit 0\" TERM; while :; do sleep 1 & wait $!; done']\n  \
         startupProbe: {{exec: {{command: [test, -s, /work/two]}}, periodSeconds: 1}}\n  \
         volumeMounts: [{{name: work, mountPath: /work}}]\ncontainers:\n{}",
        guest("first", r#"["/kitchen.wasm", "write", "/work/one", "by the first"]"#),
        guest("main", r#"["/kitchen.wasm", "read", "/work/two"]"#)
    );
    space.apply(&pod("ordered", engine, &spec));
    assert_eq!(space.end_of("ordered"), "Succeeded");
    assert_eq!(space.logs("ordered", "main"), "by the first");
}

fn an_exec_probe_makes_a_pod_ready(space: &Space<'_>, engine: Engine) {
    let probe = r#"readinessProbe: {exec: {command: ["/kitchen.wasm", "read", "/tmp/ready"]}, periodSeconds: 1}"#;
    space.apply(&sleeper("probed", engine, probe));
    space.wait("pod/probed", "jsonpath={.status.containerStatuses[0].started}=true");
    assert_eq!(space.get("pod/probed")["status"]["containerStatuses"][0]["ready"], false);
    let wrote = space.exec("probed", &["/kitchen.wasm", "write", "/tmp/ready", "yes"]);
    assert_eq!(wrote.code, 0, "{wrote:?}");
    space.wait("pod/probed", "condition=Ready");
}

fn a_liveness_probe_restarts_a_container(space: &Space<'_>, engine: Engine) {
    let probe = "startupProbe: {exec: {command: [\"/exit.wasm\", \"0\"]}, periodSeconds: 1}\n\
                 livenessProbe: {exec: {command: [\"/exit.wasm\", \"1\"]}, periodSeconds: 1, failureThreshold: 1}";
    space.apply(&sleeper("lives", engine, probe).replace("restartPolicy: Never", "restartPolicy: Always"));
    let ended = space.until("pod/lives", "a restart", |pod| {
        let status = &pod["status"]["containerStatuses"][0];
        (status["restartCount"].as_u64() >= Some(1)).then(|| status["lastState"]["terminated"].clone())
    });
    // By SIGTERM, at once.
    assert_eq!(ended["exitCode"], 143, "{ended}");
}

fn probes_by_network_reach_a_guest(space: &Space<'_>, engine: Engine) {
    let (image, command, port) = web(engine);
    let container = format!(
        "containers:\n- name: main\n  image: {image}\n  imagePullPolicy: Never\n  command: {command}\n  \
         startupProbe: {{tcpSocket: {{port: {port}}}, periodSeconds: 1}}\n  \
         readinessProbe: {{httpGet: {{path: /, port: {port}}}, periodSeconds: 1}}\n  \
         livenessProbe: {{httpGet: {{path: /, port: {port}}}, periodSeconds: 1}}"
    );
    space.apply(&pod("web", engine, &container));
    space.wait("pod/web", "condition=Ready");
    assert_eq!(space.get("pod/web")["status"]["containerStatuses"][0]["restartCount"], 0);
}

/// A guest that answers "not serving" is not ready.
fn a_grpc_probe_asks_a_guest(space: &Space<'_>, engine: Engine) {
    let (image, command) = match engine {
        Engine::Wasmtime => ("localhost/test/component-net:latest", r#"["/net.wasm", "grpc"]"#),
        Engine::Wasmer => (GUESTS, r#"["/grpc.wasm", "7000"]"#),
    };
    let asked = |name: &str, command: &str, probes: &[&str]| {
        let probe =
            |kind: &&str| format!("  {kind}: {{grpc: {{port: 7000}}, periodSeconds: 1, failureThreshold: 30}}\n");
        let probes: String = probes.iter().map(probe).collect();
        let container =
            format!("- name: main\n  image: {image}\n  imagePullPolicy: Never\n  command: {command}\n{probes}");
        space.apply(&pod(name, engine, &format!("containers:\n{container}")));
    };
    asked("serves", command, &["startupProbe", "readinessProbe", "livenessProbe"]);
    space.wait("pod/serves", "condition=Ready");
    assert_eq!(space.get("pod/serves")["status"]["containerStatuses"][0]["restartCount"], 0);
    if engine == Engine::Wasmer {
        asked("refuses", r#"["/grpc.wasm", "7000", "2"]"#, &["readinessProbe"]);
        let told = wait_until(Duration::from_secs(60), "a failed probe", || {
            let events = space.run(["events", "--for=pod/refuses"]).stdout;
            events.lines().find(|line| line.contains("NOT_SERVING")).map(str::to_owned)
        });
        assert!(told.contains("Readiness probe failed"), "{told}");
        assert_eq!(space.get("pod/refuses")["status"]["containerStatuses"][0]["ready"], false);
    }
}

fn hooks_run_after_start_and_before_stop(space: &Space<'_>, engine: Engine) {
    let folder = space.cluster().node().folder(&format!("shared-{}", engine.name()));
    let hook = |name: &str, text: &str| {
        format!(r#"{name}: {{exec: {{command: ["/kitchen.wasm", write, /shared/{text}, done]}}}}"#)
    };
    let more = format!(
        "lifecycle: {{{}, {}}}\nvolumeMounts: [{{name: shared, mountPath: /shared}}]",
        hook("postStart", "started"),
        hook("preStop", "stopped")
    );
    let volume = format!("  volumes: [{{name: shared, hostPath: {{path: {}}}}}]\n", folder.display());
    space.apply(&(sleeper("hooked", engine, &more) + &volume));
    space.wait("pod/hooked", "condition=Ready");
    assert_eq!(fs::read_to_string(folder.join("started")).unwrap(), "done");
    assert!(!folder.join("stopped").exists());
    space.ok(["delete", "pod/hooked"]);
    assert_eq!(fs::read_to_string(folder.join("stopped")).unwrap(), "done");
}

fn a_termination_message_is_what_the_guest_wrote(space: &Space<'_>, engine: Engine) {
    let command = r#"["/kitchen.wasm", "write", "/dev/termination-log", "all is well"]"#;
    space.apply(&once("message", engine, command, ""));
    let ended = terminated(space, "message");
    assert_eq!((&ended["exitCode"], &ended["message"]), (&0.into(), &"all is well".into()), "{ended}");
}

fn a_trap_is_explained_in_the_termination_message(space: &Space<'_>, engine: Engine) {
    space.apply(&once("trap", engine, r#"["/trap.wasm"]"#, "terminationMessagePolicy: FallbackToLogsOnError"));
    let ended = terminated(space, "trap");
    assert_eq!((&ended["exitCode"], &ended["reason"]), (&134.into(), &"Error".into()), "{ended}");
    let message = ended["message"].as_str().unwrap_or_default();
    assert!(message.contains("unreachable"), "{message}");
}

fn a_guest_above_its_limit_is_oom_killed(space: &Space<'_>, engine: Engine) {
    let limit = "resources: {limits: {memory: 48Mi}}";
    space.apply(&once("hoards", engine, r#"["/kitchen.wasm", "hoard", "200"]"#, limit));
    let ended = terminated(space, "hoards");
    assert_eq!((&ended["exitCode"], &ended["reason"]), (&137.into(), &"OOMKilled".into()), "{ended}");
}

fn a_resize_in_place_keeps_the_container(space: &Space<'_>, engine: Engine) {
    let limits = |memory: &str, cpu: &str| format!("resources: {{limits: {{memory: {memory}, cpu: {cpu}}}}}");
    space.apply(&sleeper("grows", engine, &limits("64Mi", "100m")));
    space.wait("pod/grows", "condition=Ready");
    let before = space.get("pod/grows")["status"]["containerStatuses"][0]["containerID"].clone();
    let patch = r#"{"spec":{"containers":[{"name":"main","resources":{"limits":{"memory":"96Mi","cpu":"200m"},"requests":{"memory":"96Mi","cpu":"200m"}}}]}}"#;
    space.ok(["patch", "pod/grows", "--subresource=resize", "--patch", patch]);
    space.wait("pod/grows", "jsonpath={.status.containerStatuses[0].resources.limits.memory}=96Mi");
    space.wait("pod/grows", "jsonpath={.status.containerStatuses[0].resources.limits.cpu}=200m");
    let status = &space.get("pod/grows")["status"]["containerStatuses"][0];
    assert_eq!((&status["containerID"], &status["restartCount"]), (&before, &0.into()), "{status}");
}

fn a_container_that_fails_is_started_again(space: &Space<'_>, engine: Engine) {
    let command = r#"["/exit.wasm", "9"]"#;
    space.apply(&once("again", engine, command, "").replace("restartPolicy: Never", "restartPolicy: OnFailure"));
    space.until("pod/again", "a restart", |pod| {
        let status = &pod["status"]["containerStatuses"][0];
        let code = &status["lastState"]["terminated"]["exitCode"];
        (status["restartCount"].as_u64() >= Some(1) && code == 9).then_some(())
    });
}

fn a_pod_that_fills_its_volume_is_evicted(space: &Space<'_>) {
    let spec = format!(
        "volumes: [{{name: work, emptyDir: {{sizeLimit: 1Mi}}}}]\ncontainers:\n\
         - {{name: main, image: {GUESTS}, imagePullPolicy: Never}}\n\
         - name: filler\n  image: {BUSYBOX}\n  imagePullPolicy: Never\n  \
         command: [sh, -c, 'dd if=/dev/zero of=/work/file bs=1M count=4; sleep 1000']\n  \
         volumeMounts: [{{name: work, mountPath: /work}}]"
    );
    space.apply(&pod("fills", Engine::Wasmtime, &spec));
    assert_eq!(space.end_of("fills"), "Failed");
    assert_eq!(space.get("pod/fills")["status"]["reason"], "Evicted");
}
