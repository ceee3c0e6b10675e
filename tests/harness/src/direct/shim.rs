//! A shim of the test's own, without containerd: started by its command line, called over ttrpc.

use std::env;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use containerd_shim_protos::api::{ConnectRequest, StateRequest, Status};
use containerd_shim_protos::ttrpc::{self, Code};
use containerd_shim_protos::{Client, TaskClient};
use rustix::fs::{CWD, FileType, Mode, OFlags};
use serde_json::json;

use super::calls::{Answer, Call};
use crate::deadline::wait_until;
use crate::node::Node;
use crate::programs::shim_folder;
use crate::runtime::{Engine, Runtime};
use crate::{guests, keeper};

const SOON: Duration = Duration::from_secs(10);
/// How long the container may take to end after a signal that it does not ignore.
const ENDING: Duration = Duration::from_secs(3);

/// A container's state, as State tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the API's own words")]
pub enum Standing {
    None,
    Created,
    Running,
    Paused,
    Stopped,
    Deleted,
}

impl Standing {
    /// The states that a container is brought into before it is called.
    pub const ALL: [Self; 6] = [Self::None, Self::Created, Self::Running, Self::Paused, Self::Stopped, Self::Deleted];
}

/// A shim's server with one container that stays, so that the server does not end between two cases.
pub struct Shim<'n> {
    /// Its client.
    pub task: TaskClient,
    pub(crate) node: &'n Node,
    runtime: Runtime,
    engine: Engine,
    name: String,
    /// Its process.
    pub pid: u32,
    /// The path of its socket.
    pub socket: PathBuf,
    next: AtomicU32,
}

/// One container of a shim, in its bundle.
pub struct Case<'s> {
    pub(crate) shim: &'s Shim<'s>,
    /// Its id.
    pub id: String,
    /// Its bundle's folder.
    pub bundle: PathBuf,
    /// The guest's output; held open, so that no writer waits for a reader.
    stdout: Mutex<File>,
    said: Mutex<String>,
}

