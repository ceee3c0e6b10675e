//! `catamaran-labeller` labels the nodes that can run Wasm pods, for the scheduler, and uninstalls Catamaran from all nodes before its
//! chart is deleted.
//!
//! ```text
//! cli --> watch: nodes, installer pods, ConfigMap --> decide --> patch     (one Deployment, unprivileged)
//!           '- health                                   GET /healthz, /readyz
//!     '-> uninstall --> cluster: the mode, the pods     (the chart's pre-delete hook)
//!           '- ask                                      GET http://POD_IP:PORT/status
//! ```
//!
//! The installers, which are root on their nodes, hold no credential of the cluster. This program holds one that may change nodes,
//! but has no rights on any node. It trusts the kubelet about an installer's pod, the pod's readiness and the node's handlers.
//!
//! A node keeps its labels for [`decide::GRACE`] after its installer was last ready, so that an update of the installers does not disturb
//! scheduling.

mod args;
mod ask;
mod cli;
mod cluster;
mod decide;
mod error;
#[cfg(test)]
mod fake_api;
mod health;
mod log;
mod patch;
mod uninstall;
mod view;
mod watch;
mod wish;

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use kube::{Client, Config};
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::{Cli, Command, FAILED, OK};
use crate::error::{Error, Result};
use crate::health::Health;
use crate::log::Log;

/// The longest silence on a connection to the API server. A watch is renewed earlier ([`watch::RENEWED_AFTER`]).
const SILENCE: Duration = Duration::from_secs(75);

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => {
            eprintln!("catamaran-labeller: starting the event loop: {e}");
            return ExitCode::from(FAILED);
        }
    };
    let ended = runtime.block_on(carry_out(cli));
    // Does not wait for requests without an answer.
    runtime.shutdown_background();
    match ended {
        Ok(()) => ExitCode::from(OK),
        Err(e) => {
            eprintln!("catamaran-labeller: {e}");
            ExitCode::from(FAILED)
        }
    }
}

async fn carry_out(cli: Cli) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::signals)?;
    let asked_to_end = async {
        tokio::select! {
            _ = terminate.recv() => (),
            _ = interrupt.recv() => (),
        }
    };
    // The program goes on if its log cannot be written.
    let say = |words: &str| drop(writeln!(std::io::stdout(), "{words}"));
    match cli.command {
        Command::Watch(args) => {
            let health = Arc::new(Health::default());
            let listener = health::listen(&args.listen)?;
            let settings = args.settings()?;
            let client = client().await?;
            let mut log = Log::new(&say);
            tokio::select! {
                () = asked_to_end => Ok(()),
                () = health::serve(listener, health.clone()) => Ok(()),
                () = watch::run(client, &settings, &health, Instant::now, &mut log) => Ok(()),
            }
        }
        Command::Uninstall(args) => {
            let cluster = cluster::Kube::new(client().await?, &args.place);
            let settings = args.settings();
            tokio::select! {
                () = asked_to_end => Err(Error::Interrupted { mode: settings.mode.word() }),
                ended = uninstall::run(&cluster, &settings, &say) => ended,
            }
        }
    }
}

/// Makes a client of the cluster that this pod runs in or, outside a cluster, of the one in `KUBECONFIG`.
async fn client() -> Result<Client> {
    let mut config = Config::infer().await.map_err(|e| Error::no_cluster(&e))?;
    config.read_timeout = Some(SILENCE);
    // Otherwise the idle time before a request would count as silence.
    config.reset_reader_on_write = true;
    Client::try_from(config).map_err(|e| Error::no_cluster(&e))
}
