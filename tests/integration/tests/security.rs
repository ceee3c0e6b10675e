//! `securityContext` and what else of a pod bears on its confinement, through the CRI as a kubelet asks for it, on both
//! engines. What can be seen from the host is looked at there, what only the guest sees is what it says.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use catamaran_harness::cri::{self, AppArmor, ContainerState, Order, Pod, Propagation, Running, Seccomp, Shape};
use catamaran_harness::procfs::{parent, status};
use catamaran_harness::{Engine, Image, Mounted, Node, Options, Runtime, Status, guests, procfs};
use serde_json::json;

const SOON: Duration = Duration::from_secs(20);
const NONE: Propagation = Propagation::None;

fn wasm(name: &str) -> Image {
    guests::image(Runtime::Catamaran, name)
}

fn kitchen() -> Image {
    guests::of("kitchen", guests::c("kitchen"))
}

fn options() -> Options {
    cri::options().network()
}

/// Does it in a pod on each engine.
fn on_each_engine(node: &Node, work: impl Fn(&Pod<'_>, Engine)) {
    for engine in Engine::ALL {
        let pod = Pod::run(node, engine.name(), Shape::on(engine));
        work(&pod, engine);
        pod.remove();
    }
}

/// What a guest left.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    code: i32,
    stdout: Vec<String>,
    stderr: Vec<String>,
}

fn said(order: Order<'_, '_>) -> Said {
    let container = order.start();
    let ended = container.wait(SOON);
    Said { code: ended.exit_code, stdout: container.lines("stdout"), stderr: container.lines("stderr") }
}

/// The guest did it.
fn done(order: Order<'_, '_>) -> Vec<String> {
    let said = said(order);
    assert_eq!((said.code, said.stderr.as_slice()), (0, &[][..]), "{said:?}");
    said.stdout
}

/// The guest was told this by the kernel.
fn denied(order: Order<'_, '_>, error: &str) {
    let said = said(order);
    assert!(
        said.code == 1 && said.stderr.len() == 1 && said.stderr[0].ends_with(error),
        "expected {error:?}: {said:?}"
    );
}

/// It was created, and refused when it was to be started: containerd asks the shim no sooner.
fn refused(order: Order<'_, '_>) -> Status {
    let container = order.ready();
    let refused = container.try_start().expect_err("it was started");
    let status = container.status();
    assert_eq!((status.state, status.reason.as_str()), (ContainerState::Exited, "StartError"), "{status:?}");
    // What `kubectl describe` shows.
    assert_eq!(status.message, refused.message);
    refused
}

fn has_words(status: &Status, words: &[&str]) {
    for word in words {
        assert!(status.message.contains(word), "{word:?} is missing in: {status}");
    }
}

fn sleeping<'n>(order: Order<'n, '_>) -> (Running<'n>, u32) {
    let container = order.start();
    container.expect_line("ready");
    let pid = container.status().pid;
    (container, pid)
}

/// A folder of the node's with an owner and a mode, as a volume.
fn volume(node: &Node, name: &str, owner: (u32, u32), mode: u32) -> PathBuf {
    let path = node.folder("volumes").join(name);
    fs::create_dir(&path).unwrap();
    chown(&path, Some(owner.0), Some(owner.1)).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path
}

/// The users and groups of a process, as the kernel has them.
fn ids(pid: u32) -> (String, String, String) {
    let status = status(pid);
    let one = |key: &str| {
        let numbers: Vec<&str> = status[key].split_whitespace().collect();
        assert!(
            numbers.iter().all(|number| *number == numbers[0]),
            "real, effective, saved and for files: {numbers:?}"
        );
        numbers[0].to_owned()
    };
    (one("Uid"), one("Gid"), status["Groups"].split_whitespace().collect::<Vec<_>>().join(" "))
}

fn are(uid: &str, gid: &str, groups: &str) -> (String, String, String) {
    (uid.to_owned(), gid.to_owned(), groups.to_owned())
}

