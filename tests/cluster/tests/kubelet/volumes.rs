//! A guest's view of volumes and of its environment.

use std::time::Duration;

use catamaran_cluster::Space;
use catamaran_harness::{Engine, wait_until};

use crate::guest::{BUSYBOX, GUESTS, pod};
use crate::pods::sleeper;
use crate::run::tests;

tests! {
    Each: a_guest_reads_every_kind_of_volume, a_change_of_a_config_map_reaches_a_guest, a_sub_path_is_one_file,
        an_image_is_a_volume, the_environment_comes_from_objects, a_volume_in_memory_is_shared_with_a_native_container;
}

fn read(space: &Space<'_>, pod: &str, path: &str) -> String {
    let output = space.exec(pod, &["/kitchen.wasm", "read", path]);
    assert_eq!(output.code, 0, "{path}: {output:?}");
    output.stdout
}

fn objects(space: &Space<'_>) {
    space.ok(["create", "configmap", "words", "--from-literal=motto=two hulls"]);
    space.ok(["create", "secret", "generic", "hidden", "--from-literal=key=quite secret"]);
}

fn a_guest_reads_every_kind_of_volume(space: &Space<'_>, engine: Engine) {
    objects(space);
    let volumes = "  volumes:
  - {name: words, configMap: {name: words}}
  - {name: hidden, secret: {secretName: hidden, defaultMode: 0400}}
  - {name: told, downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}]}}
  - name: all
    projected:
      sources:
      - configMap: {name: words}
      - secret: {name: hidden}
      - serviceAccountToken: {path: token}
      - downwardAPI: {items: [{path: name, fieldRef: {fieldPath: metadata.name}}]}
";
    let mounts = "volumeMounts:
- {name: words, mountPath: /words}
- {name: hidden, mountPath: /hidden, readOnly: true}
- {name: told, mountPath: /told}
- {name: all, mountPath: /all}";
    space.apply(&(sleeper("reads", engine, mounts) + volumes));
    space.wait("pod/reads", "condition=Ready");
    assert_eq!(read(space, "reads", "/words/motto"), "two hulls");
    assert_eq!(read(space, "reads", "/hidden/key"), "quite secret");
    assert_eq!(read(space, "reads", "/told/labels"), "app=\"reads\"");
    assert_eq!(read(space, "reads", "/all/name"), "reads");
    assert_eq!(read(space, "reads", "/all/motto"), "two hulls");
    assert_eq!(read(space, "reads", "/all/token").split('.').count(), 3, "a token has three parts");
    assert_eq!(read(space, "reads", "/var/run/secrets/kubernetes.io/serviceaccount/namespace"), space.name());
    let refused = space.exec("reads", &["/kitchen.wasm", "write", "/hidden/key", "mine"]);
    assert_ne!(refused.code, 0, "a secret was overwritten");
}

fn a_change_of_a_config_map_reaches_a_guest(space: &Space<'_>, engine: Engine) {
    objects(space);
    let mounts = "volumeMounts: [{name: words, mountPath: /words}]";
    space.apply(&(sleeper("reads", engine, mounts) + "  volumes: [{name: words, configMap: {name: words}}]\n"));
    space.wait("pod/reads", "condition=Ready");
    assert_eq!(read(space, "reads", "/words/motto"), "two hulls");
    space.ok(["patch", "configmap/words", "--patch", r#"{"data": {"motto": "one deck"}}"#]);
    wait_until(Duration::from_secs(60), "the new words", || {
        (read(space, "reads", "/words/motto") == "one deck").then_some(())
    });
}

fn a_sub_path_is_one_file(space: &Space<'_>, engine: Engine) {
    objects(space);
    let more = "env: [{name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]
volumeMounts:
- {name: words, mountPath: /etc/one, subPath: motto}
- {name: work, mountPath: /mine, subPathExpr: of/$(POD)}
- {name: work, mountPath: /all}";
    let volumes = "  volumes: [{name: words, configMap: {name: words}}, {name: work, emptyDir: {}}]\n";
    space.apply(&(sleeper("parts", engine, more) + volumes));
    space.wait("pod/parts", "condition=Ready");
    assert_eq!(read(space, "parts", "/etc/one"), "two hulls");
    let wrote = space.exec("parts", &["/kitchen.wasm", "write", "/mine/file", "here"]);
    assert_eq!(wrote.code, 0, "{wrote:?}");
    assert_eq!(read(space, "parts", "/all/of/parts/file"), "here");
}

fn an_image_is_a_volume(space: &Space<'_>, engine: Engine) {
    let volumes = format!("  volumes: [{{name: image, image: {{reference: '{BUSYBOX}', pullPolicy: Never}}}}]\n");
    let mounts = "volumeMounts: [{name: image, mountPath: /image}]";
    space.apply(&(sleeper("imaged", engine, mounts) + &volumes));
    space.wait("pod/imaged", "condition=Ready");
    assert_eq!(read(space, "imaged", "/image/www/index.html"), "a page\n");
    let refused = space.exec("imaged", &["/kitchen.wasm", "write", "/image/www/index.html", "mine"]);
    assert_ne!(refused.code, 0, "an image was overwritten");
}

fn the_environment_comes_from_objects(space: &Space<'_>, engine: Engine) {
    objects(space);
    let more = "envFrom: [{configMapRef: {name: words}, prefix: MAP_}]
env:
- {name: KEY, valueFrom: {secretKeyRef: {name: hidden, key: key}}}
- {name: ADDRESS, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
- {name: LIMIT, valueFrom: {resourceFieldRef: {resource: limits.memory}}}
- {name: COMPOSED, value: '$(KEY), as said'}
resources: {limits: {memory: 64Mi}}";
    space.apply(&sleeper("env", engine, more));
    space.wait("pod/env", "condition=Ready");
    let said = space.exec("env", &["/env.wasm"]).stdout;
    let address = space.get("pod/env")["status"]["podIP"].as_str().unwrap_or_default().to_owned();
    for expected in [
        "MAP_motto=two hulls",
        "KEY=quite secret",
        "LIMIT=67108864",
        "COMPOSED=quite secret, as said",
        &format!("ADDRESS={address}"),
    ] {
        assert!(said.lines().any(|line| line == expected), "{expected} is missing in {said}");
    }
}

fn a_volume_in_memory_is_shared_with_a_native_container(space: &Space<'_>, engine: Engine) {
    let spec = format!(
        "volumes: [{{name: work, emptyDir: {{medium: Memory, sizeLimit: 8Mi}}}}]\ncontainers:\n\
         - {{name: main, image: {GUESTS}, imagePullPolicy: Never, volumeMounts: [{{name: work, mountPath: /work}}]}}\n\
         - {{name: native, image: {BUSYBOX}, imagePullPolicy: Never, volumeMounts: [{{name: work, mountPath: /work}}]}}"
    );
    space.apply(&pod("shares", engine, &spec));
    space.wait("pod/shares", "condition=Ready");
    let wrote = space.run(["exec", "shares", "-c", "native", "--", "sh", "-c", "echo from a shell >/work/file"]);
    assert_eq!(wrote.code, 0, "{wrote:?}");
    assert_eq!(read(space, "shares", "/work/file"), "from a shell\n");
}
