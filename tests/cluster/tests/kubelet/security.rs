//! A pod's security context, checked in the kernel, and its RuntimeClass, checked in the scheduler.

use std::fs;

use catamaran_cluster::Space;
use catamaran_harness::Engine;

use crate::guest::{once, pod};
use crate::pods::{sleeper, terminated};
use crate::run::tests;

tests! {
    Each: a_restricted_pod_runs, a_volume_belongs_to_the_pods_group, a_read_only_root_file_system_refuses_writes,
        run_as_non_root_refuses_a_container_of_root, the_annotation_chooses_the_engine;
    Once: the_runtime_class_adds_its_overhead, a_runtime_class_schedules_its_pods_by_a_nodes_label;
}

/// `/proc/PID/status` of the one worker of a pod.
fn worker(space: &Space<'_>, name: &str, engine: Engine) -> String {
    let uid = space.get(&format!("pod/{name}"))["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
    let own = |pid: &str| -> Option<String> {
        let folder = format!("/proc/{pid}");
        let program = fs::read_link(format!("{folder}/exe")).ok()?;
        let cgroup = fs::read_to_string(format!("{folder}/cgroup")).ok()?;
        (cgroup.contains(&uid) && program == engine.worker())
            .then(|| fs::read_to_string(format!("{folder}/status")).ok())?
    };
    let pids = fs::read_dir("/proc").expect("no /proc").flatten().map(|entry| entry.file_name());
    let found: Vec<String> = pids.filter_map(|pid| own(&pid.to_string_lossy())).collect();
    assert_eq!(found.len(), 1, "workers of {} in {name}", engine.name());
    found.into_iter().next().unwrap_or_default()
}

fn field(status: &str, name: &str) -> Vec<String> {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap_or_default();
    line.split_ascii_whitespace().map(str::to_owned).collect()
}

fn the_annotation_chooses_the_engine(space: &Space<'_>, engine: Engine) {
    space.apply(&sleeper("asks", engine, ""));
    space.wait("pod/asks", "condition=Ready");
    worker(space, "asks", engine);
}

const RESTRICTED: &str = "securityContext:
  runAsNonRoot: true
  runAsUser: 1234
  runAsGroup: 2345
  allowPrivilegeEscalation: false
  capabilities: {drop: [ALL]}
  seccompProfile: {type: RuntimeDefault}";

fn a_restricted_pod_runs(space: &Space<'_>, engine: Engine) {
    space.ok(["label", "namespace", space.name(), "pod-security.kubernetes.io/enforce=restricted"]);
    let refused = space.run_with(["apply", "-f", "-"], &sleeper("plain", engine, ""));
    assert!(refused.stderr.contains("violates PodSecurity"), "{refused:?}");
    space.apply(&sleeper("strict", engine, RESTRICTED));
    space.wait("pod/strict", "condition=Ready");
    let status = worker(space, "strict", engine);
    assert_eq!(field(&status, "Uid"), ["1234"; 4]);
    assert_eq!(field(&status, "Gid"), ["2345"; 4]);
    for (name, value) in
        [("CapEff", "0000000000000000"), ("CapBnd", "0000000000000000"), ("NoNewPrivs", "1"), ("Seccomp", "2")]
    {
        assert_eq!(field(&status, name), [value], "{name}");
    }
}

fn a_volume_belongs_to_the_pods_group(space: &Space<'_>, engine: Engine) {
    let more = "securityContext: {runAsUser: 1234, runAsGroup: 1234}\nvolumeMounts: [{name: work, mountPath: /work}]";
    let rest =
        "  securityContext: {fsGroup: 4321, supplementalGroups: [5000]}\n  volumes: [{name: work, emptyDir: {}}]\n";
    space.apply(&(sleeper("grouped", engine, more) + rest));
    space.wait("pod/grouped", "condition=Ready");
    let mut groups = field(&worker(space, "grouped", engine), "Groups");
    groups.sort();
    assert_eq!(groups, ["1234", "4321", "5000"]);
    let wrote = space.exec("grouped", &["/kitchen.wasm", "write", "/work/file", "mine"]);
    assert_eq!(wrote.code, 0, "{wrote:?}");
}

fn a_read_only_root_file_system_refuses_writes(space: &Space<'_>, engine: Engine) {
    let command = r#"["/kitchen.wasm", "write", "/tmp/file", "words"]"#;
    space.apply(&once("writes", engine, command, "securityContext: {readOnlyRootFilesystem: true}"));
    assert_eq!(terminated(space, "writes")["exitCode"], 1);
    assert!(space.logs("writes", "main").contains("Read-only file system"), "{}", space.logs("writes", "main"));
}

fn run_as_non_root_refuses_a_container_of_root(space: &Space<'_>, engine: Engine) {
    space.apply(&sleeper("root", engine, "securityContext: {runAsNonRoot: true}"));
    space.wait("pod/root", "jsonpath={.status.containerStatuses[0].state.waiting.reason}=CreateContainerConfigError");
}

fn the_runtime_class_adds_its_overhead(space: &Space<'_>) {
    space.apply(&sleeper("paid", Engine::Wasmtime, "resources: {limits: {memory: 64Mi}}"));
    space.wait("pod/paid", "condition=Ready");
    let pod = space.get("pod/paid");
    assert_eq!(pod["spec"]["overhead"]["memory"], "2Mi");
    // The pod's own cgroup is limited to its containers' limits and the overhead.
    let uid = pod["metadata"]["uid"].as_str().unwrap_or_default();
    let limits = fs::read_dir("/sys/fs/cgroup/memory").is_ok();
    let (root, file) =
        if limits { ("/sys/fs/cgroup/memory", "memory.limit_in_bytes") } else { ("/sys/fs/cgroup", "memory.max") };
    let folder = format!("{root}/{}/kubepods/burstable/pod{uid}", space.cluster().node().namespace());
    let guaranteed = folder.replace("/burstable", "");
    let text =
        fs::read_to_string(format!("{folder}/{file}")).or_else(|_| fs::read_to_string(format!("{guaranteed}/{file}")));
    assert_eq!(text.expect("the pod's cgroup").trim(), (66 << 20).to_string());
}

fn a_runtime_class_schedules_its_pods_by_a_nodes_label(space: &Space<'_>) {
    let class = format!("elsewhere-{}", space.name());
    space.apply(&format!(
        "apiVersion: node.k8s.io/v1\nkind: RuntimeClass\nmetadata: {{name: {class}}}\nhandler: catamaran\n\
         scheduling: {{nodeSelector: {{{class}: here}}}}"
    ));
    let manifest = pod(
        "waits",
        Engine::Wasmtime,
        &format!("containers: [{{name: main, image: '{}', imagePullPolicy: Never}}]", crate::guest::GUESTS),
    );
    space.apply(&manifest.replace("runtimeClassName: catamaran", &format!("runtimeClassName: {class}")));
    space.wait("pod/waits", "jsonpath={.status.conditions[?(@.type==\"PodScheduled\")].reason}=Unschedulable");
    space.ok(["label", "node", "catamaran", &format!("{class}=here")]);
    space.wait("pod/waits", "condition=Ready");
    space.ok(["label", "node", "catamaran", &format!("{class}-")]);
    space.ok(["delete", "runtimeclass", &class]);
}