#[test]
fn a_user_and_its_groups_are_the_workers_and_its_files() {
    let node = Node::start_with(options());
    on_each_engine(&node, |pod, engine| {
        let (_, pid) = sleeping(pod.order("none", &wasm("sleep")));
        assert_eq!(ids(pid), are("0", "0", "0"), "{engine:?}");
        let (_, pid) = sleeping(pod.order("user", &wasm("sleep")).user_alone(1000));
        assert_eq!(ids(pid), are("1000", "0", "0"), "{engine:?}");
        let order = pod.order("groups", &wasm("sleep")).user(1000, 1001).group(2000).group(3000);
        let (_, pid) = sleeping(order);
        assert_eq!(ids(pid), are("1000", "1001", "1001 2000 3000"), "{engine:?}");
        // The image's, where the pod says nothing; the pod's, where it does.
        let image = wasm("sleep").user("1234:2345");
        let (_, pid) = sleeping(pod.order("image", &image));
        assert_eq!(ids(pid), are("1234", "2345", "2345"), "{engine:?}");
        let (_, pid) = sleeping(pod.order("over", &image).user(1000, 1001));
        assert_eq!(ids(pid), are("1000", "1001", "1001"), "{engine:?}");

        let volume = volume(&node, &format!("files-{}", engine.name()), (0, 0), 0o777);
        let order = pod.order("write", &kitchen()).args(["write", "/work/mine", "x"]).user(1000, 1001);
        done(order.mount(&volume, "/work", false, NONE));
        let file = fs::metadata(volume.join("mine")).unwrap();
        assert_eq!((file.uid(), file.gid()), (1000, 1001), "{engine:?}");
    });
    // A group without a user would be the image's user's: containerd refuses it.
    let pod = Pod::run(&node, "group", Shape::wasm());
    let refused = pod.order("group", &wasm("sleep")).group_alone(1001).try_ready().err().expect("it was created");
    has_words(&refused, &["user"]);
    pod.remove();
    node.finish();
}

#[test]
fn a_username_is_the_images_and_its_groups_are_as_the_policy_says() {
    let node = Node::start_with(options());
    let image = wasm("sleep")
        .file("/etc/passwd", "root:x:0:0::/:/none\nguest:x:1234:2345::/:/none\n")
        .file("/etc/group", "guest:x:2345:\ncrew:x:3456:guest\n");
    on_each_engine(&node, |pod, engine| {
        let (_, pid) = sleeping(pod.order("merged", &image).username("guest").group(4567));
        assert_eq!(ids(pid), are("1234", "2345", "2345 3456 4567"), "{engine:?}");
        let (_, pid) = sleeping(pod.order("strict", &image).username("guest").group(4567).strict_groups());
        assert_eq!(ids(pid), are("1234", "2345", "2345 4567"), "{engine:?}");
        let (_, pid) = sleeping(pod.order("number", &image).user(1234, 2345).strict_groups());
        assert_eq!(ids(pid), are("1234", "2345", "2345"), "{engine:?}");
    });
    let pod = Pod::run(&node, "nobody", Shape::wasm());
    let refused = pod.order("nobody", &image).username("nobody").try_ready().err().expect("it was created");
    has_words(&refused, &["no users found"]);
    pod.remove();
    node.finish();
}

/// The kubelet gives the volume to the group, and the group to the containers: what comes of it is the kernel's.
#[test]
fn the_group_of_a_volume_lets_its_members_write() {
    let node = Node::start_with(options());
    on_each_engine(&node, |pod, engine| {
        let volume = volume(&node, &format!("shared-{}", engine.name()), (0, 2000), 0o2770);
        let order = |name: &str, file: &str| {
            let order = pod.order(name, &kitchen()).args(["write", file, "x"]).user(1000, 1001);
            order.mount(&volume, "/work", false, NONE)
        };
        done(order("member", "/work/members").group(2000));
        let file = fs::metadata(volume.join("members")).unwrap();
        assert_eq!((file.uid(), file.gid()), (1000, 2000), "{engine:?}");
        denied(order("stranger", "/work/strangers"), "Permission denied");
        // Neither is it root's own right that lets the root of a worker write where it is not the owner.
        let other = self::volume(&node, &format!("other-{}", engine.name()), (4000, 4000), 0o700);
        let root = pod.order("root", &kitchen()).args(["write", "/other/roots", "x"]);
        denied(root.mount(&other, "/other", false, NONE), "Permission denied");
    });
    node.finish();
}

