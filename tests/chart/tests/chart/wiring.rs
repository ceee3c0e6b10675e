use std::collections::BTreeSet;

use catamaran_chart_tests::documents::{list, one, pod, title, word, words};
use catamaran_chart_tests::helm::Release;
use serde_json::{Value, json};

use crate::{CASES, DEFAULTS, EVERYTHING, LITTLE, objects};

const SELECT: [&str; 3] = ["app.kubernetes.io/component", "app.kubernetes.io/instance", "app.kubernetes.io/name"];
/// Kinds without a namespace.
const OF_CLUSTER: [&str; 3] = ["ClusterRole", "ClusterRoleBinding", "RuntimeClass"];

fn keys(labels: &Value) -> Vec<&str> {
    labels.as_object().into_iter().flatten().map(|(key, _)| key.as_str()).collect()
}

fn is_subset(part: &Value, whole: &Value) -> bool {
    part.as_object().unwrap().iter().all(|(key, value)| whole.get(key) == Some(value))
}

/// The arguments of the only container of this object's pod.
fn args(object: &Value) -> Vec<String> {
    words(pod(object).unwrap(), "/spec/containers/0/args")
}

/// The value of `--NAME=VALUE`.
fn argument(object: &Value, name: &str) -> Option<String> {
    let begin = format!("--{name}=");
    args(object).iter().find_map(|word| word.strip_prefix(&begin).map(str::to_owned))
}

#[test]
fn every_object_and_every_pod_is_labelled_and_has_its_namespace() {
    for (name, values) in CASES {
        for object in objects(Release::with(values)) {
            let what = format!("{name}: {}", title(&object));
            let of_cluster = OF_CLUSTER.contains(&word(&object, "/kind"));
            assert_eq!(
                word(&object, "/metadata/namespace"),
                if of_cluster { "" } else { "catamaran-system" },
                "{what}"
            );
            let templates = pod(&object).into_iter().map(|pod| &pod["metadata"]["labels"]);
            for labels in templates.chain([&object["metadata"]["labels"]]) {
                for key in
                    SELECT.iter().chain(&["app.kubernetes.io/version", "app.kubernetes.io/managed-by", "helm.sh/chart"])
                {
                    assert!(
                        labels[key].as_str().is_some_and(|value| !value.is_empty() && value.len() <= 63),
                        "{what}: {key}"
                    );
                }
                if values == EVERYTHING {
                    assert_eq!(labels["team"], "harbour", "{what}");
                    assert_eq!(labels["app.kubernetes.io/part-of"], "fleet", "{what}");
                    assert_eq!(labels["app.kubernetes.io/name"], "wasm", "{what}");
                }
            }
        }
    }
}

#[test]
fn each_selector_has_three_labels_and_selects_one_workload() {
    for (name, values) in CASES {
        let objects = objects(Release::with(values));
        let workloads: Vec<&Value> = objects.iter().filter(|object| pod(object).is_some()).collect();
        let selectors = objects.iter().filter_map(|object| {
            let policy = word(object, "/kind") == "NetworkPolicy";
            let at = if policy { "/spec/podSelector/matchLabels" } else { "/spec/selector/matchLabels" };
            object.pointer(at).map(|labels| (title(object), labels))
        });
        for (what, labels) in selectors {
            assert_eq!(keys(labels), SELECT, "{name}: {what}");
            let selected =
                workloads.iter().filter(|object| is_subset(labels, &pod(object).unwrap()["metadata"]["labels"]));
            assert_eq!(selected.count(), 1, "{name}: {what}");
        }
        let daemons = one(&objects, "DaemonSet", "");
        let wanted: BTreeSet<String> = daemons["spec"]["selector"]["matchLabels"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(key, value)| format!("{key}={}", value.as_str().unwrap()))
            .collect();
        for object in [one(&objects, "Deployment", ""), one(&objects, "Job", "")] {
            let told: BTreeSet<String> = argument(object, "selector").unwrap().split(',').map(str::to_owned).collect();
            assert_eq!(told, wanted, "{name}: {}", title(object));
        }
    }
}

#[test]
fn every_image_is_named_by_the_digest_where_one_is_given() {
    let images = |values| -> Vec<String> {
        let objects = objects(Release::with(values));
        let pods = objects.iter().filter_map(pod);
        pods.flat_map(|pod| list(pod, "/spec/containers"))
            .map(|container| word(container, "/image").to_owned())
            .collect()
    };
    for image in images(EVERYTHING) {
        assert!(image.starts_with("registry.example") && image.contains("@sha256:"), "{image}");
    }
    let version = env!("CARGO_PKG_VERSION");
    for image in images(DEFAULTS) {
        assert!(image.starts_with("ghcr.io/catamaran-wasm/") && image.ends_with(&format!(":{version}")), "{image}");
    }
}

