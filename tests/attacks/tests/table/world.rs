//! The surroundings that a successful attack could reach, and whether they are unchanged.
#![allow(unsafe_code, reason = "System V memory and keys have no safe form; each call has its SAFETY comment")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use catamaran_harness::procfs::runs;
use catamaran_harness::{Container, Node, wait_until};
use rustix::fs::{CWD, FileType, Mode};

/// Every target of an attack. All are made for the test, and removed with this.
pub(crate) struct World<'n> {
    node: &'n Node,
    victims: BTreeMap<&'static str, Child>,
    /// A socket with an abstract name; no connection may ever wait in it.
    listener: std::os::unix::net::UnixListener,
    key: i64,
    memory: i32,
    containers: AtomicU32,
}

/// The state of things: a name and a value each.
pub(crate) type Look = BTreeMap<String, String>;

impl<'n> World<'n> {
    pub(crate) fn new(node: &'n Node) -> Self {
        let folder = |name: &str| node.dir().join(name);
        for name in ["data", "ro", "told"] {
            fs::create_dir(folder(name)).unwrap();
        }
        fs::write(folder("secret"), "the host's secret").unwrap();
        fs::write(folder("bound"), "bound").unwrap();
        fs::write(folder("ro/file"), "read-only").unwrap();
        fs::write(folder("data/own"), "own").unwrap();
        let secret = folder("secret");
        symlink(&secret, folder("data/link-absolute")).unwrap();
        let relative = format!("{}{}", "../".repeat(30), secret.strip_prefix("/").unwrap().display());
        symlink(relative, folder("data/link-relative")).unwrap();
        for (name, kind, device) in [
            ("node-null", FileType::CharacterDevice, (1, 3)),
            ("node-mem", FileType::CharacterDevice, (1, 1)),
            ("node-disk", FileType::BlockDevice, (7, 0)),
        ] {
            let device = rustix::fs::makedev(device.0, device.1);
            rustix::fs::mknodat(CWD, folder("data").join(name), kind, Mode::from_raw_mode(0o666), device).unwrap();
        }
        let victims = ["VICTIM", "PREY_1", "PREY_2", "PREY_3"].map(|name| (name, victim())).into();
        let (key, memory) = (make_key(), make_memory());
        let listener = listen(&abstract_name(node));
        Self { node, victims, listener, key, memory, containers: AtomicU32::new(0) }
    }

