//! The shim's command line, which containerd runs before and after there is a server.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use catamaran_harness::{shim_folder, wait_until};
use containerd_shim_protos::api::{ConnectRequest, DeleteResponse, ShutdownRequest};
use containerd_shim_protos::bootstrap_api::{BootstrapParams, BootstrapResult};
use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::types::introspection::RuntimeInfo;
use containerd_shim_protos::{Client, TaskClient, ttrpc};

/// A folder in the role of a bundle, removed at the end.
struct Bundle(PathBuf);

impl Bundle {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("catamaran-bundle-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

fn shim(bundle: &Path, arguments: &[&str], environment: &[(&str, &str)], stdin: &[u8]) -> Output {
    // With an open descriptor of another program's, as a containerd may have one without close-on-exec.
    let mut child = Command::new("sh")
        .args(["-c", "exec 9</etc; exec \"$0\" \"$@\""])
        .arg(shim_folder().join("containerd-shim-catamaran-v1"))
        .args(arguments)
        .envs(environment.iter().copied())
        .current_dir(bundle)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(stdin).unwrap();
    // Ends only when the forked server has closed the pipes, as containerd needs it.
    child.wait_with_output().unwrap()
}

/// Asks the server at `address` for its pid, then to shut down, and waits until it is gone with its socket.
fn visit(address: &str) {
    let task = TaskClient::new(Client::connect(address).unwrap());
    let patience = || ttrpc::context::with_timeout(10_000_000_000);
    let connected = task.connect(patience(), &ConnectRequest { id: "none".to_owned(), ..Default::default() }).unwrap();
    let server = PathBuf::from(format!("/proc/{}", connected.shim_pid));
    let open = fs::read_dir(server.join("fd")).unwrap().map(|e| fs::read_link(e.unwrap().path()).unwrap());
    assert!(!open.collect::<Vec<_>>().contains(&PathBuf::from("/etc")), "an inherited descriptor is open");
    assert!(connected.shim_pid > 1 && server.exists());
    let _ = task.shutdown(patience(), &ShutdownRequest { id: "none".to_owned(), ..Default::default() });
    let gone = |path: &Path| (!path.exists()).then_some(());
    wait_until(catamaran_harness::PATIENCE, "the server to end", || gone(&server));
    wait_until(catamaran_harness::PATIENCE, "the socket to go", || gone(Path::new(&address["unix://".len()..])));
}

#[test]
fn version_names_shim_and_engine() {
    let bundle = Bundle::new("version");
    for flag in ["-v", "-version"] {
        let answer = shim(&bundle.0, &[flag], &[], b"");
        let text = String::from_utf8(answer.stdout).unwrap();
        assert!(answer.status.success() && text.contains(env!("CARGO_PKG_VERSION")), "{text}");
        assert!(text.contains("wasmtime:  48."), "{text}");
    }
}

#[test]
fn info_is_a_message_with_oci_features() {
    let bundle = Bundle::new("info");
    let answer = shim(&bundle.0, &["-info"], &[], b"");
    let info = RuntimeInfo::parse_from_bytes(&answer.stdout).unwrap();
    assert_eq!(info.name, "io.containerd.catamaran.v1");
    assert_eq!(info.version.version, env!("CARGO_PKG_VERSION"));
    assert!(info.annotations["catamaran.wasm/wasmtime"].starts_with("48."), "{info:?}");
    assert!(info.features.type_url.ends_with("runtime-spec/1/features/Features"), "{}", info.features.type_url);
    let features: serde_json::Value = serde_json::from_slice(&info.features.value).unwrap();
    assert_eq!(features["ociVersionMin"], "1.0.0");
    assert!(features["mountOptions"].as_array().unwrap().contains(&"rbind".into()), "{features}");
    assert_eq!(features["linux"]["cgroup"]["v2"], true);
}

#[test]
fn start_by_flags_answers_json() {
    let bundle = Bundle::new("flags");
    let arguments =
        ["-namespace", "catamaran-bootstrap", "-id", "flags", "-address", "/nowhere/containerd.sock", "start"];
    let answer = shim(&bundle.0, &arguments, &[("TTRPC_ADDRESS", "/nowhere/containerd.sock.ttrpc")], b"");
    assert!(answer.status.success(), "{answer:?}");
    let reply: serde_json::Value = serde_json::from_slice(&answer.stdout).unwrap();
    assert_eq!((&reply["version"], &reply["protocol"]), (&3.into(), &"ttrpc".into()));
    visit(reply["address"].as_str().unwrap());
}

#[test]
fn start_by_message_answers_a_message() {
    let bundle = Bundle::new("message");
    let sockets = bundle.0.join("s");
    let message = BootstrapParams {
        instance_id: "message".to_owned(),
        namespace: "catamaran-bootstrap".to_owned(),
        containerd_ttrpc_address: "/nowhere/containerd.sock.ttrpc".to_owned(),
        containerd_grpc_address: "/nowhere/containerd.sock".to_owned(),
        socket_dir: Some(sockets.to_string_lossy().into_owned()),
        ..Default::default()
    };
    let arguments = ["-namespace", "catamaran-bootstrap", "-id", "message", "start"];
    let answer = shim(&bundle.0, &arguments, &[], &message.write_to_bytes().unwrap());
    assert!(answer.status.success(), "{answer:?}");
    let reply = BootstrapResult::parse_from_bytes(&answer.stdout).unwrap();
    assert_eq!((reply.version, reply.protocol.as_str()), (3, "ttrpc"));
    assert!(reply.address.starts_with(&format!("unix://{}/", sockets.display())), "{}", reply.address);
    visit(&reply.address);
}

#[test]
fn a_start_that_fails_says_why() {
    let bundle = Bundle::new("refused");
    for (arguments, word) in [
        (["-namespace", "n", "start"].as_slice(), "-id"),
        (&["-id", "i", "start"], "-namespace"),
        (&["-namespace", "n", "-id", "i", "start"], "TTRPC_ADDRESS"),
        (&["-namespace", "n", "-id", "i", "dance"], "dance"),
    ] {
        let answer = Command::new(shim_folder().join("containerd-shim-catamaran-v1"))
            .args(arguments)
            .env_remove("TTRPC_ADDRESS")
            .current_dir(&bundle.0)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&answer.stderr);
        assert!(!answer.status.success() && text.contains(word), "{arguments:?}: {text}");
    }
}

#[test]
fn delete_works_in_a_bundle_where_nothing_was_created() {
    let bundle = Bundle::new("delete");
    let arguments =
        ["-namespace", "n", "-id", "i", "-address", "/nowhere", "-bundle", bundle.0.to_str().unwrap(), "delete"];
    for _ in 0..2 {
        let answer = shim(&bundle.0, &arguments, &[], b"");
        assert!(answer.status.success(), "{answer:?}");
        let response = DeleteResponse::parse_from_bytes(&answer.stdout).unwrap();
        assert_eq!((response.pid, response.exit_status), (0, 137));
    }
}

#[test]
fn a_worker_started_by_hand_says_what_it_is() {
    for name in ["catamaran-wasmtime", "catamaran-wasmtime-compile"] {
        let answer = Command::new(shim_folder().join(name)).arg("x").stdin(Stdio::null()).output().unwrap();
        assert!(!answer.status.success() && !answer.stderr.is_empty(), "{name}: {answer:?}");
    }
}