#[test]
fn all_programs_get_the_same_handler_mode_port_and_label() {
    for (name, values) in CASES {
        let objects = objects(Release::with(values));
        let (installer, labeller, job) =
            (one(&objects, "DaemonSet", ""), one(&objects, "Deployment", ""), one(&objects, "Job", ""));
        assert_eq!(args(labeller)[0], "watch", "{name}");
        assert_eq!(args(job)[0], "uninstall", "{name}");
        assert!(args(installer).contains(&"serve".to_owned()), "{name}");
        assert_eq!(args(installer)[0], "--root=/host", "{name}");
        assert_eq!(argument(installer, "handler"), argument(labeller, "handler"), "{name}");
        let port = argument(job, "port").unwrap();
        assert_eq!(argument(installer, "listen").unwrap(), format!(":{port}"), "{name}");
        for (object, listens) in [(installer, port.as_str()), (labeller, "8891")] {
            let container = &pod(object).unwrap()["spec"]["containers"][0];
            assert_eq!(argument(object, "listen").unwrap(), format!(":{listens}"), "{name}");
            assert_eq!(container["ports"][0]["containerPort"].to_string(), listens, "{name}");
            for (probe, path) in [("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")] {
                assert_eq!(container[probe]["httpGet"], json!({"path": path, "port": "http"}), "{name}: {probe}");
            }
        }
        let map = one(&objects, "ConfigMap", "-mode");
        assert_eq!(map["data"], json!({"mode": "install"}), "{name}");
        for object in [labeller, job] {
            assert_eq!(argument(object, "config-map").as_deref(), map["metadata"]["name"].as_str(), "{name}");
            assert_eq!(argument(object, "namespace").as_deref(), Some("catamaran-system"), "{name}");
        }
        assert_eq!(argument(job, "mode").unwrap(), if values == EVERYTHING { "uninstall-force" } else { "uninstall" });

        let taint = argument(labeller, "startup-taint");
        assert_eq!(taint.is_none(), values == LITTLE, "{name}");
        for object in [labeller, job] {
            let tolerated = list(pod(object).unwrap(), "/spec/tolerations");
            let is_taint = |toleration: &&Value| {
                taint.as_deref() == toleration["key"].as_str() && toleration.get("effect").is_none()
            };
            assert_eq!(
                tolerated.iter().filter(|toleration| is_taint(toleration)).count(),
                usize::from(taint.is_some()),
                "{name}"
            );
        }
        if values != LITTLE {
            let class = one(&objects, "RuntimeClass", "");
            assert_eq!(class["handler"].as_str(), argument(installer, "handler").as_deref(), "{name}");
            let label = argument(labeller, "ready-label").unwrap();
            assert_eq!(class["scheduling"]["nodeSelector"], json!({label: "true"}), "{name}");
        }
    }
}

#[test]
fn the_installer_sees_mode_and_options_where_it_is_told_to_look() {
    for (name, values) in CASES {
        let objects = objects(Release::with(values));
        let installer = one(&objects, "DaemonSet", "");
        let spec = &pod(installer).unwrap()["spec"];
        let mounts = list(spec, "/containers/0/volumeMounts");
        assert_eq!(
            mounts[0],
            &json!({"name": "host", "mountPath": "/host", "mountPropagation": "HostToContainer"}),
            "{name}"
        );
        assert_eq!(mounts[1], &json!({"name": "settings", "mountPath": "/etc/catamaran", "readOnly": true}), "{name}");
        let sources = &spec["volumes"][1]["projected"]["sources"];
        let map = &one(&objects, "ConfigMap", "-mode")["metadata"]["name"];
        let items = json!([{"key": "mode", "path": "mode"}]);
        assert_eq!(sources[0]["configMap"], json!({"name": map, "items": items}), "{name}");
        assert_eq!(sources[1]["downwardAPI"]["items"][0]["path"], "options.json", "{name}");
        assert_eq!(argument(installer, "mode-file").unwrap(), "/etc/catamaran/mode");
        assert_eq!(argument(installer, "options-file").unwrap(), "/etc/catamaran/options.json");
    }
}

/// Returns the options as the installer reads them, and all objects without the options.
fn options_and_rest(values: &str) -> (Value, Vec<Value>) {
    const KEY: &str = "installer.catamaran.wasm/options";
    let mut objects = objects(Release::with(values));
    let daemons = objects.iter_mut().find(|object| word(object, "/kind") == "DaemonSet").unwrap();
    let field =
        daemons.pointer("/spec/template/spec/volumes/1/projected/sources/1/downwardAPI/items/0/fieldRef/fieldPath");
    assert_eq!(field.unwrap(), &json!(format!("metadata.annotations['{KEY}']")));
    let annotations = daemons.pointer_mut("/spec/template/metadata/annotations").unwrap().as_object_mut().unwrap();
    let text = annotations.remove(KEY).unwrap();
    (serde_json::from_str(text.as_str().unwrap()).unwrap(), objects)
}

