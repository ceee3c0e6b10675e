//! The names of the runwasi project's shims, under which this program takes their place: k3s and rke2 look for programs of these
//! names and write the handlers themselves, so that only the name can say more. Therefore the name limits the engines too.

use std::ffi::OsStr;
use std::path::Path;

use catamaran_cache::engine::Engine;

/// Returns the engine that this program's own name asks for, such as `containerd-shim-wasmer-v1`.
pub(crate) fn of_this_program() -> Option<Engine> {
    parse(&std::env::args_os().next()?)
}

/// Returns None for every other name. The version at the end is that of the runtime's type, which was v2 in k3s once.
fn parse(program: &OsStr) -> Option<Engine> {
    let name = Path::new(program).file_name()?.to_str()?;
    let engine = name.strip_prefix("containerd-shim-")?;
    Engine::parse(engine.strip_suffix("-v1").or_else(|| engine.strip_suffix("-v2"))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_names_of_shims_of_one_engine_choose_it() {
        for (program, engine) in [
            ("/usr/local/bin/containerd-shim-wasmtime-v1", Some(Engine::Wasmtime)),
            ("containerd-shim-wasmer-v1", Some(Engine::Wasmer)),
            ("containerd-shim-wasmer-v2", Some(Engine::Wasmer)),
            ("containerd-shim-catamaran-v1", None),
            ("containerd-shim-wasmedge-v1", None),
            ("containerd-shim-wasmer", None),
            ("catamaran-wasmer-v1", None),
            ("", None),
        ] {
            assert_eq!(parse(OsStr::new(program)), engine, "{program}");
        }
    }
}
