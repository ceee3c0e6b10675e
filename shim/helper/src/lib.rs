//! catamaran-helper: the short processes that the shim has things done by, so that its one thread never blocks.
//!
//! ```text
//! compile  order, module -> artifact      compile   the driver: locks, queue, compile process, the cache's files
//!                                         image     the module that is a layer of the container's image
//! manifests  bytes -> what they say       image     for the driver, without rights
//! inspect  file -> what it is, and what the engines say   compile   for the command `catamaran`
//! warm     module -> artifact             compile   for `catamaran`
//! image    name -> its module             image     for `catamaran`
//! cache    list, prune, verify            compile   for `catamaran`
//! search   what a container is to run     search    root file system, mounts, module (in `files`)
//! scope    systemd's transient scopes     systemd
//! limits   changed limits                 limits
//! append   a container's log files        append
//! die-with-parent   another program, which dies with the shim   die_with_parent
//! hold     a pod's namespaces: becomes the holder's program
//! ```
//!
//! Each runs as root, before any confinement, for one order of the shim's or of the command `catamaran`. Only `manifests`, which `compile`
//! and `image` start, has no rights, because it parses what an image's author wrote.
//!
//! The library has one function, which the program calls, and [`untrusted`], for `tests/fuzz`.

mod append;
mod compile;
mod die_with_parent;
mod error;
mod files;
mod image;
mod limits;
mod search;
mod systemd;
pub mod untrusted;

use std::process::ExitCode;

/// Runs the program.
pub fn main() -> ExitCode {
    // Otherwise all processes that are started here would inherit what the shim happened to have open.
    if let Err(e) = catamaran_worker::take_name().and_then(|()| catamaran_worker::close_inherited()) {
        eprintln!("catamaran-helper: closing what was inherited: {e}");
        return ExitCode::FAILURE;
    }
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let action = arguments.first().and_then(|word| word.to_str()).unwrap_or_default();
    let done = match action {
        catamaran_host::programs::DIE_WITH_PARENT => Err(die_with_parent::exec(&arguments[1..])),
        catamaran_host::programs::HOLD => return catamaran_worker::hold(),
        catamaran_host::programs::COMPILE => compile::driver::run(),
        catamaran_host::programs::MANIFESTS => image::reader::run(&arguments[1..]),
        catamaran_host::programs::SEARCH => search::carry_out_orders(),
        catamaran_host::programs::SCOPE => systemd::answer(),
        catamaran_host::programs::LIMITS => limits::write(),
        catamaran_host::programs::INSPECT => compile::inspect::run(&arguments[1..]),
        catamaran_host::programs::CACHE => compile::entries::run(&arguments[1..]),
        catamaran_host::programs::WARM => compile::warm::run(&arguments[1..]),
        catamaran_host::programs::IMAGE => image::named::run(&arguments[1..]),
        catamaran_host::programs::APPEND => append::append(&arguments[1..]),
        other => Err(error::Error::refused(
            "command line",
            format!("action {other:?}"),
            "nobody but the shim and the command catamaran starts this program, with an action of its own",
        )),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("catamaran-helper: {e}");
            ExitCode::FAILURE
        }
    }
}

/// Answers the command `catamaran`: JSON on standard output.
fn answer(found: &impl serde::Serialize) -> error::Result<()> {
    use error::Doing as _;
    let doing = || "answering".to_owned();
    let text = serde_json::to_vec(found).map_err(std::io::Error::from).doing(doing)?;
    std::io::Write::write_all(&mut std::io::stdout().lock(), &text).doing(doing)
}
