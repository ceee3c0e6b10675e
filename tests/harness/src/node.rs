//! The node: a containerd of the test's own.
//!
//! ```text
//! start --> running --kill_containerd--> down --restart_containerd--> running --finish / drop--> nothing left
//! ```

use std::collections::BTreeSet;
use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::fs::Mode;

use crate::config::Options;
use crate::container::{Container, Output};
use crate::deadline::{self, PATIENCE};
use crate::events::Events;
use crate::grpc::Address;
use crate::programs::{Programs, shim_folder};
use crate::runtime::{Engine, Runtime};
use crate::service::Service;
use crate::{bridge, cgroups, ctr, leftovers, sweep, sysctls, tag};

/// The kernel's limit of a socket path, less containerd's own suffix.
const SOCKET_PATH: usize = 100;

/// Optimising a large module may take minutes.
const LAST_COMPILE: Duration = Duration::from_secs(300);

/// A private containerd with its own folder, sockets and namespace. Dropping it removes everything that belongs to it.
pub struct Node {
    tag: String,
    dir: PathBuf,
    programs: &'static Programs,
    pub(crate) options: Options,
    runtime: Runtime,
    engine: Option<Engine>,
    containerd: Arc<Service>,
    pub(crate) imported: Mutex<BTreeSet<String>>,
    helpers: Arc<Mutex<BTreeSet<u32>>>,
}

impl Node {
    /// An ordinary node, whose containers run on Catamaran unless told otherwise.
    ///
    /// # Panics
    /// When not root, when there is no containerd, or when it does not come up.
    pub fn start() -> Self {
        Self::start_with(Options::new())
    }

