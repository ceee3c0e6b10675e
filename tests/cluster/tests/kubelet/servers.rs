//! Components that export `wasi:http/incoming-handler`, as pods: probes by HTTP, updates, and the variables of other runtimes.

use std::time::Duration;

use catamaran_cluster::Space;
use catamaran_harness::{Engine, wait_until};

use crate::guest::{SERVER, SERVER_FILE, SERVER_LAYER, SERVICE, indented, pod, template};
use crate::run::tests;
use crate::workloads::{ask_for, endpoints, rolls_without_losing_a_request};

tests! {
    Once: a_server_rolls_without_losing_a_request, a_server_is_probed_by_http, a_server_listens_at_the_address_in_other_runtimes_variables,
        manifests_of_other_runtimes_need_only_another_runtime_class, a_grpc_probe_asks_a_server, a_server_is_probed_by_http_2, a_server_has_tls_from_a_secret;
}

/// A container `web` of the image, with more lines.
fn container(more: &str) -> String {
    format!("containers:\n- name: web\n  image: {SERVER}\n  imagePullPolicy: Never\n{}", indented(more, 2))
}

/// The annotation `http-lame-duck` alone, without `preStop`, makes an ending server answer until the Service knows that the pod ends.
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

fn a_server_listens_at_the_address_in_other_runtimes_variables(space: &Space<'_>) {
    for (name, variable, address, port) in
        [("runwasi", "WASMTIME_HTTP_PROXY_SOCKET_ADDR", "0.0.0.0:9090", 9090), ("knative", "PORT", "8081", 8081)]
    {
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

/// The kubelet's gRPC client probes a component.
fn a_grpc_probe_asks_a_server(space: &Space<'_>) {
    let probe = "{grpc: {port: 8080}, periodSeconds: 1, failureThreshold: 30}";
    let probes = format!("startupProbe: {probe}\nreadinessProbe: {probe}\nlivenessProbe: {probe}");
    let container =
        format!("containers:\n- name: web\n  image: {SERVICE}\n  imagePullPolicy: Never\n{}", indented(&probes, 2));
    space.apply(&pod("grpc", Engine::Wasmtime, &container));
    space.wait("pod/grpc", "condition=Ready");
    assert_eq!(space.get("pod/grpc")["status"]["containerStatuses"][0]["restartCount"], 0);
}

/// HTTP/2 in clear, by prior knowledge: a probe's `protocol` is an alpha of Kubernetes 1.37.
fn a_server_is_probed_by_http_2(space: &Space<'_>) {
    let probe = "{httpGet: {path: /hello, port: 8080, protocol: HTTP2}, periodSeconds: 1, failureThreshold: 30}";
    let probes = format!("startupProbe: {probe}\nreadinessProbe: {probe}\nlivenessProbe: {probe}");
    space.apply(&pod("h2c", Engine::Wasmtime, &container(&probes)));
    space.wait("pod/h2c", "condition=Ready");
    let pod = space.get("pod/h2c");
    assert_eq!(
        pod["spec"]["containers"][0]["readinessProbe"]["httpGet"]["protocol"], "HTTP2",
        "the API server knows it"
    );
    assert_eq!(pod["status"]["containerStatuses"][0]["restartCount"], 0);
}

fn a_server_has_tls_from_a_secret(space: &Space<'_>) {
    let rcgen::CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed(vec!["web".to_owned()]).unwrap();
    let (certificate, key) = (indented(&cert.pem(), 4), indented(&signing_key.serialize_pem(), 4));
    space.apply(&format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: web-tls}}\ntype: kubernetes.io/tls\nstringData:\n  tls.crt: |\n{certificate}  \
         tls.key: |\n{key}"
    ));
    let probe = "readinessProbe: {httpGet: {scheme: HTTPS, path: /hello, port: 8080}, periodSeconds: 1}";
    let mounted = format!("{probe}\nvolumeMounts: [{{name: tls, mountPath: /etc/tls}}]");
    let volume = "volumes: [{name: tls, secret: {secretName: web-tls}}]\n";
    let pod = pod("secured", Engine::Wasmtime, &(container(&mounted) + volume));
    let pod = pod.replace("catamaran.wasm/engine: wasmtime", "catamaran.wasm/http-tls: /etc/tls");
    assert!(pod.contains("http-tls"), "{pod}");
    space.apply(&pod);
    space.wait("pod/secured", "condition=Ready");
    let at = space.get("pod/secured")["status"]["podIP"].as_str().unwrap_or_default().to_owned();
    assert!(ask_for("/hello", &at, 8080).is_err(), "it answers in clear");
}

/// The manifests of docs/migrating.md, in their order. No probe is added: a server is ready when it listens.
fn manifests_of_other_runtimes_need_only_another_runtime_class(space: &Space<'_>) {
    let page = include_str!("../../../../docs/migrating.md");
    let mut manifests = page.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap_or_default());
    let mut apply = |deployment: &str, image: &str| {
        space.apply(&moved(manifests.next().unwrap(), image));
        space.ok(["rollout", "status", &format!("deployment/{deployment}"), "--timeout=90s"]);
    };

    apply("wasi-demo", SERVER_FILE);
    let pods = space.list("pods", "app=wasi-demo");
    let [pod] = &pods[..] else { panic!("one pod: {pods:?}") };
    ask_for("/hello", pod["status"]["podIP"].as_str().unwrap_or_default(), 8080).unwrap();

    apply("hello", SERVER_LAYER);
    let found = || Some(endpoints(space, "hello")).filter(|found| found.len() == 2);
    for (address, port) in wait_until(Duration::from_secs(20), "two endpoints", found) {
        assert_eq!(port, 80, "the Service names its port");
        ask_for("/hello", &address, port).unwrap();
        let seen = ask_for("/env?SPIN_HTTP_LISTEN_ADDR", &address, port).unwrap();
        assert!(!seen.contains("0.0.0.0:80"), "the guest sees the runtime's own variable: {seen}");
    }
    assert!(manifests.next().is_none(), "a manifest of docs/migrating.md that is not tried");
}

/// A manifest with two lines changed: the runtime class, and the image, because there is no registry here.
fn moved(manifest: &str, image: &str) -> String {
    let mut changed = 0;
    let lines = manifest.lines().map(|line| {
        let new = [("runtimeClassName: ", "catamaran"), ("image: ", image)].into_iter().find_map(|(key, value)| {
            let (before, _) = line.split_once(key)?;
            Some(format!("{before}{key}{value}\n"))
        });
        changed += usize::from(new.is_some());
        new.unwrap_or_else(|| format!("{line}\n"))
    });
    let text = lines.collect();
    assert_eq!(changed, 2, "{text}");
    text
}
