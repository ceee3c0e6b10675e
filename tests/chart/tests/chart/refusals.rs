use catamaran_chart_tests::helm::{Release, Tools};

/// Both Helms accept each of these.
const GOOD: [&str; 19] = [
    "handler: wasm-2",
    "handler: a",
    "runtimeClass: {name: wasm}",
    "runtimeClass: {overhead: null}",
    "runtimeClass: {overhead: {podFixed: {memory: 2Mi, cpu: 0.01}}}",
    "options: {max_module_bytes: 536870912}",
    "options: {native_runtime: crun, native_containers: true}",
    "options: {allowed_engines: [wasmer, wasmtime], default_engine: wasmtime}",
    "image: {installer: {tag: 1.2.3-rc.1}}",
    "installer: {tolerations: null, affinity: null, resources: null, nodeSelector: null}",
    "installer: {updateStrategy: {type: OnDelete, rollingUpdate: null}}",
    "installer: {updateStrategy: {rollingUpdate: {maxUnavailable: 20%}}}",
    "installer: {appArmorProfile: null, seLinuxOptions: null, capabilities: []}",
    "installer: {unit: 'snap.microk8s.daemon-containerd.service'}",
    "labeller: {startupTaint: '', nodeSelector: null, resources: {limits: {memory: 64Mi}}}",
    "labeller: {readyLabel: wasm, versionLabel: example.com/wasm.version}",
    "networkPolicy: {probesFrom: ['10.0.0.1/32', 'fd00::/8']}",
    "commonLabels: {app.kubernetes.io/part-of: fleet}",
    "global: {whatever: {a: 1}}",
];