    pub(crate) fn secret(&self) -> PathBuf {
        self.folder("secret")
    }

    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        self.node.dir().join(name)
    }

    /// A container with an id of its own.
    pub(crate) fn container(&self) -> Container<'n> {
        self.node.container(&format!("a{}", self.containers.fetch_add(1, Ordering::Relaxed)))
    }

    /// Variables for the attacker's environment.
    pub(crate) fn told(&self) -> Vec<(String, String)> {
        let mut told: Vec<(String, String)> =
            self.victims.iter().map(|(name, child)| ((*name).to_owned(), child.id().to_string())).collect();
        told.extend([
            ("VICTIM_MEMORY".to_owned(), writable_memory(self.victim()).to_string()),
            ("SECRET".to_owned(), self.secret().display().to_string()),
            ("CONTAINERD".to_owned(), self.node.socket().display().to_string()),
            ("ABSTRACT".to_owned(), abstract_name(self.node)),
            ("KEY".to_owned(), self.key.to_string()),
            ("SHM".to_owned(), self.memory.to_string()),
        ]);
        told
    }

    /// containerd's log, the shims' lines among it.
    pub(crate) fn log(&self) -> String {
        self.node.log()
    }

    pub(crate) fn containerd(&self) -> u32 {
        self.node.containerd_pid()
    }

    fn victim(&self) -> u32 {
        self.victims["VICTIM"].id()
    }

    /// Returns the present state of everything.
    pub(crate) fn look(&self) -> Look {
        let mut look = Look::new();
        let text = |path: &Path| {
            fs::read(path).map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_else(|e| e.to_string())
        };
        let files = ["secret", "bound", "ro/file"].map(|name| self.folder(name));
        let system = ["/etc/passwd", "/etc/hostname", "/proc/swaps"].map(PathBuf::from);
        let kernel = ["core_pattern", "hostname", "domainname", "modprobe", "ctrl-alt-del", "acct"];
        let kernel = kernel.map(|name| Path::new("/proc/sys/kernel").join(name));
        for path in files.iter().chain(&system).chain(&kernel) {
            look.insert(path.display().to_string(), text(path));
        }
        for path in files.iter().map(PathBuf::as_path).chain([Path::new("/dev/null"), Path::new("/dev/random")]) {
            let m = fs::metadata(path).unwrap();
            // Any process may write to /dev/null, and so change its times.
            let times = if path.starts_with("/dev") { 0 } else { m.mtime() };
            look.insert(format!("{}: mode, owner", path.display()), format!("{:o} {} {times}", m.mode(), m.uid()));
        }
        for name in ["tmp/catamaran-attack", "tmp/attack", "dev/shm/catamaran-attack", "attack"] {
            look.insert(name.to_owned(), Path::new("/").join(name).exists().to_string());
        }
        let names = |folder: &str| {
            let mut all: Vec<_> = fs::read_dir(self.folder(folder)).unwrap().map(|e| e.unwrap().file_name()).collect();
            all.sort();
            format!("{all:?}")
        };
        look.insert("names in ro".to_owned(), names("ro"));
        look.insert(
            "a socket of an abstract name".to_owned(),
            format!("{:?}", self.listener.accept().map(drop).map_err(|e| e.kind())),
        );
        look.insert("System V memory: attached".to_owned(), attached(self.memory));
        look.insert("the boot time by the clock".to_owned(), boot_time());
        look.insert("containerd".to_owned(), runs(self.node.containerd_pid()).to_string());
        for (name, child) in &self.victims {
            look.extend(about(child.id()).into_iter().map(|(key, value)| (format!("victim {name}: {key}"), value)));
        }
        let memory = memory_of(self.victim());
        look.insert("victim VICTIM: memory".to_owned(), memory);
        look
    }

    /// Returns the changes outside. Unless `shown`, omits those of targets that the spec shows to a container (hostPID, hostNetwork,
    /// hostIPC).
    pub(crate) fn changes(&self, before: &Look, shown: bool) -> Vec<String> {
        // A signal may still be on its way.
        std::thread::sleep(Duration::from_millis(50));
        let after = self.look();
        let visible =
            |key: &str| key.starts_with("victim") || key.starts_with("a socket") || key.starts_with("System V");
        before
            .iter()
            .filter(|(key, _)| shown || !visible(key))
            .filter(|(key, value)| after.get(*key) != Some(value))
            .map(|(key, value)| format!("{key}: {value:?} -> {:?}", after.get(key)))
            .collect()
    }
}

impl Drop for World<'_> {
    fn drop(&mut self) {
        for child in self.victims.values_mut() {
            let _ = child.kill();
            let _ = child.wait();
        }
        // SAFETY: the call takes numbers; the memory is this object's own and nobody uses it from here on.
        unsafe { libc::shmctl(self.memory, libc::IPC_RMID, std::ptr::null_mut()) };
        const INVALIDATE: libc::c_long = 21;
        // SAFETY: the call takes two numbers.
        unsafe { libc::syscall(libc::SYS_keyctl, INVALIDATE, self.key) };
    }
}

fn abstract_name(node: &Node) -> String {
    format!("{}-abstract", node.namespace())
}

fn listen(name: &str) -> std::os::unix::net::UnixListener {
    use std::os::linux::net::SocketAddrExt;
    let address = std::os::unix::net::SocketAddr::from_abstract_name(name).unwrap();
    let listener = std::os::unix::net::UnixListener::bind_addr(&address).unwrap();
    listener.set_nonblocking(true).unwrap();
    listener
}