#[test]
fn changed_options_change_only_the_installers_pod_template() {
    let (none, before) = options_and_rest("{}");
    assert_eq!(none, json!({}));
    let text = "options: {max_module_bytes: 134217728, native_runtime: 'a \"b\" c', native_containers: false}";
    let (some, after) = options_and_rest(text);
    assert_eq!(
        some,
        json!({"max_module_bytes": 134_217_728, "native_runtime": "a \"b\" c", "native_containers": false})
    );
    assert_eq!(before, after);
    let objects = objects(Release::with(DEFAULTS));
    let strategy = json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}});
    assert_eq!(one(&objects, "DaemonSet", "")["spec"]["updateStrategy"], strategy);
    assert_eq!(one(&objects, "Deployment", "")["spec"]["strategy"], json!({"type": "Recreate"}));
}

#[test]
fn only_the_job_before_a_deletion_uninstalls_and_hooks_leave_nothing() {
    for (name, values) in CASES {
        let mut before_deletion = Vec::new();
        for object in objects(Release::with(values)) {
            let annotation = |key: &str| object["metadata"]["annotations"][key].as_str().unwrap_or_default().to_owned();
            let policy = annotation("helm.sh/hook-delete-policy");
            let what = format!("{name}: {}", title(&object));
            match annotation("helm.sh/hook").as_str() {
                "" => assert!(!object.to_string().contains("uninstall-force"), "{what}"),
                "test" => assert_eq!(policy, "before-hook-creation,hook-succeeded,hook-failed", "{what}"),
                "pre-delete" => {
                    assert_eq!(policy, "before-hook-creation,hook-succeeded", "{what}");
                    before_deletion.push((annotation("helm.sh/hook-weight").parse::<i32>().unwrap(), title(&object)));
                }
                other => panic!("{what}: the hook {other:?}"),
            }
        }
        before_deletion.sort();
        let kinds: Vec<&str> = before_deletion.iter().map(|(_, title)| title.split(' ').next().unwrap()).collect();
        assert_eq!(kinds, ["Role", "ServiceAccount", "RoleBinding", "Job"], "{name}");
        let objects = objects(Release::with(values));
        let job = &one(&objects, "Job", "")["spec"];
        assert_eq!((&job["backoffLimit"], &job["ttlSecondsAfterFinished"]), (&json!(0), &json!(3600)), "{name}");
        let timeout: u64 = argument(one(&objects, "Job", ""), "timeout").unwrap().parse().unwrap();
        assert!(job["activeDeadlineSeconds"].as_u64().unwrap() > timeout, "{name}");
    }
}

#[test]
fn a_test_has_a_pod_for_each_engine_that_is_allowed() {
    let engines = |values| -> Vec<String> {
        let objects = objects(Release::with(values));
        let pods = objects.iter().filter(|object| word(object, "/kind") == "Pod");
        pods.map(|pod| {
            let engine = pod["metadata"]["annotations"]["catamaran.wasm/engine"].as_str().unwrap();
            assert!(word(pod, "/metadata/name").ends_with(&format!("-test-{engine}")));
            let class = if values == EVERYTHING { "webassembly" } else { "catamaran" };
            assert_eq!((word(pod, "/spec/runtimeClassName"), word(pod, "/spec/restartPolicy")), (class, "Never"));
            engine.to_owned()
        })
        .collect()
    };
    assert_eq!(engines(DEFAULTS), ["wasmtime", "wasmer"]);
    assert_eq!(engines(EVERYTHING), ["wasmer"]);
    assert!(engines(LITTLE).is_empty());
}

/// Kind, namespace and name of all objects.
fn names(release: Release<'_>) -> BTreeSet<String> {
    let named = |object: &Value| format!("{} {}", word(object, "/metadata/namespace"), title(object));
    let objects = objects(release);
    let names: BTreeSet<String> = objects.iter().map(named).collect();
    assert_eq!(names.len(), objects.len(), "no name twice");
    names
}

#[test]
fn two_releases_of_two_handlers_share_no_object() {
    let one = names(Release { name: "one", namespace: "a", values: "{}" });
    let others = [
        Release { name: "two", namespace: "a", values: "handler: wasm" },
        Release { name: "one", namespace: "b", values: "handler: wasm" },
        Release { name: "one", namespace: "b", values: "{handler: wasm, fullnameOverride: one-catamaran}" },
    ];
    for other in others {
        let shared: Vec<String> = one.intersection(&names(other)).cloned().collect();
        assert!(shared.is_empty(), "{other:?}: {shared:?}");
    }
}

#[test]
fn the_longest_name_of_a_release_fits() {
    // The longest name that Helm takes.
    let name = "a".repeat(53);
    let values = format!("options: {{allowed_engines: [wasmtime]}}\nnameOverride: {}", "b".repeat(63));
    for object in objects(Release { name: &name, namespace: "catamaran-system", values: &values }) {
        let name = word(&object, "/metadata/name");
        let name = name.split_once(':').map_or(name, |(_, name)| name);
        assert!(name.len() <= 63 && !name.ends_with('-'), "{}: {}", title(&object), name.len());
    }
}
