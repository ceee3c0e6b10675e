use catamaran_chart_tests::documents::{list, one, pod, title, word, words};
use catamaran_chart_tests::helm::Release;
use serde_json::{Value, json};

use crate::{CASES, DEFAULTS, EVERYTHING, objects};

/// The containers of a pod, of all kinds.
fn containers(pod: &Value) -> Vec<&Value> {
    ["/spec/initContainers", "/spec/containers", "/spec/ephemeralContainers"]
        .iter()
        .flat_map(|path| list(pod, path))
        .collect()
}

#[test]
fn the_installer_has_no_token_and_no_more_of_its_node_than_it_needs() {
    for (name, values) in CASES {
        let objects = objects(Release::with(values));
        let daemons = one(&objects, "DaemonSet", "-installer");
        let spec = &daemons["spec"]["template"]["spec"];
        assert_eq!(spec["automountServiceAccountToken"], json!(false), "{name}");
        for key in ["hostPID", "hostNetwork", "hostIPC", "initContainers", "shareProcessNamespace"] {
            assert!(spec.get(key).is_none(), "{name}: {key}");
        }
        let [container] = list(spec, "/containers")[..] else { panic!("{name}: one container") };
        let security = &container["securityContext"];
        assert_eq!(security["privileged"], json!(false), "{name}");
        assert_eq!(security["allowPrivilegeEscalation"], json!(false), "{name}");
        assert_eq!(security["readOnlyRootFilesystem"], json!(true), "{name}");
        assert_eq!(security["capabilities"]["drop"], json!(["ALL"]), "{name}");
        assert!(list(container, "/ports").iter().all(|port| port.get("hostPort").is_none()), "{name}");
        // No projected token either; the host's only folder there is its root.
        let volumes = spec["volumes"].to_string();
        assert!(
            !volumes.contains("serviceAccountToken") && volumes.matches("hostPath").count() == 1,
            "{name}: {volumes}"
        );

        let account = one(&objects, "ServiceAccount", "-installer");
        assert_eq!(account["automountServiceAccountToken"], json!(false), "{name}");
        assert_eq!(spec["serviceAccountName"], account["metadata"]["name"], "{name}");
        for binding in objects.iter().filter(|object| word(object, "/kind").ends_with("RoleBinding")) {
            for subject in list(binding, "/subjects") {
                assert_ne!(subject["name"], account["metadata"]["name"], "{name}: {}", title(binding));
            }
        }
    }
    let objects = objects(Release::with(DEFAULTS));
    let container = &one(&objects, "DaemonSet", "-installer")["spec"]["template"]["spec"]["containers"][0];
    let added = words(container, "/securityContext/capabilities/add");
    assert_eq!(added, ["SYS_CHROOT", "SYS_PTRACE", "CHOWN"]);
    assert_eq!(container["securityContext"]["appArmorProfile"], json!({"type": "Unconfined"}));
    assert_eq!(container["securityContext"]["seLinuxOptions"], json!({"type": "spc_t"}));
}

/// As in the Pod Security Standards, version 1.37.
#[test]
fn all_other_pods_are_restricted() {
    for (name, values) in CASES {
        let mut found = Vec::new();
        for object in objects(Release::with(values)) {
            let Some(pod) = pod(&object).filter(|_| word(&object, "/kind") != "DaemonSet") else { continue };
            let what = format!("{name}: {}", title(&object));
            for key in ["hostPID", "hostNetwork", "hostIPC", "volumes", "securityContext"] {
                assert!(pod["spec"].get(key).is_none(), "{what}: {key}");
            }
            for container in containers(pod) {
                let expected = json!({
                    "allowPrivilegeEscalation": false,
                    "capabilities": {"drop": ["ALL"]},
                    "readOnlyRootFilesystem": true,
                    "runAsGroup": 65532,
                    "runAsNonRoot": true,
                    "runAsUser": 65532,
                    "seccompProfile": {"type": "RuntimeDefault"},
                });
                assert_eq!(container["securityContext"], expected, "{what}");
            }
            found.push(word(&object, "/kind").to_owned());
        }
        let tests = found.iter().filter(|kind| *kind == "Pod").count();
        assert_eq!(found.len() - tests, 2, "{name}: {found:?}: the labeller and the Job");
    }
}

