//! The steps of a worker that serves HTTP, or runs an extended command.

use std::fs::File;
use std::future::Future;
use std::io;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use catamaran_wasmtime_artifact::config::WASMTIME;
use catamaran_worker::job::{Rules, Server};
use catamaran_worker::variables::CERTIFICATES;
use catamaran_worker::{Guest, Needs, Runner, RunnerError, Terms, listener, signals};
use http::uri::Authority;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::admission::Admission;
use crate::command;
use crate::drain::Drain;
use crate::guest::Common;
use crate::instances::Instances;
use crate::lanes::{self, Lanes};
use crate::link;
use crate::log::Log;
use crate::outgoing::{self, Outgoing};
use crate::output::Output;
use crate::pool;
use crate::refusal::{self, Refusal};
use crate::report::Report;
use crate::service::Service;
use crate::ticker::Ticker;
use crate::tls::Tls;
use crate::work::Work;

/// Connections for each request that is handled at once, and the fewest that a server may have.
pub(crate) const CONNECTIONS: usize = 16;
pub(crate) const FEWEST_CONNECTIONS: usize = 1024;
/// Descriptors that are kept for everything but connections.
const OTHER_DESCRIPTORS: u64 = 64 + refusal::MOST as u64;
/// How long to wait for the next try if the kernel has no descriptor or memory for a connection.
const PAUSE: Duration = Duration::from_millis(100);

/// A component mapped from its artifact, and its role.
pub struct Http {
    engine: Engine,
    component: Component,
    rules: Rules,
    role: Role,
}

enum Role {
    Command,
    Server(Box<Serving>),
}

/// How a component serves.
struct Serving {
    settings: Server,
    certificate: Option<OwnedFd>,
    listener: Option<TcpListener>,
}

impl Runner for Http {
    const VERSION: &'static str = WASMTIME;

    type Program = Box<dyn FnOnce() -> ExitCode>;

    /// Always true, because the artifact is a component's.
    fn maps_by_name(_: &File) -> bool {
        true
    }

    fn load(artifact: File, terms: Terms) -> Result<Self, RunnerError> {
        let Terms { server, certificate, rules } = terms;
        let ((engine, component), role) = match server {
            None => (command::load(artifact)?, Role::Command),
            Some(settings) => {
                let loaded = pool::load(artifact, &settings)?;
                (loaded, Role::Server(Box::new(Serving { settings, certificate, listener: None })))
            }
        };
        Ok(Self { engine, component, rules, role })
    }

    fn listen(&mut self) -> Result<(), RunnerError> {
        if let Role::Server(serving) = &mut self.role {
            serving.listener = Some(TcpListener::from(listener::open(&serving.settings)?));
        }
        Ok(())
    }

    fn needs(&self) -> Needs {
        link::needs(&self.engine, &self.component, matches!(self.role, Role::Server(_)))
    }

    fn link(self, guest: &Guest) -> Result<Self::Program, RunnerError> {
        let sockets = self.needs().sockets;
        let Self { engine, component, rules, role } = self;
        let output = Output::default();
        let certificates = guest.env.iter().find(|(name, _)| name == CERTIFICATES).map(|(_, path)| path.clone());
        let outgoing = outgoing::Shared::new(certificates, rules.link_local_requests, output.clone());
        let Serving { settings, certificate, listener } = match role {
            Role::Command => {
                return command::program(&engine, &component, guest, rules.wasi_p3, sockets, &outgoing);
            }
            Role::Server(serving) => *serving,
        };
        let tls = match (&settings.tls, certificate) {
            (Some(name), Some(folder)) => Some(Tls::new(folder, name.clone(), output.clone())),
            _ => None,
        };
        let tls = tls.transpose().map_err(RunnerError::Module)?;
        let pre = link::server(&engine, &component, rules.wasi_p3, tls.is_some())?;
        let failed = |what: &str| {
            let what = what.to_owned();
            move |e: io::Error| RunnerError::Module(format!("{what}: {e}"))
        };
        let listener = listener.ok_or_else(|| RunnerError::Module("it does not listen".to_owned()))?;
        let ticker = settings.request_timeout.map(|_| Ticker::start(&engine)).transpose();
        let ticker = ticker.map_err(failed("the server's clock cannot be started"))?;
        let stop = signals::drain_on_signals().map_err(failed("the server cannot handle signals"))?;
        let host = Authority::try_from(settings.listen.to_string())
            .map_err(|e| RunnerError::Module(format!("{}: {e}", settings.listen)))?;
        let configured = link::is_configured(&engine, &component);
        let work = Arc::new(Work::new(ticker));
        let instances = Instances {
            engine,
            pre: Arc::new(pre),
            common: Common::new(guest, Outgoing::new(&outgoing), configured, Log::Queued(output.clone())),
            output: output.clone(),
            sockets,
            reuse: settings.instance_reuse,
            memory: settings.instance_memory,
            limit: settings.request_timeout,
            work: Arc::clone(&work),
        };
        let admission = Admission::new(settings.most_requests);
        let report = Arc::new(Report::new(output.clone(), settings.request_timeout));
        let service = Arc::new(Service { settings, admission, work, drain: Drain::new(), output, report, host, tls });
        Ok(Box::new(move || match run(service, instances, listener, stop) {
            Ok(()) => ExitCode::SUCCESS,
            Err(e) => {
                eprintln!("catamaran: the server cannot go on: {e}");
                ExitCode::FAILURE
            }
        }))
    }
}

