//! WASI 0.3: its interfaces, beside those of 0.2 that a component of 0.3 imports too.
//!
//! Most are wasmtime-wasi's own, files among them: only a component of 0.2 has links to absolute paths followed. Our own resolver looks
//! names up, because wasmtime-wasi's asks the C library, which would load the image's NSS libraries.

use catamaran_names::Failure;
use catamaran_wasmtime::world::World;
use wasmtime::Result;
use wasmtime::component::{Accessor, HasData, Linker, Resource};
use wasmtime_wasi::cli::{WasiCli, WasiCliView as _};
use wasmtime_wasi::clocks::{WasiClocks, WasiClocksView as _};
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystem, WasiFilesystemView as _};
use wasmtime_wasi::p2::bindings::cli::environment as environment_2;
use wasmtime_wasi::p3::bindings::sockets::ip_name_lookup::{self, ErrorCode};
use wasmtime_wasi::p3::bindings::sockets::types::IpAddress;
use wasmtime_wasi::p3::bindings::{cli, clocks, filesystem, random, sockets};
use wasmtime_wasi::random::{WasiRandom, WasiRandomView as _};
use wasmtime_wasi::sockets::{WasiSockets, WasiSocketsView as _};
use wasmtime_wasi_http::WasiHttp;
use wasmtime_wasi_http::p3::bindings::http;

use crate::guest::{self, Environment, EnvironmentView, Extra, Folders, FoldersView};

type Host = World<Extra>;

/// Provides the interfaces of `interfaces::PROVIDED_3` and `interfaces::HTTP_3`, one by one.
pub(crate) fn provide(linker: &mut Linker<Host>) -> Result<()> {
    let l = linker;
    clocks::types::add_to_linker::<Host, WasiClocks>(l, Host::clocks)?;
    clocks::monotonic_clock::add_to_linker::<Host, WasiClocks>(l, Host::clocks)?;
    clocks::system_clock::add_to_linker::<Host, WasiClocks>(l, Host::clocks)?;
    filesystem::preopens::add_to_linker::<Host, Folders>(l, |world| FoldersView(world))?;
    filesystem::types::add_to_linker::<Host, WasiFilesystem>(l, Host::filesystem)?;
    random::random::add_to_linker::<Host, WasiRandom>(l, Host::random)?;
    random::insecure::add_to_linker::<Host, WasiRandom>(l, Host::random)?;
    random::insecure_seed::add_to_linker::<Host, WasiRandom>(l, Host::random)?;
    cli::environment::add_to_linker::<Host, Environment>(l, guest::environment_of)?;
    cli::exit::add_to_linker::<Host, WasiCli>(l, Host::cli)?;
    cli::stdin::add_to_linker::<Host, WasiCli>(l, Host::cli)?;
    cli::stdout::add_to_linker::<Host, WasiCli>(l, Host::cli)?;
    cli::stderr::add_to_linker::<Host, WasiCli>(l, Host::cli)?;
    cli::terminal_input::add_to_linker::<Host, WasiCli>(l, Host::cli)?;
    cli::terminal_output::add_to_linker::<Host, WasiCli>(l, Host::cli)?;
    cli::terminal_stdin::add_to_linker::<Host, WasiCli>(l, Host::cli)?;
    cli::terminal_stdout::add_to_linker::<Host, WasiCli>(l, Host::cli)?;
    cli::terminal_stderr::add_to_linker::<Host, WasiCli>(l, Host::cli)?;
    sockets::types::add_to_linker::<Host, WasiSockets>(l, Host::sockets)?;
    ip_name_lookup::add_to_linker::<Host, Names>(l, |_| NamesView)?;
    http::types::add_to_linker::<Host, WasiHttp>(l, guest::view)?;
    http::client::add_to_linker::<Host, WasiHttp>(l, guest::view)
}

impl cli::environment::Host for EnvironmentView<'_> {
    fn get_environment(&mut self) -> Result<Vec<(String, String)>> {
        environment_2::Host::get_environment(self)
    }

    fn get_arguments(&mut self) -> Result<Vec<String>> {
        environment_2::Host::get_arguments(self)
    }

    fn get_initial_cwd(&mut self) -> Result<Option<String>> {
        environment_2::Host::initial_cwd(self)
    }
}

impl filesystem::preopens::Host for FoldersView<'_> {
    fn get_directories(&mut self) -> Result<Vec<(Resource<Descriptor>, String)>> {
        self.0.open_root()
    }
}

struct Names;
struct NamesView;

impl HasData for Names {
    type Data<'a> = NamesView;
}

impl ip_name_lookup::Host for NamesView {}

impl ip_name_lookup::HostWithStore<Host> for Names {
    async fn resolve_addresses(
        _: &Accessor<Host, Self>,
        name: String,
    ) -> Result<std::result::Result<Vec<IpAddress>, ErrorCode>> {
        let found = catamaran_names::resolve(&name).await;
        Ok(found.map(|all| all.into_iter().map(IpAddress::from).collect()).map_err(code))
    }
}

fn code(failure: Failure) -> ErrorCode {
    match failure {
        Failure::Invalid => ErrorCode::InvalidArgument,
        Failure::NotFound => ErrorCode::NameUnresolvable,
        Failure::Unavailable => ErrorCode::TemporaryResolverFailure,
    }
}
