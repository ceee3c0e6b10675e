//! The interfaces of WASI 0.2 that every worker gives a component.

use wasmtime::Result;
use wasmtime::component::{HasData, Linker, ResourceTable};
use wasmtime_wasi::cli::{WasiCli, WasiCliView as _};
use wasmtime_wasi::clocks::{WasiClocks, WasiClocksView as _};
use wasmtime_wasi::filesystem::{WasiFilesystem, WasiFilesystemView as _};
use wasmtime_wasi::p2::bindings::{LinkOptions, cli, clocks, filesystem, random, sockets};
use wasmtime_wasi::random::{WasiRandom, WasiRandomView as _};
use wasmtime_wasi::sockets::{WasiSockets, WasiSocketsView as _};
use wasmtime_wasi_io::bindings::wasi::io;

use crate::world::World;
use crate::{files, lookup};

struct Table;

impl HasData for Table {
    type Data<'a> = &'a mut ResourceTable;
}

/// Links the interfaces of `interfaces::PROVIDED`, one by one: wasmtime-wasi's function for all of them looks names up by the C library,
/// and an interface that is not named here is not in the executable.
pub fn provide<E: Send + 'static>(linker: &mut Linker<World<E>>) -> Result<()> {
    let l = linker;
    io::error::add_to_linker::<World<E>, Table>(l, |world| &mut world.table)?;
    io::poll::add_to_linker::<World<E>, Table>(l, |world| &mut world.table)?;
    io::streams::add_to_linker::<World<E>, Table>(l, |world| &mut world.table)?;
    clocks::wall_clock::add_to_linker::<World<E>, WasiClocks>(l, World::<E>::clocks)?;
    clocks::monotonic_clock::add_to_linker::<World<E>, WasiClocks>(l, World::<E>::clocks)?;
    filesystem::preopens::add_to_linker::<World<E>, WasiFilesystem>(l, World::<E>::filesystem)?;
    files::add_types_to_linker(l)?;
    random::random::add_to_linker::<World<E>, WasiRandom>(l, World::<E>::random)?;
    random::insecure::add_to_linker::<World<E>, WasiRandom>(l, World::<E>::random)?;
    random::insecure_seed::add_to_linker::<World<E>, WasiRandom>(l, World::<E>::random)?;
    cli::environment::add_to_linker::<World<E>, WasiCli>(l, World::<E>::cli)?;
    cli::exit::add_to_linker::<World<E>, WasiCli>(l, World::<E>::cli)?;
    cli::stdin::add_to_linker::<World<E>, WasiCli>(l, World::<E>::cli)?;
    cli::stdout::add_to_linker::<World<E>, WasiCli>(l, World::<E>::cli)?;
    cli::stderr::add_to_linker::<World<E>, WasiCli>(l, World::<E>::cli)?;
    cli::terminal_input::add_to_linker::<World<E>, WasiCli>(l, World::<E>::cli)?;
    cli::terminal_output::add_to_linker::<World<E>, WasiCli>(l, World::<E>::cli)?;
    cli::terminal_stdin::add_to_linker::<World<E>, WasiCli>(l, World::<E>::cli)?;
    cli::terminal_stdout::add_to_linker::<World<E>, WasiCli>(l, World::<E>::cli)?;
    cli::terminal_stderr::add_to_linker::<World<E>, WasiCli>(l, World::<E>::cli)?;
    sockets::instance_network::add_to_linker::<World<E>, WasiSockets>(l, World::<E>::sockets)?;
    let stable = LinkOptions::default();
    sockets::network::add_to_linker::<World<E>, WasiSockets>(l, &(&stable).into(), World::<E>::sockets)?;
    sockets::tcp_create_socket::add_to_linker::<World<E>, WasiSockets>(l, World::<E>::sockets)?;
    sockets::tcp::add_to_linker::<World<E>, WasiSockets>(l, World::<E>::sockets)?;
    sockets::udp_create_socket::add_to_linker::<World<E>, WasiSockets>(l, World::<E>::sockets)?;
    sockets::udp::add_to_linker::<World<E>, WasiSockets>(l, World::<E>::sockets)?;
    lookup::add_to_linker(l)
}
