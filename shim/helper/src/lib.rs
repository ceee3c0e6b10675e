//! catamaran-helper: short processes that work for the shim, so that the shim's one thread never blocks.
//!
//! ```text
//! action           task                                         module            for
//! compile          order -> artifact: the compile driver        compile, image    the shim
//! manifests        an image's documents -> a summary            image             the driver; has no rights
//! search           root file system, mounts, module             search, files     the shim
//! scope            starts, changes, stops systemd's scopes      systemd           the shim
//! limits           writes changed limits                        limits            the shim
//! append           appends a container's output to files        append            the shim
//! die-with-parent  becomes a program that dies with the shim    die_with_parent   the shim
//! hold             becomes a pod's holder                       (in the worker)   the shim
//! inspect          file -> its kind, each engine's verdict      compile           the command `catamaran`
//! warm             module -> artifact, ahead of time            compile           the command `catamaran`
//! image            image's name -> its module                   image             the command `catamaran`
//! cache            lists, prunes, verifies the cache            compile           the command `catamaran`
//! ```
//!
//! Each action runs as root, unconfined, for one task of the shim or of the command `catamaran`. Only `manifests`, which `compile` and
//! `image` start, has no rights, because it parses what an image's author wrote.
//!
//! The library exports [`main`] for the program, and [`untrusted`] for `tests/fuzz`.

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
    // Processes started here would inherit the shim's open descriptors otherwise.
    if let Err(e) = catamaran_worker::take_name().and_then(|()| catamaran_worker::close_inherited()) {
        eprintln!("catamaran-helper: closing inherited descriptors: {e}");
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
            "this program is not for users: the shim and the command catamaran start it, with an action",
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

/// Answers the command `catamaran` with JSON on standard output.
fn answer(found: &impl serde::Serialize) -> error::Result<()> {
    use error::Doing as _;
    let doing = || "answering".to_owned();
    let text = serde_json::to_vec(found).map_err(std::io::Error::from).doing(doing)?;
    std::io::Write::write_all(&mut std::io::stdout().lock(), &text).doing(doing)
}