#[test]
fn a_read_only_root_is_the_kernels_and_volumes_stay_writable() {
    let node = Node::start_with(options());
    let memory = Mounted::tmpfs(&node.folder("volumes").join("memory"));
    on_each_engine(&node, |pod, engine| {
        let disk = volume(&node, &format!("disk-{}", engine.name()), (0, 0), 0o777);
        let order = |file: &str| {
            let name = format!("write-{}", file.replace('/', "-"));
            let order = pod.order(&name, &kitchen()).args(["write", file, "x"]).read_only();
            order.mount(&disk, "/disk", false, NONE).mount(memory.path(), "/memory", false, NONE)
        };
        for file in ["/new", "/kitchen.wasm", "/etc/hostname", "/sys/new", "/proc/new"] {
            denied(order(file), "Read-only file system");
        }
        for file in ["/disk/new", "/memory/new", "/dev/shm/new"] {
            done(order(file));
        }
        assert_eq!(fs::read(disk.join("new")).unwrap(), b"x");
        // The same files in a root that is not read-only.
        done(pod.order("writable", &kitchen()).args(["write", "/new", "x"]));
    });
    drop(memory);
    node.finish();
}

#[test]
fn a_read_only_mount_is_the_kernels_too() {
    let node = Node::start_with(options());
    let folder = node.folder("volumes").join("host");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("config"), "old").unwrap();
    let below = Mounted::tmpfs(&folder.join("below"));
    on_each_engine(&node, |pod, _| {
        let order = |name: &str, file: &str| pod.order(name, &kitchen()).args(["write", file, "new"]);
        denied(order("ro", "/host/config").mount(&folder, "/host", true, NONE), "Read-only file system");
        // As everywhere in Kubernetes: what is mounted below is not part of it. (`recursiveReadOnly` cannot be asked for:
        // containerd's CRI has it for runc's handlers alone, and the kubelet knows.)
        done(order("below", "/host/below/x").mount(&folder, "/host", true, NONE));
        let file = pod.order("file", &kitchen()).args(["write", "/etc/config", "new"]);
        denied(file.mount(&folder.join("config"), "/etc/config", true, NONE), "Read-only file system");
    });
    assert_eq!(fs::read_to_string(folder.join("config")).unwrap(), "old");
    drop(below);
    node.finish();
}

#[test]
fn whatever_capabilities_are_asked_for_a_worker_has_none() {
    let node = Node::start_with(options());
    on_each_engine(&node, |pod, engine| {
        let cases: [(&str, &[&str], &[&str]); 5] = [
            ("nothing", &[], &[]),
            ("one", &["NET_ADMIN"], &[]),
            ("all", &["ALL"], &[]),
            ("none", &[], &["ALL"]),
            ("some", &["SYS_ADMIN", "SYS_PTRACE"], &["ALL"]),
        ];
        for (name, add, drop) in cases {
            for escalation in [true, false] {
                let order = pod.order(&format!("{name}-{escalation}"), &wasm("sleep")).capabilities(add, drop);
                let (container, pid) = sleeping(if escalation { order } else { order.no_escalation() });
                let status = status(pid);
                for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
                    assert_eq!(status[set], "0000000000000000", "{engine:?}: {name}: {set}");
                }
                assert_eq!((&*status["NoNewPrivs"], &*status["Seccomp"]), ("1", "2"), "{engine:?}: {name}");
                container.remove();
            }
        }
    });
    node.finish();
}

fn profile(node: &Node, name: &str, text: &str) -> Seccomp {
    let path = node.folder("profiles").join(format!("{name}.json"));
    fs::write(&path, text).unwrap();
    Seccomp::Localhost(path)
}

#[test]
fn a_seccomp_profile_of_the_nodes_counts_beside_the_workers_own() {
    let node = Node::start_with(options());
    // What makes a folder for the guest and what opens a file, and an errno that neither has by itself.
    let denying = |calls: &[&str], errno: u32| {
        let rule = json!({"names": calls, "action": "SCMP_ACT_ERRNO", "errnoRet": errno});
        json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}).to_string()
    };
    let no_folders = profile(&node, "no-folders", &denying(&["mkdir", "mkdirat"], 28));
    on_each_engine(&node, |pod, engine| {
        for (name, asked) in [
            ("default", Some(Seccomp::RuntimeDefault)),
            ("unconfined", Some(Seccomp::Unconfined)),
            ("localhost", Some(no_folders.clone())),
            ("silent", None),
        ] {
            let with = |kind: &str, image: &Image| {
                let order = pod.order(&format!("{kind}-{name}"), image);
                if let Some(profile) = &asked { order.seccomp(profile.clone()) } else { order }
            };
            let (container, pid) = sleeping(with("sleep", &wasm("sleep")));
            assert_eq!(status(pid)["Seccomp"], "2", "{engine:?}: {name}");
            container.remove();
            let folder = with("folder", &kitchen()).args(["mkdir", "/folder"]);
            if name == "localhost" {
                denied(folder, "No space left on device");
            } else {
                done(folder);
            }
        }
    });
    node.finish();
}