    /// A node with options.
    ///
    /// # Panics
    /// As [`Node::start`].
    pub fn start_with(options: Options) -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "these tests need root: they start containerd and containers. Run them as root (sudo -E cargo test ...)"
        );
        // A service's umask, whatever the caller's: folders and files of images get their modes by it.
        rustix::process::umask(Mode::from_raw_mode(0o022));
        let programs = Programs::provide();
        sweep::sweep_stale();
        let tag = tag::new();
        let dir = std::env::temp_dir().join(&tag);
        assert!(dir.as_os_str().len() < SOCKET_PATH - 20, "{} is too long for sockets; set TMPDIR", dir.display());
        fs::create_dir(&dir).unwrap_or_else(|error| panic!("cannot make {}: {error}", dir.display()));
        // Containers with other uids must be able to traverse the folder, but not to list it.
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o711)).expect("cannot set permissions");
        let containerd = service(programs, &options, &tag, &dir);
        let node = Self {
            tag,
            dir,
            programs,
            options,
            runtime: Runtime::Catamaran,
            engine: None,
            containerd: Arc::new(containerd),
            imported: Mutex::default(),
            helpers: Arc::default(),
        };
        for folder in ["cni/conf", "cni/bin", "conf.d", "fifo", "catamaran"] {
            fs::create_dir_all(node.dir.join(folder)).expect("cannot make a folder");
        }
        node.configure();
        node.install();
        node.containerd.start().unwrap_or_else(|failure| panic!("{failure}"));
        node
    }

    /// The same node, with this runtime as its containers' default.
    #[must_use]
    pub fn runtime(mut self, runtime: Runtime) -> Self {
        self.runtime = runtime;
        self
    }

    /// The same node, with this engine as its containers' default.
    #[must_use]
    pub fn engine(mut self, engine: Engine) -> Self {
        self.engine = Some(engine);
        self
    }

    fn configure(&self) {
        let plugins = match self.options.network {
            true => bridge::configure(&self.tag, &self.dir),
            false => self.dir.join("cni/bin"),
        };
        for (name, text) in self.options.files(&self.dir, &plugins) {
            fs::write(self.dir.join(name), text).unwrap_or_else(|error| panic!("cannot write {name}: {error}"));
        }
    }

    /// The node's containerd by itself, for a service manager to start and stop.
    pub fn service(&self) -> Arc<Service> {
        Arc::clone(&self.containerd)
    }

    /// Kills containerd as a crash would. Shims and containers go on.
    ///
    /// # Panics
    /// When it does not run.
    pub fn kill_containerd(&self) {
        assert!(self.containerd.kill(), "containerd is not running");
    }

    /// Stops containerd if it runs, and starts it. Shims and containers go on meanwhile.
    pub fn restart_containerd(&self) {
        self.restart_containerd_as(&self.programs.containerd);
    }

    /// As [`Node::restart_containerd`], with another containerd: an upgrade, or the way back.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn restart_containerd_as(&self, containerd: &Path) {
        self.containerd.stop();
        self.containerd.start_program(containerd).unwrap_or_else(|failure| panic!("{failure}"));
    }

    /// Removes our handler from the configuration of a node for the CRI, and restarts containerd.
    ///
    /// # Panics
    /// When the node has no such handler.
    pub fn remove_handler(&self) {
        fs::remove_file(self.dir.join("conf.d/catamaran.toml")).expect("cannot remove the handler");
        self.restart_containerd();
    }

    /// The pid of containerd.
    pub fn containerd_pid(&self) -> u32 {
        self.containerd.pid().expect("containerd is not running")
    }

    /// The node's folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The containerd namespace of the node's containers; the folder and their cgroups have the same name.
    pub fn namespace(&self) -> &str {
        &self.tag
    }

    /// containerd's socket.
    pub fn socket(&self) -> PathBuf {
        self.dir.join("containerd.sock")
    }

    /// A folder below the node's own, made if it is not there.
    pub fn folder(&self, name: &str) -> PathBuf {
        let path = self.dir.join(name);
        fs::create_dir_all(&path).unwrap_or_else(|error| panic!("cannot make {}: {error}", path.display()));
        path
    }

    /// The host's address on the pods' bridge, which exists from the first pod on.
    pub fn gateway(&self) -> Ipv4Addr {
        bridge::gateway(&self.tag)
    }

    /// Makes a cgroup for everything that another program, such as a kubelet, runs on the node, and returns its path. It goes with the
    /// node.
    ///
    /// # Panics
    /// When the kernel refuses it.
    pub fn cgroup_root(&self) -> String {
        cgroups::make(&self.tag).unwrap_or_else(|error| panic!("cannot make the cgroup {}: {error}", self.tag));
        format!("/{}", self.tag)
    }

    /// Restores these kernel settings, such as `kernel/panic`, to their present values when the node goes.
    pub fn keep_sysctls(&self, names: &[&str]) {
        sysctls::note(&self.tag, names);
    }

    /// The node's substitute for `/var/lib/catamaran`.
    pub fn catamaran_root(&self) -> PathBuf {
        self.dir.join("catamaran")
    }

    /// The folder where the node's shims record the things to clean up after them; exists while there are pods.
    pub fn states(&self) -> PathBuf {
        leftovers::states_of(&self.dir, &self.tag)
    }

    /// The folder of a container's bundle, which exists from Create to Delete.
    pub fn bundle(&self, id: &str) -> PathBuf {
        self.dir.join("state/io.containerd.runtime.v2.task").join(&self.tag).join(id)
    }

    /// The programs that the node runs.
    pub fn programs(&self) -> &'static Programs {
        self.programs
    }

    pub(crate) fn address(&self) -> Address {
        Address { socket: self.socket(), namespace: self.tag.clone() }
    }

    /// Where containerd's log is.
    pub fn log_path(&self) -> PathBuf {
        self.containerd.log_path()
    }

    /// containerd's log, the shims' lines among it.
    pub fn log(&self) -> String {
        self.containerd.log()
    }

    /// Runs `ctr` on this node and namespace, to its end.
    pub fn ctr<S: AsRef<str>>(&self, args: impl IntoIterator<Item = S>) -> Output {
        ctr::foreground(self, args, None, PATIENCE)
    }

    /// Runs `ctr` and returns its output.
    ///
    /// # Panics
    /// When it fails.
    pub fn ctr_ok<S: AsRef<str>>(&self, args: impl IntoIterator<Item = S>) -> String {
        let args: Vec<String> = args.into_iter().map(|arg| arg.as_ref().to_owned()).collect();
        let output = self.ctr(&args);
        assert!(output.code == 0, "ctr {} failed: {output:#?}", args.join(" "));
        output.stdout
    }

    /// Begins the order for a container of this name.
    pub fn container(&self, id: &str) -> Container<'_> {
        let order = Container::new(self, id, self.runtime);
        match self.engine {
            Some(engine) => order.engine(engine),
            None => order,
        }
    }

    /// Listens to containerd's events from now on.
    pub fn events(&self) -> Events {
        Events::listen(self, Arc::clone(&self.helpers))
    }

    /// Registers a shim that the harness did not start (a CRI pod's sandbox), so that leftovers of its socket are found.
    pub fn expect_id(&self, namespace: &str, id: &str) {
        leftovers::note_id(&self.dir, namespace, id);
    }

    pub(crate) fn require(&self, runtime: Runtime) {
        runtime.require();
    }

    /// Lists what exists of the node's containers now, one thing a line: processes, mounts, cgroups, sockets, network namespaces, bundles,
    /// leases, and containers that were not deleted.
    pub fn leftovers(&self) -> Vec<String> {
        let mut expected = self.helpers.lock().unwrap().clone();
        let containerd = self.containerd.pid();
        expected.extend(containerd);
        let mut found = Vec::new();
        // Asks ctr before listing processes, because ctr itself is a process of the node's.
        if containerd.is_some() {
            for kind in ["containers", "tasks"] {
                let listed = self.ctr_ok([kind, "ls", "-q"]);
                found.extend(listed.lines().map(|id| format!("{} {id}", kind.trim_end_matches('s'))));
            }
            found.extend(self.leases().into_iter().map(|id| format!("lease {id}")));
        }
        found.extend(leftovers::list(&self.tag, &self.dir, &expected));
        found
    }

    /// Waits until nothing is left of the node's containers.
    ///
    /// # Panics
    /// When something is still there after the limit, with the list.
    pub fn expect_nothing_left(&self, limit: Duration) {
        let mut left = Vec::new();
        let clean = deadline::poll(limit, || {
            left = self.leftovers();
            left.is_empty().then_some(())
        });
        assert!(clean.is_some(), "left behind after the containers were deleted:\n  {}", left.join("\n  "));
    }

    /// Waits until no compile runs for the node: the optimiser goes on after a first start, even if the pod ends.
    ///
    /// # Panics
    /// When a compile still runs after five minutes.
    pub fn await_compiles(&self) {
        let root = self.catamaran_root().display().to_string();
        let compiles = |pid: &str| {
            let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            words.ends_with(b"\0compile\0") && String::from_utf8_lossy(&environment).contains(&root)
        };
        deadline::wait_until(LAST_COMPILE, "the last compile", || {
            let names = fs::read_dir("/proc").expect("no /proc").flatten().map(|entry| entry.file_name());
            (!names.into_iter().any(|name| compiles(&name.to_string_lossy()))).then_some(())
        });
    }

    /// Ends a test that passed.
    ///
    /// # Panics
    /// When something is left of the node's containers.
    pub fn finish(self) {
        self.expect_nothing_left(Duration::from_secs(5));
    }
}

/// The node's containerd, not started yet.
fn service(programs: &Programs, options: &Options, tag: &str, dir: &Path) -> Service {
    let shim = if options.installed { dir.join("bin") } else { shim_folder() };
    let root = dir.join("catamaran").display().to_string();
    let mut env = vec![("PATH".to_owned(), programs.path(&shim)), ("CATAMARAN_ROOT".to_owned(), root)];
    env.extend(options.env.iter().cloned());
    let address = Address { socket: dir.join("containerd.sock"), namespace: tag.to_owned() };
    Service::new(&programs.containerd, dir, env, address, options.cri)
}

impl Drop for Node {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("---- containerd's log, {} ----\n{}\n----", self.tag, self.containerd.log_tail());
        }
        // First, so that containerd does not clean up after the shims while they are killed.
        self.containerd.kill();
        let troubles = sweep::sweep(&self.tag, &self.dir);
        if !troubles.is_empty() {
            let troubles = troubles.join("\n");
            assert!(std::thread::panicking(), "the node could not be removed:\n{troubles}");
            eprintln!("the node could not be removed:\n{troubles}");
        }
    }
}
