//! The two ways to the manager: a bus of dbus-daemon, where the manager owns systemd's name, and a private socket without a bus.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use catamaran_harness::wait_until;
use zbus::connection::Builder;

use crate::core::{Core, MANAGER_PATH};
use crate::manager::Manager;
use crate::{objects, relay};

/// systemd's name on the bus.
pub(crate) const NAME: &str = "org.freedesktop.systemd1";
/// How long dbus-daemon may take to come up.
const LIMIT: Duration = Duration::from_secs(10);
/// The interval of checks of the private socket.
const PAUSE: Duration = Duration::from_millis(5);
/// The server's identity; any is accepted.
const GUID: &str = "0123456789abcdef0123456789abcdef";

pub(crate) struct Bus {
    folder: PathBuf,
    daemon: Child,
}

impl Bus {
    pub(crate) fn start(folder: &Path, core: &Arc<Core>) -> Self {
        let bus = Self { folder: folder.to_owned(), daemon: daemon(folder) };
        wait_until(LIMIT, "dbus-daemon", || UnixStream::connect(bus.socket()).is_ok().then_some(()));
        let connection = zbus::block_on(async {
            let builder = Builder::address(bus.address().as_str())?.serve_at(MANAGER_PATH, Manager::new(core))?;
            objects::serve_all(builder, core)?.name(NAME)?.build().await
        });
        core.connect(connection.unwrap_or_else(|error| panic!("cannot serve {NAME} on {}: {error}", bus.address())));
        listen(bus.private_socket(), core);
        bus
    }

    fn socket(&self) -> PathBuf {
        self.folder.join("bus")
    }

    pub(crate) fn address(&self) -> String {
        format!("unix:path={}", self.socket().display())
    }

    pub(crate) fn private_socket(&self) -> PathBuf {
        self.folder.join("private")
    }

    pub(crate) fn stop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

/// Starts a bus on which any process of root's may own any name. It does not read the policy of the machine's system bus.
fn daemon(folder: &Path) -> Child {
    let config = folder.join("bus.conf");
    let text = format!(
        r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>custom</type>
  <listen>unix:path={}</listen>
  <auth>EXTERNAL</auth>
  <policy user="root">
    <allow own="*"/>
    <allow send_destination="*"/>
    <allow receive_sender="*"/>
  </policy>
</busconfig>
"#,
        folder.join("bus").display()
    );
    fs::write(&config, text).unwrap_or_else(|error| panic!("cannot write {}: {error}", config.display()));
    let there = Command::new("dbus-daemon").arg("--version").stdout(Stdio::null()).status();
    if there.is_err_and(|error| error.kind() == ErrorKind::NotFound) {
        panic!("'dbus-daemon' is missing; run: apt-get install -y dbus-daemon");
    }
    let mut command = catamaran_harness::die_with_parent(Path::new("dbus-daemon"));
    command.arg(format!("--config-file={}", config.display())).args(["--nofork", "--nopidfile", "--nosyslog"]);
    command.current_dir(folder).stdin(Stdio::null());
    catamaran_harness::spawn(command).unwrap_or_else(|error| panic!("cannot start dbus-daemon: {error}"))
}

/// Serves every client, for as long as the service manager lives.
fn listen(socket: PathBuf, core: &Arc<Core>) {
    let listener =
        UnixListener::bind(&socket).unwrap_or_else(|error| panic!("cannot bind {}: {error}", socket.display()));
    listener.set_nonblocking(true).expect("a socket");
    let core = Arc::clone(core);
    std::thread::spawn(move || {
        while !core.is_stopped() {
            match listener.accept() {
                Ok((client, _)) => {
                    let core = Arc::clone(&core);
                    std::thread::spawn(move || serve(client, &core));
                }
                Err(_) => std::thread::sleep(PAUSE),
            }
        }
    });
}

fn serve(client: UnixStream, core: &Arc<Core>) {
    client.set_nonblocking(false).expect("a socket");
    let stream = relay::with_sender(client, NAME);
    let connection = zbus::block_on(async {
        let builder =
            Builder::async_io_unix_stream(stream).server(GUID)?.p2p().serve_at(MANAGER_PATH, Manager::new(core))?;
        objects::serve_all(builder, core)?.build().await
    });
    // A client that does not greet, or leaves at once, is not served.
    if let Ok(connection) = connection {
        core.connect(connection);
    }
}