/// A process of root's without capabilities: another process of root's may do anything to it.
fn victim() -> Child {
    let child = Command::new("setpriv")
        .args(["--bounding-set=-all", "--inh-caps=-all", "--pdeathsig", "KILL", "--", "sleep", "600"])
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let comm = format!("/proc/{}/comm", child.id());
    wait_until(Duration::from_secs(10), "the victim to run", || {
        (fs::read_to_string(&comm).unwrap_or_default() == "sleep\n").then_some(())
    });
    child
}

/// A key in the session's keyring, which containerd and its shims inherit.
fn make_key() -> i64 {
    let (kind, name, text) = (c"user", c"catamaran-canary", c"canary");
    const SESSION: libc::c_long = -3;
    // SAFETY: the strings are NUL-terminated and outlive the call, the length is the text's (add_key(2)).
    let key = unsafe { libc::syscall(libc::SYS_add_key, kind.as_ptr(), name.as_ptr(), text.as_ptr(), 6, SESSION) };
    assert!(key > 0, "add_key: {}", std::io::Error::last_os_error());
    key
}

fn make_memory() -> i32 {
    // SAFETY: the call takes numbers.
    let memory = unsafe { libc::shmget(libc::IPC_PRIVATE, 4096, 0o666) };
    assert!(memory >= 0, "shmget: {}", std::io::Error::last_os_error());
    memory
}

/// The pid that last attached the memory (proc_sysvipc(5)).
fn attached(memory: i32) -> String {
    let table = fs::read_to_string("/proc/sysvipc/shm").unwrap();
    let mut rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let row = rows.find(|row| row.get(1) == Some(&memory.to_string().as_str())).unwrap();
    format!("last by {}", row[5])
}

/// The machine's boot time by its clock, in units of ten seconds: it changes if the clock does.
fn boot_time() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    let uptime = fs::read_to_string("/proc/uptime").unwrap();
    let up: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
    format!("{:.0}", (now - up) / 10.0)
}

/// The properties of a process that another one could change.
fn about(pid: u32) -> Vec<(String, String)> {
    let read = |what: &str| fs::read_to_string(format!("/proc/{pid}/{what}")).unwrap_or_default();
    let status = read("status");
    let line = |key: &str| status.lines().find(|line| line.starts_with(key)).unwrap_or("gone").to_owned();
    let stat = read("stat");
    let numbers: Vec<&str> = stat.rsplit_once(") ").map_or(Vec::new(), |(_, rest)| rest.split(' ').collect());
    let number = |n: usize| (*numbers.get(n).unwrap_or(&"gone")).to_owned();
    // It sleeps, or is about to.
    let state = number(0).replace(['R', 'D'], "S");
    vec![
        ("state".to_owned(), state),
        ("priority".to_owned(), number(15)),
        ("nice".to_owned(), number(16)),
        ("policy".to_owned(), number(38)),
        ("tracer".to_owned(), line("TracerPid")),
        ("affinity".to_owned(), line("Cpus_allowed_list")),
        ("limits".to_owned(), read("limits")),
        ("oom_score_adj".to_owned(), read("oom_score_adj")),
    ]
}

fn memory_of(pid: u32) -> String {
    use std::os::unix::fs::FileExt;
    let mut bytes = [0; 8];
    let read =
        fs::File::open(format!("/proc/{pid}/mem")).and_then(|memory| memory.read_at(&mut bytes, writable_memory(pid)));
    format!("{bytes:?} {:?}", read.ok())
}

/// The address of a process's writable memory.
pub(crate) fn writable_memory(pid: u32) -> u64 {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let line = maps.lines().find(|line| line.contains(" rw-p ")).unwrap();
    u64::from_str_radix(line.split('-').next().unwrap(), 16).unwrap()
}