#[test]
fn a_seccomp_profile_that_cannot_be_had_is_named() {
    let node = Node::start_with(options());
    on_each_engine(&node, |pod, _| broken_profiles(&node, pod));
    node.finish();
}

fn broken_profiles(node: &Node, pod: &Pod<'_>) {
    let order = |name: &str, profile| pod.order(name, &wasm("hello")).seccomp(profile);
    // Of these containerd says so, when it writes the spec.
    let missing = Seccomp::Localhost(node.dir().join("nowhere.json"));
    let told = order("missing", missing).try_ready().err().expect("it was created");
    has_words(&told, &["seccomp", "nowhere.json", "no such file"]);
    let told = order("cut", profile(node, "cut", "{\"defaultAction\": ")).try_ready().err().expect("it was created");
    has_words(&told, &["seccomp", "unexpected end of JSON"]);
    // And of these the shim.
    for (name, text, words) in [
        ("action", r#"{"defaultAction": "SCMP_ACT_PERHAPS"}"#, &["config.json", "SCMP_ACT_PERHAPS"][..]),
        (
            "agent",
            r#"{"defaultAction": "SCMP_ACT_NOTIFY", "listenerPath": "/run/agent.sock"}"#,
            &["linux.seccomp.listenerPath", "no seccomp agents"],
        ),
        (
            "errno",
            r#"{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 70000}"#,
            &["linux.seccomp.defaultErrnoRet", "70000", "at most 65535"],
        ),
        (
            "argument",
            r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ERRNO",
                "args": [{"index": 6, "value": 0, "op": "SCMP_CMP_EQ"}]}]}"#,
            &["linux.seccomp.syscalls[0].args[].index", "0 to 5"],
        ),
        (
            "killing",
            r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["write"], "action": "SCMP_ACT_KILL_PROCESS"}]}"#,
            &["seccomp profile"],
        ),
        (
            "opening",
            r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["openat"], "action": "SCMP_ACT_ERRNO"}]}"#,
            &["/hello: the ", "cannot be "],
        ),
    ] {
        let told = refused(order(name, profile(node, name, text)));
        has_words(&told, words);
    }
    // The pod is none the worse.
    assert_eq!(done(pod.order("hello", &wasm("hello"))), ["hello from wasm"]);
}

#[test]
fn masked_and_read_only_paths_are_what_the_guest_finds() {
    let node = Node::start_with(options());
    on_each_engine(&node, |pod, engine| {
        let data = volume(&node, &format!("data-{}", engine.name()), (0, 0), 0o777);
        for folder in ["folder", "fixed"] {
            fs::create_dir(data.join(folder)).unwrap();
            fs::write(data.join(folder).join("file"), "there").unwrap();
        }
        fs::write(data.join("secret"), "secret").unwrap();
        let order = |name: &str, words: [&str; 2]| {
            let order = pod.order(name, &kitchen()).args(words).default_paths();
            let order = order.masked(["/data/secret", "/data/folder", "/data/nowhere"]).readonly_paths(["/data/fixed"]);
            order.mount(&data, "/data", false, NONE)
        };
        assert!(done(order("secret", ["read", "/data/secret"])).is_empty());
        assert!(done(order("folder", ["ls", "/data/folder"])).is_empty());
        assert_eq!(done(order("fixed", ["read", "/data/fixed/file"])), ["there"]);
        denied(order("change", ["write", "/data/fixed/file"]), "Read-only file system");
        denied(order("unmask", ["rm", "/data/secret"]), "");
        done(order("free", ["write", "/data/new"]));
        // Whatever is asked for there: a worker has no procfs.
        assert!(done(order("proc", ["ls", "/proc"])).is_empty());
        assert_eq!(fs::read_to_string(data.join("secret")).unwrap(), "secret");
    });
    node.finish();
}

