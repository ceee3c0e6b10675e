//! Texts for the user of a module that Wasmtime does not run here: the reason, and what to do.
//!
//! The compile process and the worker use the same texts; the compile process checks a module before it compiles.

/// The import module of WASI preview 1, the only one that this engine provides.
pub const PREVIEW1: &str = "wasi_snapshot_preview1";

/// The shim adds what to write, because it knows which annotation or option chose this engine.
const ON_WASMER: &str = "the other engine, wasmer, runs it";

/// Whether Wasmer's WASIX provides the import `module`.`name`.
pub fn of_the_other_engine(module: &str, name: &str) -> bool {
    matches!((module, name), ("wasix_32v1" | "wasix_64v1", _) | ("wasi", "thread-spawn"))
}

/// Says why the import `module`.`name` is not provided, and what to do.
pub fn not_provided(module: &str, name: &str) -> String {
    let import = format!("the module imports `{module}.{name}`");
    match module {
        "wasix_32v1" | "wasix_64v1" => format!("{import}, which is WASIX; Wasmtime has none: {ON_WASMER}"),
        "wasi" if name == "thread-spawn" => format!(
            "{import}, which is wasi-threads; Wasmtime no longer has it: {ON_WASMER}, or build for wasm32-wasip1 \
             without threads"
        ),
        "wasi_unstable" => {
            format!("{import}, which is WASI before preview 1: build it again with a toolchain for wasm32-wasip1")
        }
        PREVIEW1 => format!(
            "{import}, which is not in WASI preview 1: an extension of another runtime, for instance its sockets; \
             build the module without it"
        ),
        _ if module.contains(':') => format!(
            "{import}, which is an interface of the component model; the file is a plain module: build for wasm32-wasip1"
        ),
        "env" => format!(
            "{import}, which is not provided: `env` often holds symbols that the linker did not find; link them \
             statically, a container's module may import `{PREVIEW1}` only"
        ),
        _ => format!("{import}, which is not provided: a container's module may import `{PREVIEW1}` only"),
    }
}

/// Says why a module cannot import its memory as `module`.`name`, and what to do.
pub fn no_memory(module: &str, name: &str) -> String {
    format!(
        "the module imports its memory, `{module}.{name}`, and a container gives none: build it with a memory of its own (with \
         clang and wasm-ld without `--import-memory`, with Emscripten without `-sIMPORTED_MEMORY`), exported as `memory`"
    )
}

/// Says why a module with a shared memory cannot run here.
pub fn shared_memory() -> String {
    format!(
        "the module has a shared memory, so it was built for threads, which Wasmtime's WASI does not have: \
         {ON_WASMER}, or build for wasm32-wasip1 without threads"
    )
}

/// Says why a module without `_start` cannot run. `library` is true if it exports `_initialize`.
pub fn no_start(library: bool) -> String {
    let what = "the module does not export `_start`";
    if library {
        format!("{what} but `_initialize`: it is a library (a reactor); build it as a program with a main function")
    } else {
        format!("{what}: build it as a program for wasm32-wasip1, or, if the file is a library, use it from one")
    }
}

#[cfg(test)]
mod tests {
    use super::{no_memory, no_start, not_provided};

    #[test]
    fn wasix_imports_name_the_other_engine() {
        for module in ["wasix_32v1", "wasix_64v1"] {
            let text = not_provided(module, "futex_wait");
            assert!(text.contains(&format!("`{module}.futex_wait`")), "{text}");
            assert!(text.contains("wasmer, runs it"), "{text}");
        }
    }

    #[test]
    fn every_refusal_names_the_import() {
        for (module, name) in [
            ("wasi_unstable", "fd_write"),
            ("wasi_snapshot_preview1", "sock_open"),
            ("wasi:cli/run@0.2.0", "run"),
            ("env", "puts"),
            ("host", "log"),
            ("wasi", "thread-spawn"),
        ] {
            let text = not_provided(module, name);
            assert!(text.contains(&format!("`{module}.{name}`")), "{text}");
        }
        assert!(no_memory("env", "memory").contains("`env.memory`"));
    }

    #[test]
    fn a_library_is_not_taken_for_a_command() {
        assert!(no_start(true).contains("`_initialize`"));
        assert!(!no_start(false).contains("`_initialize`"));
    }
}
