//! The world of each instance: the state that its host calls work on.

use std::sync::Arc;
use std::time::Duration;

use catamaran_wasmtime::stdio;
use catamaran_wasmtime::world::World;
use catamaran_worker::Guest;
use catamaran_worker::variables::WORKING_DIRECTORY;
use wasmtime::Result;
use wasmtime::component::{HasData, Resource};
use wasmtime_wasi::WasiCtxBuilder;
use wasmtime_wasi::filesystem::Descriptor;
use wasmtime_wasi::p2::bindings::cli::environment;
use wasmtime_wasi::p2::bindings::filesystem::preopens;
use wasmtime_wasi_config::WasiConfigVariables;
use wasmtime_wasi_http::{
    DEFAULT_FORBIDDEN_HEADERS, Error, ForbiddenHeaderFilter, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpCtxView,
    WasiHttpHooks,
};

use crate::ceiling::Ceiling;
use crate::exchange::Life;
use crate::log::Log;
use crate::outgoing::Outgoing;
use crate::output::Output;

/// What the worker keeps with an instance.
pub(crate) struct Extra {
    http: WasiHttpCtx,
    hooks: Hooks,
    guest: Arc<Guest>,
    pub(crate) config: Arc<WasiConfigVariables>,
    pub(crate) log: Log,
    pub(crate) ceiling: Ceiling,
    pub(crate) life: Arc<Life>,
}

/// What all instances of a worker have.
#[derive(Clone)]
pub(crate) struct Common {
    pub(crate) guest: Arc<Guest>,
    pub(crate) hooks: Hooks,
    /// Empty for a component that does not read it.
    pub(crate) config: Arc<WasiConfigVariables>,
    pub(crate) log: Log,
}

impl Common {
    /// `configured` says whether the component reads its configuration.
    pub(crate) fn new(guest: &Guest, outgoing: Arc<Outgoing>, configured: bool, log: Log) -> Self {
        let variables = guest.env.iter().filter(|_| configured).cloned();
        Self { guest: Arc::new(guest.clone()), hooks: Hooks::new(outgoing), config: Arc::new(variables.collect()), log }
    }

    /// Returns a copy for another lane.
    pub(crate) fn for_another_lane(&self) -> Self {
        Self { hooks: self.hooks.another(), ..self.clone() }
    }
}

impl Extra {
    pub(crate) fn new(common: &Common, ceiling: Ceiling, life: Arc<Life>) -> Self {
        let Common { guest, hooks, config, log } = common.clone();
        Self { http: WasiHttpCtx::new(), hooks, guest, config, log, ceiling, life }
    }
}

/// Returns the part of the world that wasmtime-wasi-http works on.
pub(crate) fn view(world: &mut World<Extra>) -> WasiHttpCtxView<'_> {
    WasiHttpCtxView { hooks: &mut world.extra.hooks, table: &mut world.table, ctx: &mut world.extra.http }
}

/// Our part in the requests that a guest makes.
#[derive(Clone)]
pub(crate) struct Hooks {
    forbidden: ForbiddenHeaderFilter,
    outgoing: Arc<Outgoing>,
}

impl Hooks {
    fn new(outgoing: Arc<Outgoing>) -> Self {
        Self { forbidden: Arc::new(|name| DEFAULT_FORBIDDEN_HEADERS.contains(name)), outgoing }
    }

    /// Returns a copy for another lane.
    fn another(&self) -> Self {
        Self { forbidden: Arc::clone(&self.forbidden), outgoing: self.outgoing.another() }
    }
}

/// A response to an outgoing request, and the work that is left to do for it.
type Sent = (::http::Response<WasiBody>, Box<dyn Future<Output = std::result::Result<(), Error>> + Send>);

impl WasiHttpHooks for Hooks {
    fn forbidden_header_filter(&mut self) -> ForbiddenHeaderFilter {
        Arc::clone(&self.forbidden)
    }

    fn send_request(
        &mut self,
        request: ::http::Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Box<dyn Future<Output = std::result::Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = std::result::Result<Sent, Error>> + Send> {
        let outgoing = Arc::clone(&self.outgoing);
        Box::new(async move {
            let response = outgoing.send(request, options.unwrap_or_default()).await?;
            // The client's own tasks do the rest.
            let rest: Box<dyn Future<Output = std::result::Result<(), Error>> + Send> = Box::new(async { Ok(()) });
            Ok((response, rest))
        })
    }
}

pub(crate) struct Environment;
pub(crate) struct EnvironmentView<'a>(&'a Guest);

pub(crate) fn environment_of(world: &mut World<Extra>) -> EnvironmentView<'_> {
    EnvironmentView(&world.extra.guest)
}

impl HasData for Environment {
    type Data<'a> = EnvironmentView<'a>;
}

impl environment::Host for EnvironmentView<'_> {
    fn get_environment(&mut self) -> Result<Vec<(String, String)>> {
        let mut all = self.0.env.clone();
        // As for a command.
        if !all.iter().any(|(name, _)| name == WORKING_DIRECTORY) {
            all.push((WORKING_DIRECTORY.to_owned(), self.0.cwd.clone()));
        }
        Ok(all)
    }

    fn get_arguments(&mut self) -> Result<Vec<String>> {
        Ok(self.0.args.clone())
    }

    fn initial_cwd(&mut self) -> Result<Option<String>> {
        Ok(Some(self.0.cwd.clone()))
    }
}

pub(crate) struct Folders;
pub(crate) struct FoldersView<'a>(pub(crate) &'a mut World<Extra>);

impl HasData for Folders {
    type Data<'a> = FoldersView<'a>;
}

impl preopens::Host for FoldersView<'_> {
    fn get_directories(&mut self) -> Result<Vec<(Resource<Descriptor>, String)>> {
        self.0.open_root()
    }
}

/// Makes the world of a new instance: no input, the container's output, and sockets for a component that imports them.
pub(crate) fn world(extra: Extra, output: &Output, sockets: bool) -> World<Extra> {
    let mut builder = WasiCtxBuilder::new();
    builder.stdout(output.stdout()).stderr(output.stderr());
    world_of(builder, extra, sockets)
}

/// Makes the world of a command, with the container's streams.
///
/// # Errors
/// When the streams cannot be used; the text is for the user.
pub(crate) fn world_of_command(extra: Extra, sockets: bool) -> std::result::Result<World<Extra>, String> {
    let mut builder = WasiCtxBuilder::new();
    stdio::inherit(&mut builder)?;
    Ok(world_of(builder, extra, sockets))
}

fn world_of(mut builder: WasiCtxBuilder, extra: Extra, sockets: bool) -> World<Extra> {
    // The pod's network namespace, and the kernel's rules for it, decide which addresses the guest can reach.
    if sockets {
        builder.inherit_network().allow_tcp(true).allow_udp(true);
    }
    World::with(builder.build(), extra)
}

/// How long a guest may go on without waiting for anything.
pub(crate) type Limit = Option<Duration>;