#[test]
fn a_privileged_container_and_devices_are_refused_with_a_way_out() {
    let options = options().config(
        "[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.modest]\n\
         runtime_type = 'io.containerd.catamaran.v1'\n\
         pod_annotations = ['catamaran.wasm/*']\n\
         privileged_without_host_devices = true\n",
    );
    let node = Node::start_with(options);
    for engine in Engine::ALL {
        let pod = Pod::run(&node, engine.name(), Shape { privileged: true, ..Shape::on(engine) });
        let told = refused(pod.order("mighty", &wasm("hello")).privileged());
        has_words(&told, &["config.json: linux.devices", "«privileged: false»", "privileged_without_host_devices"]);
        let told = refused(pod.order("device", &wasm("hello")).device("/dev/null"));
        has_words(&told, &["config.json: linux.devices", "/dev/null"]);
        assert_eq!(done(pod.order("hello", &wasm("hello"))), ["hello from wasm"], "{engine:?}");
        pod.remove();
        // Where the handler keeps devices out of it, what is left of «privileged» is met by something tighter.
        let shape = Shape { privileged: true, handler: "modest".to_owned(), ..Shape::on(engine) };
        let pod = Pod::run(&node, &format!("modest-{}", engine.name()), shape);
        let (_, pid) = sleeping(pod.order("sleep", &wasm("sleep")).privileged());
        let status = status(pid);
        assert_eq!((&*status["CapBnd"], &*status["NoNewPrivs"], &*status["Seccomp"]), ("0000000000000000", "1", "2"));
        denied(pod.order("sys", &kitchen()).privileged().args(["write", "/sys/new", "x"]), "Read-only file system");
        assert!(done(pod.order("proc", &kitchen()).privileged().args(["ls", "/proc"])).is_empty());
        pod.remove();
    }
    node.finish();
}

#[test]
fn an_apparmor_profile_that_the_node_cannot_apply_is_refused_and_no_profile_is_none() {
    let node = Node::start_with(options());
    let runs = fs::read("/sys/module/apparmor/parameters/enabled").is_ok_and(|word| word.starts_with(b"Y"));
    on_each_engine(&node, |pod, _| {
        let order = |name: &str, profile| pod.order(name, &wasm("hello")).apparmor(&profile);
        assert_eq!(done(order("unconfined", AppArmor::Unconfined)), ["hello from wasm"]);
        let localhost = AppArmor::Localhost("catamaran-nowhere".to_owned());
        for (name, profile) in [("default", AppArmor::RuntimeDefault), ("localhost", localhost)] {
            match (runs, name) {
                (true, "default") => assert_eq!(done(order(name, profile)), ["hello from wasm"]),
                _ => {
                    // By containerd itself, which asks the kernel before it writes a spec.
                    let told = order(name, profile).try_ready().err().expect("it was created");
                    has_words(&told, &["apparmor", if runs { "catamaran-nowhere" } else { "not supported" }]);
                }
            }
        }
    });
    node.finish();
}

#[test]
fn the_hosts_namespaces_are_given_where_they_are_asked_for_and_nowhere_else() {
    let node = Node::start_with(options());
    let own = |pid: u32, kind: &str| fs::read_link(procfs::file(pid, "ns").join(kind)).unwrap();
    for engine in Engine::ALL {
        for (name, shape, of_the_host) in [
            ("own", Shape::on(engine), &[][..]),
            ("net", Shape { network: false, ..Shape::on(engine) }, &["net", "uts"]),
            ("pid", Shape { host_pid: true, ..Shape::on(engine) }, &["pid"]),
            ("ipc", Shape { host_ipc: true, ..Shape::on(engine) }, &["ipc"]),
        ] {
            let pod = Pod::run(&node, &format!("{name}-{}", engine.name()), shape);
            let (_, pid) = sleeping(pod.order("sleep", &wasm("sleep")));
            for kind in ["net", "uts", "ipc", "pid", "mnt"] {
                let host = fs::read_link(format!("/proc/self/ns/{kind}")).unwrap();
                assert_eq!(own(pid, kind) == host, of_the_host.contains(&kind), "{engine:?}: {name}: {kind}");
            }
            // The process is the host's to see, not the guest's to look for.
            assert!(done(pod.order("proc", &kitchen()).args(["ls", "/proc"])).is_empty(), "{engine:?}: {name}");
            pod.remove();
        }
    }
    // Not there yet, and said so.
    let shape = Shape { users: Some((100_000, 65_536)), ..Shape::wasm() };
    let told = Pod::try_run(&node, "users", shape).err().expect("a user namespace");
    has_words(&told, &["user"]);
    node.finish();
}

