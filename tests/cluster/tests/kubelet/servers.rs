//! Components that export `wasi:http/incoming-handler`, as pods: probes by HTTP, updates, and the variables of other runtimes.

use catamaran_cluster::Space;
use catamaran_harness::Engine;

use crate::guest::{SERVER, indented, pod, template};
use crate::run::tests;
use crate::workloads::{ask_for, rolls_without_losing_a_request};

tests! {
    Once: a_server_rolls_without_losing_a_request, a_server_is_probed_by_http, a_server_listens_where_other_runtimes_are_told;
}

/// A container `web` of the image, with more lines.
fn container(more: &str) -> String {
    format!("containers:\n- name: web\n  image: {SERVER}\n  imagePullPolicy: Never\n{}", indented(more, 2))
}

/// Nothing but an annotation bridges the time until a Service knows that a pod goes.
fn a_server_rolls_without_losing_a_request(space: &Space<'_>) {
    let probed = container("readinessProbe: {httpGet: {path: /hello, port: 8080}, periodSeconds: 1}");
    let pods = template("app: web", Engine::Wasmtime, &probed)
        .replace("PeriodSeconds: 5", "PeriodSeconds: 15")
        .replace("catamaran.wasm/engine: wasmtime", "catamaran.wasm/http-lame-duck: 4s");
    assert!(pods.contains("http-lame-duck"), "{pods}");
    rolls_without_losing_a_request(space, &pods, 8080, "/hello");
}

fn a_server_is_probed_by_http(space: &Space<'_>) {
    let probe =
        |path: &str| format!("{{httpGet: {{path: {path}, port: 8080}}, periodSeconds: 1, failureThreshold: 2}}");
    let probes = format!(
        "startupProbe: {0}\nreadinessProbe: {0}\nlivenessProbe: {1}",
        probe("/hello"),
        probe("\"/status?503\"")
    );
    space.apply(&pod("odd", Engine::Wasmtime, &container(&probes)));
    space.wait("pod/odd", "condition=Ready");
    let restarted = |pod: &serde_json::Value| {
        let status = &pod["status"]["containerStatuses"][0];
        (status["restartCount"].as_u64()? > 0).then(|| status["lastState"]["terminated"]["exitCode"].as_i64())
    };
    assert_eq!(space.until("pod/odd", "a restart by its liveness probe", restarted), Some(0), "it ended in order");
}

fn a_server_listens_where_other_runtimes_are_told(space: &Space<'_>) {
    for (name, variable, address, port) in [
        ("runwasi", "WASMTIME_HTTP_PROXY_SOCKET_ADDR", "0.0.0.0:9090", 9090),
        ("spin", "SPIN_HTTP_LISTEN_ADDR", "0.0.0.0:80", 80),
        ("knative", "PORT", "8081", 8081),
    ] {
        let told = format!(
            "env: [{{name: {variable}, value: \"{address}\"}}]\nports: [{{containerPort: {port}}}]\n\
             readinessProbe: {{httpGet: {{path: /hello, port: {port}}}, periodSeconds: 1}}"
        );
        space.apply(&pod(name, Engine::Wasmtime, &container(&told)));
        space.wait(&format!("pod/{name}"), "condition=Ready");
        let at = space.get(&format!("pod/{name}"))["status"]["podIP"].as_str().unwrap_or_default().to_owned();
        let seen = ask_for(&format!("/env?{variable}"), &at, port).unwrap();
        assert_eq!(seen.contains(address), variable == "PORT", "{name}: {seen}");
    }
}
