//! `catamaran serve` as in its pod: in a container with namespaces and a root of its own, the programs at `/catamaran`, the host's root
//! file system at `/host`, and the rights that docs/node.md names.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use catamaran_harness::{die_with_parent, shim_folder, spawn, wait_until};
use serde_json::Value;

/// All capabilities of the container's process, which is user 0.
const RIGHTS: &str = "-all,+sys_chroot,+sys_ptrace";
/// Makes the container: a mount namespace whose mounts follow the host's, a pid namespace, and a read-only root of its own.
const ENTER: &str = r#"
mount --rbind / "$1/host" && mount --make-rslave "$1/host" && mount --rbind "$1" "$1" && mount -o remount,bind,ro "$1" || exit 98
mount --bind "$2" "$1/catamaran" && mount --bind /dev "$1/dev" && mount -t proc proc "$1/proc" || exit 99
root=$1 rights=$3
shift 3
exec setpriv --bounding-set="$rights" --inh-caps=-all chroot "$root" /catamaran/catamaran "$@"
"#;
const SOON: Duration = Duration::from_secs(20);

/// A running server.
pub struct Serving {
    folder: PathBuf,
    child: Child,
    /// The server's own process, by its pid on the host.
    pid: u32,
    address: String,
    said: Arc<Mutex<String>>,
}

impl Serving {
    /// Starts it in a folder, which is made and must be the host's; `args` are the command's arguments after `--root`, and `env` is its
    /// environment.
    ///
    /// # Panics
    /// When it does not serve.
    pub fn start(folder: &Path, mode: &str, args: &[String], env: &[(String, String)]) -> Self {
        for name in ["host", "catamaran", "dev", "proc", "etc/catamaran"] {
            fs::create_dir_all(folder.join(name)).expect("cannot make a folder");
        }
        let said = Arc::new(Mutex::new(String::new()));
        write_mode(folder, mode);
        let mut command = die_with_parent(Path::new("unshare"));
        command.args([
            "--mount",
            "--propagation=unchanged",
            "--pid",
            "--fork",
            "--kill-child=KILL",
            "sh",
            "-c",
            ENTER,
            "sh",
        ]);
        command.args([folder, shim_folder().as_path()]).args([RIGHTS, "--root=/host"]).args(args);
        command.args(["serve", "--mode-file=/etc/catamaran/mode", "--interval=1", "--listen=127.0.0.1:0"]);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").envs(env.iter().cloned());
        command.stdin(Stdio::null()).stderr(Stdio::piped());
        let mut child = spawn(command).expect("cannot start unshare");
        let stderr = child.stderr.take().expect("it is piped");
        let words = said.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                *words.lock().unwrap() += &(line + "\n");
            }
        });
        let address = wait_until(SOON, "catamaran serve", || {
            let said = said.lock().unwrap();
            let line = said.lines().find(|line| line.contains(" serves at "))?;
            line.rsplit(' ').next().map(str::to_owned)
        });
        let children = format!("/proc/{0}/task/{0}/children", child.id());
        let pid = fs::read_to_string(children).expect("cannot read /proc").trim().parse().expect("one child");
        Self { folder: folder.to_owned(), child, pid, address, said }
    }

    /// Returns its log so far.
    pub fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    /// Returns its capabilities, as the kernel writes them.
    ///
    /// # Panics
    /// When it does not run.
    pub fn capabilities(&self) -> String {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).expect("it does not run");
        let found = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
        found.expect("no capabilities").trim().to_owned()
    }

    /// Writes the mode, as the kubelet replaces a ConfigMap's file.
    pub fn mode(&self, mode: &str) {
        write_mode(&self.folder, mode);
    }

    /// The status code and the body of a page.
    ///
    /// # Panics
    /// When there is no answer.
    pub fn get(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).expect("cannot connect");
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: node\r\n\r\n").as_bytes()).expect("cannot send");
        let mut read = String::new();
        stream.read_to_string(&mut read).expect("no answer");
        let (head, body) = read.split_once("\r\n\r\n").expect("no HTTP");
        (head[9..12].parse().expect("no status code"), body.to_owned())
    }

    /// The page `/status`.
    ///
    /// # Panics
    /// When it is no JSON.
    pub fn status(&self) -> Value {
        serde_json::from_str(&self.get("/status").1).expect("no JSON")
    }

    /// A sample of the page `/metrics`.
    ///
    /// # Panics
    /// When it is not there.
    pub fn metric(&self, sample: &str) -> f64 {
        let text = self.get("/metrics").1;
        let value = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' ')?.parse().ok());
        value.unwrap_or_else(|| panic!("{sample} is missing in\n{text}"))
    }

    /// Waits for a state in that mode, and returns its message.
    ///
    /// # Panics
    /// When it does not come.
    pub fn await_state(&self, mode: &str, state: &str, limit: Duration) -> String {
        wait_until(limit, &format!("{mode}, {state}; it said\n{}", self.said()), || {
            let status = self.status();
            (status["mode"] == mode && status["state"] == state).then(|| status["message"].as_str().unwrap().to_owned())
        })
    }

    /// Ends it by SIGTERM.
    ///
    /// # Panics
    /// When it does not end.
    pub fn end(mut self) -> ExitStatus {
        let sent = std::process::Command::new("kill").args(["-TERM", &self.pid.to_string()]).status();
        assert!(sent.expect("cannot run kill").success());
        wait_until(SOON, "the end of catamaran serve", || self.child.try_wait().expect("cannot wait"))
    }
}

/// Atomically, because the kubelet swaps a link.
fn write_mode(folder: &Path, mode: &str) {
    let (new, file) = (folder.join("etc/catamaran/.mode"), folder.join("etc/catamaran/mode"));
    fs::write(&new, mode).and_then(|()| fs::rename(&new, &file)).expect("cannot write the mode");
}
