//! The node that this process runs on, or whose root file system is mounted in its container.

use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use tonic::Status;

use crate::canary;
use crate::error::{Error, Result};
use crate::grpc::{self, Nothing, Pods, StatusResponse};
use crate::handler::Options;
use crate::host::Host;
use crate::node::{Node, Pod, Rollback};
use crate::process::{self, Process, proc_of};
use crate::run;
use crate::service::Services;
use crate::state::Known;

/// containerd's namespace of the pods.
const KUBERNETES: &str = "k8s.io";
const CRI: &str = "runtime.v1.RuntimeService";
/// The time limit of one call.
const CALL: Duration = Duration::from_secs(10);
/// A containerd that was just started first loads the shims of all pods.
const START: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(200);
/// The time limit of a program that prints something and ends.
const PRINTS: Duration = Duration::from_secs(30);
/// Names the step at which a development build ends, as if it were killed.
#[cfg(debug_assertions)]
const STOP: &str = "CATAMARAN_STOP_AT";

/// The real node.
pub(crate) struct Real<'h> {
    pub(crate) host: &'h Host,
    pub(crate) services: Box<dyn Services + 'h>,
}

impl Real<'_> {
    fn cri<A: prost::Message + Default + 'static>(
        &self,
        socket: &Path,
        method: &str,
    ) -> std::result::Result<A, Status> {
        grpc::call(&self.host.at(socket), KUBERNETES, &format!("{CRI}/{method}"), Nothing {}, CALL)
    }

    fn run(&self, program: &Path, args: &[&str]) -> Result<run::Output> {
        run::on_host(self.host, program, args, PRINTS).map_err(|e| {
            Error::refused(
                format!("{} cannot be run: {e}", program.display()),
                "the installer needs root, CAP_SYS_CHROOT where --root is not /, and that program where containerd's process says it is",
            )
        })
    }
}

impl Node for Real<'_> {
    fn processes(&self) -> Vec<Process> {
        process::all(self.host)
    }

    fn started(&self, pid: u32) -> Option<u64> {
        let text = self.host.text(&proc_of(pid).join("stat"))?;
        // The fields start after the program's name, which may hold anything; this is the 22nd field of proc_pid_stat(5).
        text.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
    }

    fn unit_of(&self, pid: u32) -> Option<String> {
        self.services.unit_of(pid)
    }

    fn version(&self, program: &Path) -> Result<String> {
        let output = self.run(program, &["--version"])?;
        Ok(output.stdout.trim().to_owned())
    }

    fn dump(&self, program: &Path, config: &Path) -> Result<String> {
        let output = self.run(program, &["--config", &config.to_string_lossy(), "config", "dump"])?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        Err(Error::refused(
            format!("containerd does not take the configuration {}: {}", config.display(), output.words()),
            format!(
                "nothing was changed; `{} --config {} config dump` says the same",
                program.display(),
                config.display()
            ),
        ))
    }

    fn can_restart(&self, unit: Option<&str>) -> Result<()> {
        self.services.check(unit)
    }

    fn restart(&self, unit: Option<&str>) -> Result<()> {
        self.services.restart(unit)
    }

    fn arm(&self, rollback: &Rollback<'_>) -> Result<()> {
        self.services.arm(rollback)
    }

    fn disarm(&self, id: &str) -> Result<()> {
        self.services.disarm(id)
    }

    fn handlers(&self, socket: &Path) -> Result<Vec<String>> {
        let until = Instant::now() + START;
        loop {
            match self.cri::<StatusResponse>(socket, "Status") {
                Ok(status) => return Ok(status.handlers.into_iter().map(|handler| handler.name).collect()),
                Err(status) if Instant::now() > until => {
                    return Err(Error::failed(
                        format!(
                            "containerd does not answer the CRI at {} after {} s: {}",
                            socket.display(),
                            START.as_secs(),
                            status.message()
                        ),
                        "look at containerd's log",
                    ));
                }
                Err(_) => sleep(PAUSE),
            }
        }
    }

    fn pods(&self, socket: &Path, handler: &str) -> Result<Vec<Pod>> {
        let pods: Pods = self.cri(socket, "ListPodSandbox").map_err(|status| {
            Error::failed(
                format!("containerd does not say at {} which pods there are: {}", socket.display(), status.message()),
                "look at containerd's log",
            )
        })?;
        let of_handler = pods.items.into_iter().filter(|pod| pod.handler == handler && pod.state == 0);
        let named = of_handler.map(|pod| {
            let name = pod.metadata.map_or(pod.id, |data| format!("{}/{}", data.namespace, data.name));
            Pod { name }
        });
        Ok(named.collect())
    }

    fn canary(&self, containerd: &Known, shim: &Path, engine: &str, options: &Options) -> Result<()> {
        canary::run(self.host, &containerd.socket, shim, engine, options)
    }

    fn step(&self, name: &'static str) {
        #[cfg(debug_assertions)]
        if std::env::var_os(STOP).is_some_and(|stop| stop == name) {
            // As with SIGKILL, nothing is cleaned up.
            std::process::abort();
        }
        let _ = name;
    }
}
