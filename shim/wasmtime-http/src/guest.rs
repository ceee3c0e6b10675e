//! The component: its imports, and the world of each instance.

use std::sync::Arc;
use std::time::Duration;

use catamaran_wasmtime::interfaces::provide;
use catamaran_wasmtime::world::World;
use catamaran_wasmtime_artifact::interfaces;
use catamaran_worker::{Guest, Needs, RunnerError};
use wasmtime::component::{Component, HasData, Linker, Resource};
use wasmtime::{Engine, Result};
use wasmtime_wasi::WasiCtxBuilder;
use wasmtime_wasi::filesystem::Descriptor;
use wasmtime_wasi::p2::bindings::cli::environment;
use wasmtime_wasi::p2::bindings::filesystem::preopens;
use wasmtime_wasi_http::handler::ProxyPre;
use wasmtime_wasi_http::p2::bindings::{self as p2, LinkOptions, http};
use wasmtime_wasi_http::p3::bindings::ServicePre;
use wasmtime_wasi_http::{
    DEFAULT_FORBIDDEN_HEADERS, Error, ForbiddenHeaderFilter, RequestOptions, WasiBody, WasiHttp, WasiHttpCtx,
    WasiHttpCtxView, WasiHttpHooks,
};

use crate::ceiling::Ceiling;
use crate::exchange::Life;
use crate::outgoing::Outgoing;
use crate::output::Output;
use crate::wasi3;

/// What a server keeps with an instance.
pub(crate) struct Extra {
    http: WasiHttpCtx,
    hooks: Hooks,
    guest: Arc<Guest>,
    pub(crate) ceiling: Ceiling,
    pub(crate) life: Arc<Life>,
}

impl Extra {
    pub(crate) fn new(guest: &Arc<Guest>, hooks: &Hooks, ceiling: Ceiling, life: Arc<Life>) -> Self {
        Self { http: WasiHttpCtx::new(), hooks: hooks.clone(), guest: Arc::clone(guest), ceiling, life }
    }
}

/// What wasmtime-wasi-http works on.
pub(crate) fn view(world: &mut World<Extra>) -> WasiHttpCtxView<'_> {
    WasiHttpCtxView { hooks: &mut world.extra.hooks, table: &mut world.table, ctx: &mut world.extra.http }
}

/// What a guest's requests of its own go through.
#[derive(Clone)]
pub(crate) struct Hooks {
    forbidden: ForbiddenHeaderFilter,
    outgoing: Arc<Outgoing>,
}

impl Hooks {
    pub(crate) fn new(outgoing: Arc<Outgoing>) -> Self {
        Self { forbidden: Arc::new(|name| DEFAULT_FORBIDDEN_HEADERS.contains(name)), outgoing }
    }

    /// For a lane of its own.
    pub(crate) fn another(&self) -> Self {
        Self { forbidden: Arc::clone(&self.forbidden), outgoing: self.outgoing.another() }
    }
}

/// An answer to an outgoing request, and what is left to be done for it.
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

/// What the component wants of the kernel.
pub(crate) fn needs(engine: &Engine, component: &Component) -> Needs {
    let imports = |which: fn(&str) -> bool| component.component_type().imports(engine).any(|(name, _)| which(name));
    let (sockets, connects) = (imports(interfaces::opens_sockets), imports(interfaces::makes_requests));
    Needs { threads: true, sockets, accepts: true, connects }
}

/// Whether requests call it by WASI 0.3. One that can be called by both versions is called by the newer.
pub(crate) fn is_of_wasi_3(engine: &Engine, component: &Component) -> bool {
    component.component_type().exports(engine).any(|(name, _)| interfaces::is_handler_3(name))
}

/// Links it. `wasi_p3` is whether it may be of WASI 0.3. The text of an error is for the user.
pub(crate) fn link(
    engine: &Engine,
    component: &Component,
    wasi_p3: bool,
) -> std::result::Result<ProxyPre<World<Extra>>, RunnerError> {
    let types = component.component_type();
    let names = || types.imports(engine).chain(types.exports(engine)).map(|(name, _)| name);
    let asking = names().find(|name| interfaces::asks_for_wasi_3(name));
    let refused = types
        .imports(engine)
        .find_map(|(name, _)| interfaces::server_refusal(name))
        .or_else(|| interfaces::no_server(types.exports(engine).map(|(name, _)| name)))
        .or_else(|| asking.filter(|_| !wasi_p3).map(interfaces::switched_off));
    if let Some(text) = refused {
        return Err(RunnerError::Module(text));
    }
    let mut linker = Linker::new(engine);
    let version =
        |version: &'static str| move |e| RunnerError::Module(format!("WASI {version} cannot be linked: {e:#}"));
    interfaces_of_servers(&mut linker).map_err(version("0.2"))?;
    // Most have none of it, and need no memory for it.
    if asking.is_some() {
        wasi3::provide(&mut linker).map_err(version("0.3"))?;
    }
    // Wasmtime's text names the interface and the function, and both types.
    let linked = |e| RunnerError::Module(format!("the component cannot be linked: {e:#}"));
    let pre = linker.instantiate_pre(component).map_err(linked)?;
    match is_of_wasi_3(engine, component) {
        true => ServicePre::new(pre).map(ProxyPre::P3).map_err(|_| RunnerError::Module(interfaces::no_handle_3())),
        false => p2::ProxyPre::new(pre).map(ProxyPre::P2).map_err(|_| RunnerError::Module(interfaces::no_handle())),
    }
}

/// The interfaces of a command, and those of HTTP. The environment and the folders are answered when they are asked for, which
/// not every request does.
fn interfaces_of_servers(linker: &mut Linker<World<Extra>>) -> Result<()> {
    provide(linker)?;
    linker.allow_shadowing(true);
    environment::add_to_linker::<World<Extra>, Environment>(linker, environment_of)?;
    preopens::add_to_linker::<World<Extra>, Folders>(linker, |world| FoldersView(world))?;
    linker.allow_shadowing(false);
    let stable = LinkOptions::default();
    http::outgoing_handler::add_to_linker::<World<Extra>, WasiHttp>(linker, view)?;
    http::types::add_to_linker::<World<Extra>, WasiHttp>(linker, &(&stable).into(), view)
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
        if !all.iter().any(|(name, _)| name == "PWD") {
            all.push(("PWD".to_owned(), self.0.cwd.clone()));
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

/// The world of a new instance: no input, the container's output, and sockets for a component that imports them.
pub(crate) fn world(extra: Extra, output: &Output, sockets: bool) -> World<Extra> {
    let mut builder = WasiCtxBuilder::new();
    builder.stdout(output.stdout()).stderr(output.stderr());
    if sockets {
        builder.inherit_network().allow_tcp(true).allow_udp(true);
    }
    World::with(builder.build(), extra)
}

/// How long a guest may go on without waiting for anything.
pub(crate) type Limit = Option<Duration>;