impl<'n> Shim<'n> {
    /// Starts it as containerd does.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(node: &'n Node, runtime: Runtime, engine: Engine) -> Self {
        Self::start_with(node, runtime, engine, runtime)
    }

    /// Starts our shim with native containers: they run the program that runc's shim gets.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start_native(node: &'n Node) -> Self {
        Self::start_with(node, Runtime::Catamaran, Engine::Wasmtime, Runtime::Runc)
    }

    /// Starts the shim of `runtime` with the program of `of`.
    fn start_with(node: &'n Node, runtime: Runtime, engine: Engine, of: Runtime) -> Self {
        let name = match (runtime, of) {
            (Runtime::Catamaran, Runtime::Catamaran) => format!("order-{}", engine.name()),
            (Runtime::Catamaran, Runtime::Runc) => "order-native".to_owned(),
            (Runtime::Runc, _) => "order-runc".to_owned(),
        };
        let programs = node.programs();
        let program = match runtime {
            Runtime::Catamaran => shim_folder().join("containerd-shim-catamaran-v1"),
            Runtime::Runc => programs.shim_runc.clone(),
        };
        node.expect_id(node.namespace(), &name);
        let bundle = node.folder(&format!("order/{name}"));
        make_root(&bundle.join("root"), of);
        write_bundle(&bundle, &bundle, node.namespace(), &name, engine);
        let folders = [&programs.runc, &programs.containerd].map(|file| file.parent().unwrap().to_owned());
        let path = env::join_paths(folders.into_iter().chain(env::split_paths(&env::var_os("PATH").unwrap()))).unwrap();
        let started = keeper::settled(&program)
            .args(["-namespace", node.namespace(), "-id", &name, "-address"])
            .arg(node.socket())
            .arg("-publish-binary")
            .arg(&programs.containerd)
            .arg("start")
            .env("PATH", path)
            .env("TTRPC_ADDRESS", node.dir().join("containerd.sock.ttrpc"))
            .env("CATAMARAN_ROOT", node.catamaran_root())
            .env("MAX_SHIM_VERSION", "3")
            .current_dir(&bundle)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(started.status.success(), "{started:?}");
        let reply: serde_json::Value = serde_json::from_slice(&started.stdout).unwrap();
        let address = reply["address"].as_str().unwrap();
        let task = TaskClient::new(Client::connect(address).unwrap());
        let patience = ttrpc::context::with_timeout(10_000_000_000);
        let mut shim = Self {
            task,
            node,
            runtime,
            engine,
            name: name.clone(),
            pid: 0,
            socket: PathBuf::from(address.trim_start_matches("unix://")),
            next: AtomicU32::new(0),
        };
        let keeper = shim.open(&name, bundle.clone());
        keeper.must(Call::Create);
        drop(keeper);
        let asked = ConnectRequest { id: name, ..Default::default() };
        shim.pid = shim.task.connect(patience, &asked).unwrap().shim_pid;
        shim
    }

    /// Makes a case whose container does not exist yet, with an id that was never used.
    pub fn case(&self) -> Case<'_> {
        let id = format!("{}-{}", self.name, self.next.fetch_add(1, Ordering::Relaxed));
        let bundle = self.node.folder(&format!("order/{id}"));
        write_bundle(&bundle, &self.node.dir().join("order").join(&self.name), self.node.namespace(), &id, self.engine);
        self.open(&id, bundle)
    }

    fn open(&self, id: &str, bundle: PathBuf) -> Case<'_> {
        let fifo = bundle.join("stdout");
        rustix::fs::mknodat(CWD, &fifo, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        let flags = OFlags::NONBLOCK.bits().cast_signed();
        let stdout = File::options().read(true).custom_flags(flags).open(fifo).unwrap();
        Case { shim: self, id: id.to_owned(), bundle, stdout: Mutex::new(stdout), said: Mutex::default() }
    }

    /// Removes the last container and asks the shim to end.
    ///
    /// # Panics
    /// When the shim does not end, or leaves its socket.
    pub fn end(self) {
        assert!(Path::new("/proc").join(self.pid.to_string()).exists(), "the shim is gone");
        let bundle = self.node.dir().join("order").join(&self.name);
        let _ = fs::remove_file(bundle.join("stdout"));
        let keeper = self.open(&self.name, bundle);
        keeper.must(Call::Delete);
        // The shim may be gone before its answer.
        let shutdown = containerd_shim_protos::api::ShutdownRequest { id: self.name.clone(), ..Default::default() };
        let _ = self.task.shutdown(ttrpc::context::with_timeout(5_000_000_000), &shutdown);
        let process = Path::new("/proc").join(self.pid.to_string());
        for path in [&process, &self.socket] {
            wait_until(SOON, &format!("{} to go", path.display()), || (!path.exists()).then_some(()));
        }
        if self.runtime == Runtime::Runc {
            // runc's own folder of the namespace, which stays empty.
            let _ = fs::remove_dir(Path::new("/run/containerd/runc").join(self.node.namespace()));
        }
    }
}

