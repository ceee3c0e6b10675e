//! containerd-shim-catamaran-v1: what containerd starts for a pod whose runtime class names this handler.
//!
//! ```text
//! containerd --start-->  bootstrap   binds the socket, forks, replies
//!                           |
//! containerd --ttrpc-->   serve  ->  task service  ->  pod  ->  container
//!                                                                  |- bundle   config.json, checked whole
//!                                                                  |- oci      what is read of it and of an exec's process
//!                                                                  |- choice   which engine, by annotations and options
//!                                                                  |- finder   a process that looks into what the pod controls
//!                                                                  |- rootfs   detached mount trees
//!                                                                  |- source   where the Wasm module is
//!                                                                  |- image    the layer that it may be instead of a file
//!                                                                  |- cache    its machine code, compiled once
//!                                                                  |- native   a container that is runc's
//!                                                                  |- holder   a pod's first container: namespaces, no image
//!                                                                  |- cgroup   made, limited, watched, frozen, emptied, removed
//!                                                                  |- stats    what was used, read from the cgroup
//!                                                                  '- spawn    the worker, up to «ready»
//! containerd --delete-->  delete     cleans up from what the server has written down, when that is dead
//! ```
//!
//! One thread, no engine: a worker is another executable, and all that is said to it goes through
//! [`catamaran_worker::job`] and [`catamaran_worker::control`].

mod boot;
mod cache;
mod cgroup;
mod child;
mod cleanup;
mod container;
mod engine;
mod error;
mod files;
mod finder;
mod hold;
mod image;
mod lease;
mod limits;
mod native;
mod orphans;
mod pod;
mod readable;
mod rpc;
mod spec;
mod stats;
mod stdio;
mod unless;
mod wire;

use std::process::ExitCode;

fn main() -> ExitCode {
    // What containerd happened to leave open would otherwise reach the server and all that it starts.
    if let Err(e) = catamaran_worker::close_inherited() {
        eprintln!("containerd-shim-catamaran-v1: closing what was inherited: {e}");
        return ExitCode::FAILURE;
    }
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    // Not containerd's, and with another program's flags behind it.
    if let [word, rest @ ..] = arguments.as_slice()
        && word == native::WORD
    {
        eprintln!("containerd-shim-catamaran-v1: {}", native::become_it(rest));
        return ExitCode::FAILURE;
    }
    let outcome = match containerd_shim::parse(&arguments) {
        Ok(flags) if flags.version => boot::info::print_version(),
        Ok(flags) if flags.info => boot::info::print_info(),
        Ok(flags) if flags.action == "start" => boot::start::start(&flags),
        Ok(flags) if flags.action == "delete" => cleanup::delete(&flags),
        // Not containerd's: the shim starts itself so.
        Ok(flags) if flags.action == cache::ACTION => cache::drive(),
        Ok(flags) if flags.action == cgroup::ACTION => cgroup::answer(),
        Ok(flags) if flags.action == cgroup::LIMITS => cgroup::write_limits(),
        Ok(flags) if flags.action == finder::ACTION => finder::find(),
        Ok(flags) if flags.action == stdio::ACTION => stdio::append(),
        Ok(flags) if flags.action == container::holder::ACTION => return catamaran_worker::hold(),
        Ok(flags) => Err(error::Error::refused(
            "command line",
            format!("action {:?}", flags.action),
            "containerd starts this program with start, delete, -info or -v",
        )),
        Err(e) => Err(error::Error::refused("command line", e.to_string(), "the flags of a containerd shim")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            // containerd shows what a shim prints as the reason of a failed start.
            eprintln!("containerd-shim-catamaran-v1: {e}");
            ExitCode::FAILURE
        }
    }
}
