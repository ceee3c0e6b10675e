use super::*;

/// A state folder of the test's own, removed at the test's end.
struct Root(PathBuf);

impl Root {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("catamaran-state-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn pods(&self) -> Pods {
        Pods::below(&self.0, "/run/containerd.sock", "k8s.io")
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn pod(pods: &Pods, id: &str) -> Folder {
    let pod = pods.pod(id).unwrap();
    pod.serve(std::process::id(), Path::new("/run/s"), Path::new("/nowhere")).unwrap();
    pod
}

#[test]
fn a_pods_containers_are_found_by_its_id_and_by_theirs() {
    let root = Root::new("found");
    let pods = root.pods();
    assert_eq!(pods.pod("a").unwrap().containers().unwrap(), Vec::<String>::new());
    assert!(pods.with("a").unwrap().is_empty());
    let (a, b) = (pod(&pods, "a"), pod(&pods, "b"));
    let state = State::new(vec!["/sys/fs/cgroup/a".into()]);
    for id in ["a", "c1", "c2.json"] {
        a.write(id, &state).unwrap();
    }
    b.write("b", &state).unwrap();
    let mut containers = a.containers().unwrap();
    containers.sort();
    assert_eq!(containers, ["a", "c1", "c2.json"]);
    let with: Vec<_> = pods.with("c1").unwrap().into_iter().map(|pod| pod.0).collect();
    assert_eq!(with, std::slice::from_ref(&a.0));
    assert_eq!(a.read("c2.json").unwrap(), Some(state));
    assert_eq!(a.read("b").unwrap(), None);
    a.forget("c1").unwrap();
    a.forget("c1").unwrap();
    assert!(pods.with("c1").unwrap().is_empty());
    a.remove().unwrap();
    assert!(a.exists(), "it has containers");
    a.forget("a").unwrap();
    a.forget("c2.json").unwrap();
    a.remove().unwrap();
    a.remove().unwrap();
    assert!(!a.exists() && b.exists());
    b.forget("b").unwrap();
    b.remove().unwrap();
    assert!(!pods.0.exists(), "nor is the namespace's folder left");
}

#[test]
fn a_pod_that_is_set_aside_is_not_found_and_a_new_pod_of_its_id_is_kept() {
    let root = Root::new("aside");
    let a = pod(&root.pods(), "a");
    a.write("c", &State::new(Vec::new())).unwrap();
    a.set_aside().unwrap();
    assert!(a.exists(), "it has a container");
    a.forget("c").unwrap();
    a.set_aside().unwrap();
    assert!(!a.exists() && root.pods().all().unwrap().is_empty());
    assert_eq!(entries(&root.pods().0).unwrap().len(), 1, "the folder that is to be removed");
    let next = pod(&root.pods(), "a");
    a.remove_aside().unwrap();
    assert!(next.exists() && entries(&root.pods().0).unwrap() == ["a"]);
    next.remove().unwrap();
    next.remove_aside().unwrap();
    assert!(!root.pods().0.exists());
}

#[test]
fn a_half_written_state_is_ignored_or_refused() {
    let root = Root::new("half");
    let a = pod(&root.pods(), "a");
    fs::write(a.0.join(".c1.json.new"), "{\"format\":2,\"pi").unwrap();
    assert_eq!(a.containers().unwrap(), Vec::<String>::new());
    fs::write(a.0.join("c2.json"), "{\"format\":2,\"pi").unwrap();
    assert_eq!(a.containers().unwrap(), ["c2"], "something may be left of it");
    assert!(a.read("c2").unwrap_err().to_string().contains("c2.json"));
}

#[test]
fn a_newer_format_is_refused_and_an_older_one_read() {
    let root = Root::new("format");
    let a = pod(&root.pods(), "a");
    let newer = State { format: FORMAT + 1, ..State::new(Vec::new()) };
    a.write("c", &newer).unwrap();
    assert!(a.read("c").unwrap_err().to_string().contains("a newer shim"));
    fs::write(a.0.join("c.json"), format!("{{\"format\":{},\"other\":1}}", FORMAT + 1)).unwrap();
    assert!(a.read("c").unwrap_err().to_string().contains("a newer shim"), "whatever else is in it");
    // As format 1 was written.
    let older = r#"{"format":1,"shim":7,"pid":8,"cgroups":["/sys/fs/cgroup/pids/a"],"socket":"/run/containerd/s/x"}"#;
    fs::write(root.0.join(OLDER), older).unwrap();
    let state = State::of_older_shim(&root.0).unwrap().unwrap();
    assert_eq!((state.pid, state.cgroups), (8, vec![PathBuf::from("/sys/fs/cgroup/pids/a")]));
    assert_eq!(state.socket, Some(PathBuf::from("/run/containerd/s/x")));
    State::forget_older_shims(&root.0).unwrap();
    assert_eq!(State::of_older_shim(&root.0).unwrap(), None);
}

#[test]
fn a_shim_is_identified_by_pid_and_start_time() {
    let root = Root::new("server");
    let a = pod(&root.pods(), "a");
    let server = a.server().unwrap().unwrap();
    assert!(server.process().unwrap().is_some() && server.is(std::process::id()));
    let other = Server { started: 1, ..server.clone() };
    assert!(other.process().unwrap().is_none(), "its pid is another process's");
    assert!(a.is_forgotten(), "containerd has no bundle of it");
    a.put(SERVER, &Server { bundle: root.0.clone(), ..other }).unwrap();
    assert!(!a.is_forgotten(), "containerd is going to ask for it");
    assert_eq!(root.pods().all().unwrap().len(), 1);
    // Folders of a process that was killed, and of one that runs.
    let own = a.aside("new").unwrap().0;
    for folder in [&a.0.with_file_name(".4194305.1.old"), &own] {
        fs::create_dir(folder).unwrap();
    }
    root.pods().sweep().unwrap();
    assert_eq!(entries(&root.pods().0).unwrap().len(), 2, "the pod's, and its own");
    assert_eq!(root.pods().all().unwrap().len(), 1);
    fs::remove_dir(own).unwrap();
    a.remove().unwrap();
    // A shim was killed when it had set its folder aside.
    fs::create_dir_all(a.0.with_file_name(".4194305.1.old")).unwrap();
    root.pods().sweep().unwrap();
    assert!(!root.pods().0.exists());
    let never = Server { pid: i32::MAX.cast_unsigned(), ..server };
    assert!(never.process().unwrap().is_none());
}

#[test]
fn only_one_process_cleans_up_a_pod_at_a_time() {
    let root = Root::new("lock");
    let a = pod(&root.pods(), "a");
    let held = a.lock().unwrap();
    assert!(held.is_some() && a.lock().unwrap().is_none());
    drop(held);
    assert!(a.lock().unwrap().is_some());
    a.remove().unwrap();
    assert!(a.lock().unwrap().is_none());
}

#[test]
fn an_id_that_is_no_file_name_is_refused() {
    let root = Root::new("names");
    let pods = root.pods();
    for id in ["", ".", "..", ".server", "a/b", "a b", "-a"] {
        assert!(pods.pod(id).is_err() && pods.with(id).is_err(), "{id:?}");
    }
    let a = pod(&pods, "a");
    a.write("server", &State::new(Vec::new())).unwrap();
    assert!(a.server().unwrap().is_some(), "a container may be called \"server\"");
    let (one, other) = (Pods::below(&root.0, "/a", "b"), Pods::below(&root.0, "/ab", ""));
    assert_ne!(one.0, other.0);
}

/// Linux 6.1 answers EINVAL for the pid of such a shim, not ESRCH.
#[test]
fn a_dead_shim_is_recognised_though_its_process_group_lives_on() {
    use std::os::unix::process::CommandExt;
    let root = Root::new("group");
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "sleep 60 & read word"]).process_group(0).stdin(std::process::Stdio::piped());
    let mut leader = command.spawn().unwrap();
    let pid = leader.id();
    let pod = root.pods().pod("a").unwrap();
    pod.serve(pid, Path::new("/run/s"), Path::new("/nowhere")).unwrap();
    let server = pod.server().unwrap().unwrap();
    assert!(server.process().unwrap().is_some());
    drop(leader.stdin.take());
    leader.wait().unwrap();
    let gone = server.process();
    nix::sys::signal::killpg(nix::unistd::Pid::from_raw(pid.cast_signed()), nix::sys::signal::Signal::SIGKILL).unwrap();
    assert!(gone.unwrap().is_none());
}