#[test]
fn only_the_labeller_and_the_job_have_a_token_each_with_its_own_rights() {
    for (name, values) in CASES {
        let objects = objects(Release::with(values));
        let mut with_token = Vec::new();
        for object in &objects {
            if word(object, "/kind") == "ServiceAccount" {
                assert_eq!(object["automountServiceAccountToken"], json!(false), "{name}: {}", title(object));
            }
            let Some(pod) = pod(object) else { continue };
            match pod["spec"]["automountServiceAccountToken"].as_bool() {
                Some(true) => with_token.push(word(pod, "/spec/serviceAccountName").to_owned()),
                Some(false) => (),
                None => panic!("{name}: {} says nothing of a token", title(object)),
            }
        }
        with_token.sort();
        let [labeller, uninstall] = &with_token[..] else { panic!("{name}: {with_token:?}") };
        assert!(labeller.ends_with("-labeller") && uninstall.ends_with("-uninstall"), "{name}: {with_token:?}");

        let map = one(&objects, "ConfigMap", "-mode")["metadata"]["name"].clone();
        let rules = |kind: &str, account: &str| {
            let binding = one(&objects, &format!("{kind}Binding"), account);
            assert_eq!(binding["roleRef"]["kind"], json!(kind));
            let role = one(&objects, kind, word(binding, "/roleRef/name"));
            let [subject] = list(binding, "/subjects")[..] else { panic!("{name}: {}", title(binding)) };
            assert_eq!(
                subject,
                &json!({"kind": "ServiceAccount", "name": account, "namespace": "catamaran-system"}),
                "{name}"
            );
            role["rules"].clone()
        };
        let nodes = json!([{"apiGroups": [""], "resources": ["nodes"], "verbs": ["list", "watch", "patch"]}]);
        assert_eq!(rules("ClusterRole", labeller), nodes, "{name}");
        let reads = ["list", "watch"];
        let own = json!([
            {"apiGroups": [""], "resources": ["pods"], "verbs": reads},
            {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": [map], "verbs": reads},
        ]);
        assert_eq!(rules("Role", labeller), own, "{name}");
        let hook = json!([
            {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": [map], "verbs": ["patch"]},
            {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]},
        ]);
        assert_eq!(rules("Role", uninstall), hook, "{name}");
        let roles = objects.iter().filter(|object| word(object, "/kind").ends_with("Role")).count();
        assert_eq!(roles, 3, "{name}: no other role");
    }
}

#[test]
fn the_network_policies_open_only_the_needed_ports() {
    let objects = objects(Release::with(EVERYTHING));
    let policy = |end: &str| &one(&objects, "NetworkPolicy", end)["spec"];
    for end in ["-installer", "-labeller", "-uninstall"] {
        assert_eq!(policy(end)["policyTypes"], json!(["Ingress", "Egress"]), "{end}");
    }
    let port = |number: u16| json!({"protocol": "TCP", "port": number});
    assert_eq!(policy("-installer")["ingress"], json!([{"ports": [port(9000)]}]));
    assert_eq!(policy("-installer")["egress"], json!([]));
    let api = json!({"ports": [port(443), port(16443)]});
    let dns = json!({"ports": [{"protocol": "UDP", "port": 53}, port(53)]});
    assert_eq!(policy("-labeller")["egress"], json!([api, dns]));
    let probes = json!([{
        "from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}, {"ipBlock": {"cidr": "fd00::/8"}}],
        "ports": [port(8891)],
    }]);
    assert_eq!(policy("-labeller")["ingress"], probes);
    let installers = json!({"to": [{"podSelector": policy("-installer")["podSelector"]}], "ports": [port(9000)]});
    assert_eq!(policy("-uninstall")["egress"], json!([api, dns, installers]));
    assert_eq!(policy("-uninstall")["ingress"], json!([]));

    let shut = crate::objects(Release::with(DEFAULTS));
    assert_eq!(one(&shut, "NetworkPolicy", "-labeller")["spec"]["ingress"], json!([]));
}