/// Serves until it is told to stop, and then until pending work is over.
fn run(service: Arc<Service>, instances: Instances, listener: TcpListener, stop: OwnedFd) -> io::Result<()> {
    let runtime = lanes::event_loop()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let stop = watched(stop)?;
        let most = lanes::processors(service.settings.processors);
        let refusal = Refusal::new();
        let mut lanes = Lanes::new(Arc::clone(&service), instances, most);
        {
            let mut accepting = pin!(accept(&listener, &service, &mut lanes, &refusal));
            let mut stopped = pin!(stop.readable());
            std::future::poll_fn(|cx| match stopped.as_mut().poll(cx) {
                Poll::Ready(_) => Poll::Ready(()),
                Poll::Pending => accepting.as_mut().poll(cx),
            })
            .await;
            service.drain.begin();
            let _ = tokio::time::timeout(service.settings.lame_duck, accepting).await;
        }
        // Connections that the kernel has accepted already, whose clients cannot know that the server ends.
        take_rest(&listener, &service, &mut lanes, &refusal);
        drop(listener);
        service.drain.close().await;
        service.admission.all_returned().await;
        service.work.all_ended().await;
        Ok::<_, io::Error>(())
    })?;
    service.output.finish();
    // Not a plain drop, which waits for threads that may block in a file operation for ever.
    runtime.shutdown_background();
    Ok(())
}

#[expect(unsafe_code, reason = "tokio watches a raw descriptor")]
fn watched(stop: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the descriptor must stay open and the same while it is watched: the `AsyncFd` owns it, hands it out by reference
    // alone, and closes it last.
    unsafe { AsyncFd::register_with_interest(stop, Interest::READABLE) }.map_err(Into::into)
}

/// Never returns.
async fn accept(listener: &tokio::net::TcpListener, service: &Service, lanes: &mut Lanes, refusal: &Refusal) {
    let most = most_connections(service);
    loop {
        match listener.accept().await {
            Ok((stream, _)) => admit(stream, most, service, lanes, refusal),
            // The connection's own fault, or the machine's: neither ends the server.
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

fn admit(stream: tokio::net::TcpStream, most: usize, service: &Service, lanes: &mut Lanes, refusal: &Refusal) {
    match service.drain.connections() < most {
        true => lanes.serve(stream),
        // Only without TLS does the client understand the answer.
        false if service.tls.is_none() => refusal.tell(stream),
        false => drop(stream),
    }
}

fn take_rest(listener: &tokio::net::TcpListener, service: &Service, lanes: &mut Lanes, refusal: &Refusal) {
    let most = most_connections(service);
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    while let Poll::Ready(Ok((stream, _))) = listener.poll_accept(&mut cx) {
        admit(stream, most, service, lanes, refusal);
    }
}

/// Returns the most connections at once.
fn most_connections(service: &Service) -> usize {
    let wanted = (service.settings.most_requests as usize * CONNECTIONS).max(FEWEST_CONNECTIONS);
    let descriptors = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let may =
        descriptors.map_or(usize::MAX, |most| usize::try_from(most.saturating_sub(OTHER_DESCRIPTORS)).unwrap_or(1));
    wanted.min(may).max(1)
}