/// An older `delete` would leave a native container behind, so it must refuse that container's state.
#[test]
fn only_a_native_containers_state_is_refused_by_older_shims() {
    let root = Root::new("native");
    let pod = pod(&root.pods(), "a");
    let runtime = native::Runtime { program: "/usr/bin/runc".into(), root: pod.runc("n").unwrap(), systemd: true };
    let record = native::Record { runtime, rootfs: Some("/run/b/rootfs".into()) };
    pod.write("n", &State::of_native(vec!["/sys/fs/cgroup/n".into()], record.clone())).unwrap();
    pod.write("w", &State::new(Vec::new())).unwrap();
    let format = |file: &str| {
        let text = fs::read(pod.0.join(file)).unwrap();
        serde_json::from_slice::<serde_json::Value>(&text).unwrap()["format"].as_u64().unwrap()
    };
    assert_eq!([format("n.json"), format("w.json"), format(SERVER)], [3, 2, 2]);
    assert_eq!(pod.read("n").unwrap().unwrap().native, Some(record));
    assert_eq!(pod.containers().unwrap().len(), 2, "runc's folder is not a container's state");
}

#[test]
fn replacing_a_record_leaves_one_file_even_after_a_killed_shims_half_written_record() {
    let root = Root::new("replaced");
    let a = pod(&root.pods(), "a");
    let (mut state, left) = (State::new(vec!["/sys/fs/cgroup/a".into()]), a.0.join(".c.json.new"));
    for pid in [0, 7, 8] {
        // A shim that was killed in the middle of a replacement: half a record, or the one before.
        fs::write(&left, r#"{"format":2,"pid":"#).unwrap();
        state.pid = pid;
        a.write("c", &state).unwrap();
        assert_eq!(a.read("c").unwrap().as_ref(), Some(&state));
        let mut names = entries(&a.0).unwrap();
        names.sort();
        assert_eq!(names, ["c.json", SERVER]);
    }
}