/// Both Helms refuse each of these, with these words.
const BAD: &[(&str, &[&str])] = &[
    // No unknown key is ignored.
    ("handlers: wasm", &["handlers", "not allowed"]),
    ("image: {installer: {registry: example}}", &["/image/installer", "registry", "not allowed"]),
    ("image: {shim: {tag: a}}", &["/image", "shim", "not allowed"]),
    ("options: {default-engine: wasmer}", &["/options", "default-engine", "not allowed"]),
    ("runtimeClass: {overhead: {podfixed: {}}}", &["/runtimeClass/overhead", "podfixed", "not allowed"]),
    ("installer: {nodeselector: {}}", &["/installer", "nodeselector", "not allowed"]),
    ("installer: {tolerations: [{Operator: Exists}]}", &["/installer/tolerations/0", "Operator", "not allowed"]),
    ("installer: {resources: {limit: {}}}", &["/installer/resources", "limit", "not allowed"]),
    ("labeller: {replicas: 2}", &["/labeller", "replicas", "not allowed"]),
    ("metrics: {serviceMonitor: {enabled: true}}", &["/metrics", "serviceMonitor", "not allowed"]),
    ("imagePullSecrets: [{key: a}]", &["/imagePullSecrets/0"]),
    // Types and ranges.
    ("handler: 7", &["/handler", "string"]),
    ("imagePullSecrets: [registry]", &["/imagePullSecrets/0", "object"]),
    ("commonLabels: {team: 7}", &["/commonLabels/team", "string"]),
    ("installer: {port: 80}", &["/installer/port", "1,?024"]),
    ("installer: {port: '9000'}", &["/installer/port", "integer"]),
    ("installer: {interval: 1}", &["/installer/interval", "5"]),
    ("installer: {interval: 60s}", &["/installer/interval", "integer"]),
    ("installer: {rollbackAfter: 0}", &["/installer/rollbackAfter", "1"]),
    ("installer: {rollbackAfter: 3601}", &["/installer/rollbackAfter", "3,?600"]),
    ("installer: {updateStrategy: {type: Recreate}}", &["/installer/updateStrategy/type", "RollingUpdate"]),
    (
        "installer: {updateStrategy: {rollingUpdate: {maxSurge: 1}}}",
        &["/installer/updateStrategy/rollingUpdate/maxSurge"],
    ),
    ("installer: {capabilities: [CAP_SYS_ADMIN]}", &["/installer/capabilities/0"]),
    ("labeller: {extraEnv: [{name: KUBERNETES_SERVICE_PORT, value: 6443}]}", &["/labeller/extraEnv/0/value", "string"]),
    ("installer: {extraEnv: [{name: A, valueFrom: {}}]}", &["/installer/extraEnv/0", "valueFrom", "not allowed"]),
    ("installer: {nodeSelector: {wasm: true}}", &["/installer/nodeSelector/wasm", "string"]),
    ("networkPolicy: {probesFrom: [10.0.0.1]}", &["/networkPolicy/probesFrom/0", "10.0.0.1", "pattern"]),
    ("networkPolicy: {apiServerPorts: []}", &["/networkPolicy/apiServerPorts", "1"]),
    ("uninstall: {timeout: 5m}", &["/uninstall/timeout", "integer"]),
    ("image: {hello: {pullPolicy: always}}", &["/image/hello/pullPolicy", "IfNotPresent"]),
    ("options: {allowed_engines: []}", &["/options/allowed_engines", "1"]),
    ("options: {allowed_engines: [wasmtime, wasmtime]}", &["/options/allowed_engines", "equal|unique"]),
    ("options: {allowed_engines: wasmtime}", &["/options/allowed_engines", "array"]),
    ("options: {allowed_engines: [wasmedge]}", &["/options/allowed_engines/0", "wasmtime", "wasmer"]),
    ("options: {default_engine: Wasmtime}", &["/options/default_engine", "wasmtime", "wasmer"]),
    ("options: {native_containers: 'yes'}", &["/options/native_containers", "boolean"]),
    ("options: {max_module_bytes: 128Mi}", &["/options/max_module_bytes", "integer"]),
    ("options: {link_local_requests: 'yes'}", &["/options/link_local_requests", "boolean"]),
    // Rules that a schema cannot express.
    (
        "handler: Wasm",
        &["values: handler is \"Wasm\": expected at most 63 lower-case letters", "write handler: catamaran"],
    ),
    ("handler: -a", &["handler is \"-a\"", "no dash at either end"]),
    ("handler: runc", &["handler is \"runc\"", "and not runc"]),
    ("handler: ''", &["handler is \"\"", "write handler: catamaran"]),
    ("runtimeClass: {name: my.class}", &["runtimeClass.name is \"my.class\"", "or leave runtimeClass.name empty"]),
    ("fullnameOverride: A", &["fullnameOverride is \"A\"", "lower-case"]),
    ("image: {installer: {digest: abc}}", &["image.installer.digest is \"abc\"", "sha256: and 64 hexadecimal digits"]),
    (
        "image: {labeller: {tag: 'sha256:abc'}}",
        &["image.labeller.tag is \"sha256:abc\"", "belongs into image.labeller.digest"],
    ),
    (
        "installer: {containerdSocket: 'unix:///run/containerd/containerd.sock'}",
        &["installer.containerdSocket is", "an absolute path on the node", "/run/containerd/containerd.sock"],
    ),
    ("installer: {programsDir: opt/catamaran}", &["installer.programsDir is \"opt/catamaran\"", "/opt/catamaran"]),
    ("installer: {runwasiNames: bin}", &["installer.runwasiNames is \"bin\"", "/usr/local/bin"]),
    (
        "{handler: wasmer, installer: {runwasiNames: /usr/local/bin}}",
        &["handler is \"wasmer\"", "installer.runwasiNames"],
    ),
    ("installer: {unit: containerd}", &["installer.unit is \"containerd\"", "containerd.service"]),
    (
        "labeller: {startupTaint: 'catamaran.wasm/not-ready=:NoSchedule'}",
        &["labeller.startupTaint is", "a key alone, without a value and an effect"],
    ),
    ("labeller: {readyLabel: ''}", &["labeller.readyLabel is \"\"", "catamaran.wasm/ready"]),
    (
        "labeller: {versionLabel: catamaran.wasm/ready}",
        &["labeller.versionLabel", "another key than labeller.readyLabel's"],
    ),
    (
        "options: {allowed_engines: [wasmtime], default_engine: wasmer}",
        &["options.default_engine is \"wasmer\"", "one of options.allowed_engines, [\"wasmtime\"]"],
    ),
    (
        "options: {max_module_bytes: 536870913}",
        &["options.max_module_bytes is 536870913", "a number of bytes from 1 to 536870912"],
    ),
    ("options: {native_runtime: bin/runc}", &["options.native_runtime is \"bin/runc\"", "/usr/bin/crun"]),
];

/// Whether a text has a word, in which `,?` is a comma that only one Helm writes and `|` separates alternatives.
fn has(text: &str, word: &str) -> bool {
    if !word.contains(",?") && !word.contains('|') {
        return text.contains(word);
    }
    word.split('|').any(|word| text.contains(&word.replace(",?", ",")) || text.contains(&word.replace(",?", "")))
}

#[test]
fn good_values_are_accepted() {
    for values in GOOD {
        for helm in &Tools::provide().helms {
            helm.template(Release::with(values)).unwrap_or_else(|e| panic!("helm {}: {values}: {e}", helm.line));
        }
    }
}

#[test]
fn bad_values_are_refused_by_their_key_with_what_was_expected() {
    for (values, words) in BAD {
        for helm in &Tools::provide().helms {
            let Err(text) = helm.template(Release::with(values)) else { panic!("helm {} takes {values}", helm.line) };
            for word in *words {
                assert!(has(&text, word), "helm {}: {values}: {word:?} is missing in: {text}", helm.line);
            }
        }
    }
}

#[test]
fn a_kubernetes_that_is_too_old_is_refused() {
    let helm = &Tools::provide().helms[0];
    let text = helm.template_for(Release::with("{}"), "1.29.6").unwrap_err();
    assert!(text.contains(">=1.30.0-0") && text.contains("1.29.6"), "{text}");
}
