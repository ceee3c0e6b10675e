//! The names of the runwasi project's shims. Under such a name this program takes that shim's place: k3s and rke2 look for programs of
//! these names, and write the handlers' options themselves. So only the name can choose the engine, and without `allowed_engines` it
//! allows no other.

use std::ffi::OsStr;
use std::path::Path;

use catamaran_cache::engine::Engine;

/// Returns the engine that this program's own name asks for, such as `containerd-shim-wasmer-v1`.
pub(crate) fn of_this_program() -> Option<Engine> {
    parse(&std::env::args_os().next()?)
}

/// Returns None for every other name. The name ends with the version of the runtime's type, which once was v2 in k3s.
fn parse(program: &OsStr) -> Option<Engine> {
    let name = Path::new(program).file_name()?.to_str()?;
    let engine = name.strip_prefix("containerd-shim-")?;
    Engine::parse(engine.strip_suffix("-v1").or_else(|| engine.strip_suffix("-v2"))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_shim_named_after_one_engine_chooses_that_engine() {
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
