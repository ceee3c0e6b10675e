//! The component and its imports: what it is called by, and the interfaces that it is given.

use catamaran_wasmtime::interfaces::provide;
use catamaran_wasmtime::world::World;
use catamaran_wasmtime_artifact::interfaces;
use catamaran_worker::{Needs, RunnerError};
use wasmtime::component::{Component, Linker};
use wasmtime::{Engine, Result};
use wasmtime_wasi::p2::bindings::cli::environment;
use wasmtime_wasi::p2::bindings::filesystem::preopens;
use wasmtime_wasi_http::WasiHttp;
use wasmtime_wasi_http::handler::ProxyPre;
use wasmtime_wasi_http::p2::bindings::{self as p2, LinkOptions, http};
use wasmtime_wasi_http::p3::bindings::ServicePre;

use crate::guest::{Environment, Extra, Folders, FoldersView, environment_of, view};
use crate::wasi3;

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
