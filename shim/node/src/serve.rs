//! `catamaran serve`: keeps a node in the state that a file names, and reports that state. The chart's DaemonSet runs it.
//!
//! ```text
//! main thread:  http (metrics), signals   <-- board --   a thread: reconciler (mode, stop) --> install
//! ```
//!
//! A signal ends it between two steps, and never uninstalls.

mod board;
mod http;
mod metrics;
mod mode;
mod reconciler;
mod stop;

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use self::board::Board;
use self::reconciler::{Nodes, Reconciler, Wish};
use self::stop::Stop;
use crate::error::{Error, Result};
use crate::host::Host;
use crate::install::{Done, Settings};
use crate::node::Node;
use crate::programs::Programs;
use crate::real::Real;
use crate::service::{Nobody, Services};

/// The options of `catamaran serve`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ServeArgs {
    /// The handler's name in containerd and in the RuntimeClass.
    #[arg(long, default_value = "catamaran", value_name = "NAME")]
    handler: String,
    /// A JSON file with the handler's options, read again at each pass. Not below --root.
    #[arg(long, value_name = "FILE")]
    options_file: Option<PathBuf>,
    /// The file that says what the node is to be: install, uninstall or uninstall-force. Not below --root.
    #[arg(long, value_name = "FILE")]
    mode_file: PathBuf,
    /// Seconds between two checks of the node.
    #[arg(long, default_value_t = 60, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86400))]
    interval: u64,
    /// The address of /healthz, /readyz, /status and /metrics: ADDRESS:PORT, or :PORT for all addresses.
    #[arg(long, default_value = ":8890", value_name = "ADDRESS", value_parser = Listen::parse)]
    listen: Listen,
    /// The folder that holds the programs to install; without it, this program's own.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) from: Option<PathBuf>,
    /// A folder on the node for links by the names of runwasi's shims: k3s and rke2 write the handlers wasmtime and wasmer for them.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) runwasi_names: Option<PathBuf>,
}

/// Addresses. The first one that the machine has is bound.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Listen(Vec<SocketAddr>);

impl Listen {
    fn parse(text: &str) -> std::result::Result<Self, String> {
        let port = || text.strip_prefix(':')?.parse::<u16>().ok();
        // The first address takes IPv4 too, and fails if the kernel has no IPv6.
        let all = |port| vec![(Ipv6Addr::UNSPECIFIED, port).into(), (Ipv4Addr::UNSPECIFIED, port).into()];
        let one = || text.parse().ok().map(|address| vec![address]);
        port().map(all).or_else(one).map(Self).ok_or_else(|| {
            "an IP address and a port were expected, such as 127.0.0.1:8890, [::1]:8890, or :8890 for all addresses"
                .to_owned()
        })
    }
}

/// Connects to the service manager of a host.
type Connect<'h, 'c> = dyn Fn() -> Result<Box<dyn Services + 'h>> + Sync + 'c;

/// The real node. `connect` connects to the service manager, which may be restarted at any time.
struct RealNodes<'h, 'c> {
    host: &'h Host,
    look: Real<'h>,
    connect: &'c Connect<'h, 'c>,
}

impl Nodes for RealNodes<'_, '_> {
    fn to_look(&self) -> &dyn Node {
        &self.look
    }

    fn to_work(&self, work: &mut dyn FnMut(&dyn Node) -> Result<Done>) -> Result<Done> {
        work(&Real { host: self.host, services: (self.connect)()? })
    }
}

/// Serves until SIGTERM or SIGINT. An error says why the server cannot begin.
pub(crate) fn run<'h>(
    host: &'h Host,
    settings: &Settings,
    args: &ServeArgs,
    programs: &Programs,
    connect: &Connect<'h, '_>,
) -> Result<()> {
    let wish = Wish {
        handler: args.handler.clone(),
        options_file: args.options_file.clone(),
        mode_file: args.mode_file.clone(),
        interval: Duration::from_secs(args.interval),
    };
    let board = Arc::new(Board::new(&wish.handler, &programs.name));
    let stop = Stop::default();
    let failed =
        |doing: &str, e: std::io::Error| Error::failed(format!("{doing}: {e}"), "look at that, and start it again");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| failed("no event loop", e))?;
    let (listener, address) = runtime.block_on(http::bind(&args.listen.0)).map_err(|e| {
        let first = args.listen.0.first().map(ToString::to_string).unwrap_or_default();
        Error::failed(format!("--listen {first}: {e}"), "name an address of this machine and a port that is free")
    })?;
    // Before any work begins, so that no signal is missed.
    let signals = runtime.block_on(async {
        Ok::<_, std::io::Error>((signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?))
    });
    let (mut terminate, mut interrupt) = signals.map_err(|e| failed("signals cannot be waited for", e))?;
    eprintln!("catamaran: {} serves at {address}", programs.name);
    std::thread::scope(|scope| {
        let (board_of_worker, stop_of_worker) = (board.clone(), &stop);
        let worker = scope.spawn(move || {
            let nodes = RealNodes { host, look: Real { host, services: Box::new(Nobody) }, connect };
            Reconciler::new(host, &nodes, settings, &wish, programs, &board_of_worker, stop_of_worker).run();
        });
        runtime.block_on(http::serve(listener, host.clone(), board, async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        }));
        eprintln!("catamaran: ending; the node stays as it is");
        stop.ask();
        // The thread has reported its panic itself.
        let _ = worker.join();
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_others_refused() {
        let one = |text: &str| Listen::parse(text).map(|listen| listen.0);
        assert_eq!(one("127.0.0.1:80").unwrap(), ["127.0.0.1:80".parse().unwrap()]);
        assert_eq!(one("[::1]:80").unwrap(), ["[::1]:80".parse().unwrap()]);
        assert_eq!(one(":80").unwrap(), ["[::]:80".parse().unwrap(), "0.0.0.0:80".parse().unwrap()]);
        for wrong in ["", ":", "80", "localhost:80", ":70000", "127.0.0.1"] {
            assert!(one(wrong).unwrap_err().contains(":8890"), "{wrong}");
        }
    }
}
