//! Starts the processes that die with the test program.
//!
//! The kernel sends a parent-death signal when the *thread* that forked ends, and a test's thread ends with the test, while several tests
//! may share a node. So one thread forks for all, and lives as long as the program.

use std::io;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, OnceLock};

type Order = (Command, Sender<io::Result<Child>>);

static ORDERS: OnceLock<Mutex<Sender<Order>>> = OnceLock::new();

/// A command that the kernel kills when this program ends, however it ends. Start it by [`spawn`].
pub fn die_with_parent(program: &Path) -> Command {
    let mut command = settled(Path::new("setpriv"));
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

/// A command whose signals have their default dispositions, whatever started the tests: `nohup` ignores SIGHUP, and every process below
/// inherits an ignored signal.
pub(crate) fn settled(program: &Path) -> Command {
    let mut command = Command::new("env");
    command.arg("--default-signal").arg(program);
    command
}

/// Starts it on the thread that never ends.
///
/// # Errors
/// As [`Command::spawn`].
///
/// # Panics
/// When that thread cannot be started.
pub fn spawn(command: Command) -> io::Result<Child> {
    let orders = ORDERS.get_or_init(|| {
        let (sender, receiver) = channel::<Order>();
        std::thread::Builder::new()
            .name("keeper".into())
            .spawn(move || {
                for (mut command, reply) in receiver {
                    // The caller may have panicked meanwhile; then nobody wants the answer.
                    let _ = reply.send(command.spawn());
                }
            })
            .expect("cannot start a thread");
        Mutex::new(sender)
    });
    let (reply, answer) = channel();
    orders.lock().unwrap().send((command, reply)).expect("the keeper thread is gone");
    answer.recv().expect("the keeper thread is gone")
}
