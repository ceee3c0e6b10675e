//! The names of the runwasi project's shims, by which this program takes their place: k3s and rke2 look for programs of these
//! names and write the handlers themselves, without a way to say more than the name does. So the name is a ceiling too.

use std::ffi::OsStr;
use std::path::Path;

use catamaran_cache::engine::Engine;

/// The engine that this program's own name asks for, as of `containerd-shim-wasmer-v1`.
pub(crate) fn of_this_program() -> Option<Engine> {
    parse(&std::env::args_os().next()?)
}

/// Returns None for every other name. The version behind it is that of the runtime's type, which k3s had as v2 once.
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
