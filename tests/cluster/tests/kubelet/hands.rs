//! Users' actions by `kubectl`: logs, exec, attach, port-forward, debug, and the programs of `examples/`.

use std::io::{BufRead, BufReader};
use std::time::Duration;

use catamaran_cluster::Space;
use catamaran_harness::{Engine, Example, wait_until};

use crate::guest::{BUSYBOX, once, pod, web};
use crate::pods::sleeper;
use crate::run::tests;
use crate::workloads::ask;

tests! {
    Each: logs_are_what_a_guest_wrote, exec_brings_streams_and_the_exit_code, attach_reaches_standard_input,
        a_port_is_forwarded, kubectl_debug_adds_an_ephemeral_container, a_missing_program_is_named_in_the_pods_status;
    Once: the_examples_run_as_their_manifests_say;
}

fn logs_are_what_a_guest_wrote(space: &Space<'_>, engine: Engine) {
    let manifest = once("writes", engine, r#"["/args.wasm", "one", "two", "three"]"#, "");
    space.apply(&manifest.replace("restartPolicy: Never", "restartPolicy: Always"));
    // The container is restarted again and again, and the previous one may just have been removed.
    wait_until(Duration::from_secs(60), "the log of the container before", || {
        (space.run(["logs", "writes", "--previous"]).stdout == "/args.wasm\none\ntwo\nthree\n").then_some(())
    });
    space.apply(&once("ends", engine, r#"["/args.wasm", "one", "two", "three"]"#, ""));
    space.end_of("ends");
    assert_eq!(space.ok(["logs", "ends", "--follow", "--tail=2"]), "two\nthree\n");
    let stamped = space.ok(["logs", "ends", "--timestamps", "--tail=1"]);
    assert!(stamped.starts_with("20") && stamped.ends_with("Z three\n"), "{stamped}");
}

fn exec_brings_streams_and_the_exit_code(space: &Space<'_>, engine: Engine) {
    space.apply(&sleeper("runs", engine, ""));
    space.wait("pod/runs", "condition=Ready");
    for code in [0, 7, 255] {
        assert_eq!(space.exec("runs", &["/exit.wasm", &code.to_string()]).code, code);
    }
    let echoed = space.run_with(["exec", "-i", "runs", "--", "/cat.wasm"], "words, ünd more\n");
    assert_eq!((echoed.code, echoed.stdout.as_str()), (0, "words, ünd more\n"), "{echoed:?}");
    let complained = space.exec("runs", &["/kitchen.wasm", "stderr", "a complaint"]);
    assert!(complained.stdout.is_empty() && complained.stderr.contains("a complaint"), "{complained:?}");
    let absent = space.exec("runs", &["/bin/sh"]);
    assert!(absent.code == 127 && absent.stderr.contains("/bin/sh"), "{absent:?}");
}

fn attach_reaches_standard_input(space: &Space<'_>, engine: Engine) {
    space.apply(&once("hears", engine, r#"["/cat.wasm"]"#, "stdin: true\nstdinOnce: true"));
    space.wait("pod/hears", "condition=Ready");
    let echoed = space.run_with(["attach", "-i", "hears"], "said by attach\n");
    assert!(echoed.stdout.contains("said by attach"), "{echoed:?}");
    assert_eq!(space.end_of("hears"), "Succeeded");
    assert_eq!(space.logs("hears", "main"), "said by attach\n");
}

fn a_port_is_forwarded(space: &Space<'_>, engine: Engine) {
    let (image, command, port) = web(engine);
    space.apply(&pod("web", engine, &format!("containers:\n- name: web\n  image: {image}\n  imagePullPolicy: Never\n  command: {command}\n  readinessProbe: {{tcpSocket: {{port: {port}}}, periodSeconds: 1}}")));
    space.wait("pod/web", "condition=Ready");
    let mut forward = space.start(["port-forward", "pod/web", &format!(":{port}")]);
    // Kept open: it writes a line for each connection.
    let mut said = BufReader::new(forward.stdout.take().expect("a pipe"));
    let mut line = String::new();
    said.read_line(&mut line).expect("no line");
    let local = line.strip_prefix("Forwarding from 127.0.0.1:").and_then(|rest| rest.split(' ').next());
    let local: u16 = local.and_then(|port| port.parse().ok()).unwrap_or_else(|| panic!("{line:?}"));
    let answers: Vec<_> = (0..3).map(|_| ask("127.0.0.1", local)).collect();
    forward.kill().expect("cannot end kubectl");
    forward.wait().expect("cannot wait for kubectl");
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
}

fn kubectl_debug_adds_an_ephemeral_container(space: &Space<'_>, engine: Engine) {
    space.apply(&sleeper("odd", engine, ""));
    space.wait("pod/odd", "condition=Ready");
    let image = format!("--image={BUSYBOX}");
    space.ok([
        "debug",
        "odd",
        &image,
        "--image-pull-policy=Never",
        "--container=looks",
        "--target=main",
        "--quiet",
        "--",
        "sh",
        "-c",
        "id -u; ls /proc/1/exe >/dev/null && echo looked",
    ]);
    space.wait("pod/odd", "jsonpath={.status.ephemeralContainerStatuses[0].state.terminated.exitCode}=0");
    assert_eq!(space.logs("odd", "looks"), "0\nlooked\n");
    assert_eq!(space.get("pod/odd")["status"]["containerStatuses"][0]["restartCount"], 0);
}

/// The refusal is in the container's status, where the pod's author sees it.
fn a_missing_program_is_named_in_the_pods_status(space: &Space<'_>, engine: Engine) {
    space.apply(&once("lost", engine, r#"["/nowhere.wasm"]"#, ""));
    space.until("pod/lost", "a refusal", |pod| {
        let state = &pod["status"]["containerStatuses"][0]["state"];
        let text = state.to_string();
        (text.contains("/nowhere.wasm") && text.contains("Error")).then_some(())
    });
}

fn the_examples_run_as_their_manifests_say(space: &Space<'_>) {
    for name in Example::all() {
        space.apply(&Example::open(&name).pod());
    }
    assert_eq!(space.end_of("hello"), "Succeeded");
    assert!(space.ok(["logs", "hello"]).contains("Ahoy"));
    assert_eq!(space.end_of("go-hello"), "Succeeded");
    assert!(space.ok(["logs", "go-hello"]).contains("two hulls, one deck"));
    for name in Example::all().iter().filter(|name| *name == "wasix-server" || name.starts_with("http-")) {
        space.wait(&format!("pod/{name}"), "condition=Ready");
        let address = space.get(&format!("pod/{name}"))["status"]["podIP"].as_str().unwrap_or_default().to_owned();
        let answer = wait_until(Duration::from_secs(20), "an answer", || ask(&address, 8080).ok());
        assert!(answer.contains("Ahoy"), "{name}: {answer}");
    }
}
