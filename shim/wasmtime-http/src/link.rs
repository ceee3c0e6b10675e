//! Links a component: finds the export that it is called by, and the interfaces that it imports.

use catamaran_wasmtime::interfaces::provide;
use catamaran_wasmtime::world::World;
use catamaran_wasmtime_artifact::interfaces;
use catamaran_worker::{Needs, RunnerError};
use wasmtime::component::{Component, InstancePre, Linker, Resource};
use wasmtime::{Engine, Result};
use wasmtime_wasi::p2::bindings::CommandPre as CommandPre2;
use wasmtime_wasi::p2::bindings::cli::environment;
use wasmtime_wasi::p2::bindings::filesystem::preopens;
use wasmtime_wasi::p3::bindings::CommandPre as CommandPre3;
use wasmtime_wasi_http::WasiHttp;
use wasmtime_wasi_http::handler::ProxyPre;
use wasmtime_wasi_http::p2::bindings::http::types::Scheme;
use wasmtime_wasi_http::p2::bindings::{self as p2, LinkOptions, http};
use wasmtime_wasi_http::p2::types::HostIncomingRequest;
use wasmtime_wasi_http::p3::bindings::ServicePre;

use crate::guest::{Environment, Extra, Folders, FoldersView, environment_of, view};
use crate::{proposals, wasi3};

/// A command with its imports resolved, by the version of WASI that runs it.
pub(crate) enum CommandPre {
    P2(CommandPre2<World<Extra>>),
    P3(CommandPre3<World<Extra>>),
}

/// Returns the kernel features that the component needs. `accepts` is true for a server.
pub(crate) fn needs(engine: &Engine, component: &Component, accepts: bool) -> Needs {
    let (sockets, connects) =
        (imports(engine, component, interfaces::opens_sockets), imports(engine, component, interfaces::makes_requests));
    Needs { threads: true, sockets, accepts, connects }
}

/// Whether the component reads its configuration.
pub(crate) fn is_configured(engine: &Engine, component: &Component) -> bool {
    imports(engine, component, |name| name == interfaces::CONFIG)
}

fn imports(engine: &Engine, component: &Component, which: impl Fn(&str) -> bool) -> bool {
    component.component_type().imports(engine).any(|(name, _)| which(name))
}

fn exports(engine: &Engine, component: &Component, which: fn(&str) -> bool) -> bool {
    component.component_type().exports(engine).any(|(name, _)| which(name))
}

/// Whether requests call the component by WASI 0.3. A component that has both versions is called by the newer.
pub(crate) fn is_of_wasi_3(engine: &Engine, component: &Component) -> bool {
    exports(engine, component, interfaces::is_handler_3)
}

/// Links a server. `wasi_p3` is whether it may be of WASI 0.3, `secured` whether its requests come by TLS. The text of an error is for the user.
pub(crate) fn server(
    engine: &Engine,
    component: &Component,
    wasi_p3: bool,
    secured: bool,
) -> std::result::Result<ProxyPre<World<Extra>>, RunnerError> {
    let unfit = interfaces::no_server(component.component_type().exports(engine).map(|(name, _)| name));
    let pre = link(engine, component, wasi_p3, secured, unfit)?;
    match is_of_wasi_3(engine, component) {
        true => ServicePre::new(pre).map(ProxyPre::P3).map_err(|_| RunnerError::Module(interfaces::no_handle_3())),
        false => p2::ProxyPre::new(pre).map(ProxyPre::P2).map_err(|_| RunnerError::Module(interfaces::no_handle())),
    }
}

/// Links an extended command, like [`server`].
pub(crate) fn command(
    engine: &Engine,
    component: &Component,
    wasi_p3: bool,
) -> std::result::Result<CommandPre, RunnerError> {
    let unfit = interfaces::no_program(component.component_type().exports(engine).map(|(name, _)| name));
    let pre = link(engine, component, wasi_p3, false, unfit)?;
    match exports(engine, component, interfaces::is_run_3) {
        true => CommandPre3::new(pre).map(CommandPre::P3).map_err(|_| RunnerError::Module(interfaces::no_run_3())),
        false => CommandPre2::new(pre).map(CommandPre::P2).map_err(|_| RunnerError::Module(interfaces::no_run())),
    }
}

/// Resolves the component's imports. `unfit` says what is wrong with its exports.
fn link(
    engine: &Engine,
    component: &Component,
    wasi_p3: bool,
    secured: bool,
    unfit: Option<String>,
) -> std::result::Result<InstancePre<World<Extra>>, RunnerError> {
    let types = component.component_type();
    let names = || types.imports(engine).chain(types.exports(engine)).map(|(name, _)| name);
    let asking = names().find(|name| interfaces::asks_for_wasi_3(name));
    let refused = types
        .imports(engine)
        .find_map(|(name, _)| interfaces::extended_refusal(name))
        .or(unfit)
        .or_else(|| asking.filter(|_| !wasi_p3).map(interfaces::switched_off));
    if let Some(text) = refused {
        return Err(RunnerError::Module(text));
    }
    let mut linker = Linker::new(engine);
    let unlinked = |what: &'static str| move |e| RunnerError::Module(format!("{what} cannot be linked: {e:#}"));
    interfaces_of_wasi_2(&mut linker).map_err(unlinked("WASI 0.2"))?;
    if secured {
        scheme_of_wasi_2(&mut linker).map_err(unlinked("WASI 0.2"))?;
    }
    // Most components import nothing of WASI 0.3, and need no memory for it.
    if asking.is_some() {
        wasi3::provide(&mut linker).map_err(unlinked("WASI 0.3"))?;
    }
    if is_configured(engine, component) {
        proposals::provide_config(&mut linker).map_err(unlinked(interfaces::CONFIG))?;
    }
    let imported = |wanted: &str| imports(engine, component, |name| name == wanted);
    proposals::provide_logging(&mut linker, imported).map_err(unlinked(interfaces::LOGGING[0]))?;
    // Wasmtime's text names the interface and the function, and both types.
    linker.instantiate_pre(component).map_err(|e| RunnerError::Module(format!("the component cannot be linked: {e:#}")))
}

/// Provides the interfaces of a plain command, and those of HTTP. The environment and the folders are made when a guest asks for them,
/// which not every request does.
fn interfaces_of_wasi_2(linker: &mut Linker<World<Extra>>) -> Result<()> {
    provide(linker)?;
    linker.allow_shadowing(true);
    environment::add_to_linker::<World<Extra>, Environment>(linker, environment_of)?;
    preopens::add_to_linker::<World<Extra>, Folders>(linker, |world| FoldersView(world))?;
    linker.allow_shadowing(false);
    let stable = LinkOptions::default();
    http::outgoing_handler::add_to_linker::<World<Extra>, WasiHttp>(linker, view)?;
    http::types::add_to_linker::<World<Extra>, WasiHttp>(linker, &(&stable).into(), view)
}

/// Answers `https`, because wasmtime-wasi-http tells each guest of WASI 0.2 that it was asked by `http`.
fn scheme_of_wasi_2(linker: &mut Linker<World<Extra>>) -> Result<()> {
    linker.allow_shadowing(true);
    let mut types = linker.instance("wasi:http/types@0.2.12")?;
    types.func_wrap("[method]incoming-request.scheme", |_, (_,): (Resource<HostIncomingRequest>,)| {
        Ok((Some(Scheme::Https),))
    })?;
    linker.allow_shadowing(false);
    Ok(())
}