/// What containerd says of a pod to the shim, as its author would like to say it.
fn hostile(victim: &Pod<'_>, shape: Shape) -> Shape {
    shape
        .annotation("io.kubernetes.cri.container-type", "container")
        .annotation("io.kubernetes.cri.sandbox-id", victim.id())
        .annotation("io.kubernetes.cri.sandbox-namespace", "kube-system")
        .annotation("io.kubernetes.cri.container-name", "victim")
        .annotation("io.kubernetes.cri.mine", "mine")
        .annotation("catamaran.wasm/engine.victim", "nonsense")
}

#[test]
fn what_containerd_says_of_a_pod_is_not_its_authors_to_say() {
    // Beside the handler as it is shipped one whose administrator passes everything on.
    let options = options().config(
        "[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.lax]\n\
         runtime_type = 'io.containerd.catamaran.v1'\n\
         pod_annotations = ['*', '*/*']\n\
         container_annotations = ['*', '*/*']\n",
    );
    let node = Node::start_with(options);
    let victim = Pod::run(&node, "victim", Shape::wasm());
    let (_, there) = sleeping(victim.order("victim", &wasm("sleep")));
    for engine in Engine::ALL {
        for handler in ["catamaran", "lax"] {
            let shape = hostile(&victim, Shape { handler: handler.to_owned(), ..Shape::on(engine) });
            let pod = Pod::run(&node, &format!("{handler}-{}", engine.name()), shape);
            let holder = pod.status().pid;
            let exe = fs::read_link(procfs::file(holder, "exe")).unwrap();
            assert_eq!(exe.file_name().unwrap(), "catamaran-holder", "{engine:?}: {handler}");
            assert_ne!(parent(holder), parent(there), "{engine:?}: {handler}: it is in another pod's shim");
            let order = pod.order("guest", &wasm("sleep")).annotation("io.kubernetes.cri.container-type", "sandbox");
            let (container, pid) = sleeping(order.annotation("io.kubernetes.cri.sandbox-id", victim.id()));
            assert_eq!(fs::read_link(procfs::file(pid, "exe")).unwrap(), engine.worker(), "{engine:?}: {handler}");
            assert_eq!(parent(pid), parent(holder), "{engine:?}: {handler}");
            let spec = container.status().spec;
            for (key, value) in [
                ("container-type", "container"),
                ("sandbox-id", pod.id()),
                ("sandbox-namespace", "default"),
                ("container-name", "guest"),
            ] {
                assert_eq!(spec["annotations"][format!("io.kubernetes.cri.{key}")], value, "{engine:?}: {handler}");
            }
            // The lists of annotations of the handlers are in effect.
            let passed = |key: &str| spec["annotations"][key].as_str();
            assert_eq!(passed("catamaran.wasm/engine.victim"), Some("nonsense"), "{engine:?}: {handler}");
            let mine = (handler == "lax").then_some("mine");
            assert_eq!(passed("io.kubernetes.cri.mine"), mine, "{engine:?}: {handler}");
            pod.remove();
        }
    }
    assert!(Path::new(&format!("/proc/{there}/stat")).exists(), "the other pod is none the worse");
    assert!(victim.status().ready);
    victim.remove();
    node.finish();
}

#[test]
fn an_author_chooses_an_engine_a_container_and_none_that_there_is_not() {
    let node = Node::start_with(options());
    let shape = Shape::on(Engine::Wasmer).annotation("catamaran.wasm/engine.left", "wasmtime");
    let pod = Pod::run(&node, "both", shape.annotation("catamaran.wasm/engine.wrong", "../../bin/sh\u{1b}[31m"));
    for (name, engine) in [("left", Engine::Wasmtime), ("right", Engine::Wasmer)] {
        let (_, pid) = sleeping(pod.order(name, &wasm("sleep")));
        assert_eq!(fs::read_link(procfs::file(pid, "exe")).unwrap(), engine.worker(), "{name}");
    }
    let told = refused(pod.order("wrong", &wasm("sleep")));
    has_words(&told, &["annotation catamaran.wasm/engine.wrong", "«wasmtime» or «wasmer»"]);
    assert!(!told.message.contains('\u{1b}'), "{told:?}");
    pod.remove();
    node.finish();
}