fn make_root(root: &Path, runtime: Runtime) {
    fs::create_dir_all(root).unwrap();
    for folder in ["dev", "proc", "sys"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    let program = match runtime {
        Runtime::Catamaran => guests::wat("sleep"),
        Runtime::Runc => guests::peer(),
    };
    let file = root.join("sleep");
    fs::write(&file, program).unwrap();
    fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
}

/// Writes a bundle that both runtimes take; the root file system is that of the shim's first container.
fn write_bundle(bundle: &Path, first: &Path, namespace: &str, id: &str, engine: Engine) {
    // Outside the root file system: a file that is open for writing prevents a remount as read-only.
    let log = first.ancestors().nth(2).unwrap().join("order.log");
    fs::write(&log, "").unwrap();
    std::os::unix::fs::symlink(log, bundle.join("log")).unwrap();
    fs::create_dir_all(bundle.join("rootfs")).unwrap();
    let kinds = ["pid", "ipc", "uts", "mount", "network"].map(|kind| json!({ "type": kind }));
    let capabilities = json!({ "bounding": ["CAP_KILL"], "effective": ["CAP_KILL"], "permitted": ["CAP_KILL"] });
    let spec = json!({
        "ociVersion": "1.1.0",
        "process": { "user": { "uid": 0, "gid": 0 }, "args": ["/sleep"], "env": ["PATH=/"], "cwd": "/",
                     "capabilities": capabilities },
        "root": { "path": first.join("root"), "readonly": true },
        "mounts": [{ "destination": "/proc", "type": "proc", "source": "proc" },
                   { "destination": "/dev", "type": "tmpfs", "source": "tmpfs" }],
        "annotations": { "catamaran.wasm/engine": engine.name() },
        "linux": { "cgroupsPath": format!("/{namespace}/{id}"), "namespaces": kinds },
    });
    fs::write(bundle.join("config.json"), spec.to_string()).unwrap();
}

impl Case<'_> {
    /// Returns the container's state; a container that the shim does not know never existed or is deleted.
    ///
    /// # Panics
    /// When State is refused for another reason.
    pub fn standing(&self) -> Standing {
        let asked = StateRequest { id: self.id.clone(), ..Default::default() };
        match self.shim.task.state(ttrpc::context::with_timeout(10_000_000_000), &asked) {
            Ok(state) => match state.status.enum_value() {
                Ok(Status::CREATED) => Standing::Created,
                Ok(Status::RUNNING) => Standing::Running,
                Ok(Status::STOPPED) => Standing::Stopped,
                Ok(Status::PAUSING | Status::PAUSED) => Standing::Paused,
                other => panic!("{}: a status {other:?}", self.id),
            },
            Err(ttrpc::Error::RpcStatus(status)) if status.code() == Code::NOT_FOUND => Standing::None,
            Err(e) => panic!("{}: {e}", self.id),
        }
    }

    fn must(&self, call: Call) {
        self.send(call).unwrap_or_else(|e| panic!("{call:?} of {}: {e}", self.id));
    }

    /// Brings a new container into this state.
    ///
    /// # Panics
    /// When a call on the way is refused.
    pub fn bring(&self, to: Standing) {
        if to == Standing::None {
            return;
        }
        self.must(Call::Create);
        if to == Standing::Created {
            return;
        }
        self.must(Call::Start);
        self.await_ready();
        if to == Standing::Running {
            return;
        }
        if to == Standing::Paused {
            self.must(Call::Pause);
            return;
        }
        self.must(Call::Kill);
        self.must_end();
        if to == Standing::Deleted {
            self.must(Call::Delete);
        }
    }

    /// Waits until the guest runs: before that a native guest takes no signal.
    fn await_ready(&self) {
        wait_until(SOON, &format!("{} to run", self.id), || {
            let mut text = [0; 64];
            let mut said = self.said.lock().unwrap();
            if let Ok(length) = self.stdout.lock().unwrap().read(&mut text) {
                said.push_str(&String::from_utf8_lossy(&text[..length]));
            }
            (said.contains("ready\n") || self.standing() != Standing::Running).then_some(())
        });
    }

    fn must_end(&self) {
        wait_until(SOON, &format!("{} to end", self.id), || (self.standing() == Standing::Stopped).then_some(()));
    }

    /// Sends a call, and waits until its effects have happened.
    pub fn settled(&self, call: Call) -> Answer {
        let answer = self.call(call);
        if answer == Answer::Done {
            self.settle(&[call]);
        }
        answer
    }

    /// Waits until the possible effects of these calls have happened.
    pub fn settle(&self, calls: &[Call]) {
        if calls.contains(&Call::Start) {
            self.await_ready();
        }
        if calls.iter().any(|call| matches!(call, Call::Term | Call::Kill)) {
            let until = Instant::now() + ENDING;
            // A paused container gets no signal but SIGKILL.
            let ends = |standing| match standing {
                Standing::Created | Standing::Running => true,
                Standing::Paused => calls.contains(&Call::Kill),
                _ => false,
            };
            while ends(self.standing()) && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    }

    /// Removes the container, whatever its state.
    ///
    /// # Panics
    /// When it does not go.
    pub fn discard(self) {
        self.call(Call::Resume);
        self.call(Call::Kill);
        wait_until(SOON, &format!("{} to go", self.id), || {
            matches!(self.call(Call::Delete), Answer::Done | Answer::Refused(Code::NOT_FOUND)).then_some(())
        });
        let _ = fs::remove_dir_all(&self.bundle);
    }
}
