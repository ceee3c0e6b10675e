//! The imports that a module may have, and texts for the user of a module that Wasmer does not run.
//!
//! The compile process and the worker use the same texts; the compile process checks a module before it compiles.

/// The import module of WASI preview 1.
pub const PREVIEW1: &str = "wasi_snapshot_preview1";

/// Whether an import module is WASIX's. WASIX has threads, processes, sockets and signals.
pub fn is_wasix(module: &str) -> bool {
    matches!(module, "wasix_32v1" | "wasix_64v1")
}

/// Whether the import lets a module open sockets. WASIX's other calls work on open sockets.
pub fn opens_sockets(module: &str, name: &str) -> bool {
    is_wasix(module) && matches!(name, "sock_open" | "resolve")
}

/// Whether `module`.`name` may be provided. The worker checks the names of WASI's functions.
///
/// wasix-libc starts threads by the one call of wasi-threads, so modules for wasm32-wasip1-threads run too.
pub fn is_provided(module: &str, name: &str) -> bool {
    is_wasix(module) || module == PREVIEW1 || (module, name) == ("wasi", "thread-spawn")
}

/// Says why the import `module`.`name` is not provided, and what to do.
pub fn not_provided(module: &str, name: &str) -> String {
    let import = format!("the module imports `{module}.{name}`");
    match module {
        "wasi_unstable" => {
            format!("{import}, which is WASI before preview 1: build it again with a toolchain for wasm32-wasip1")
        }
        PREVIEW1 => format!(
            "{import}, which is not in WASI preview 1: an extension of another runtime; build the module without it, or \
             for WASIX"
        ),
        _ if is_wasix(module) => format!(
            "{import}, which this version of WASIX (wasmer-wasix {WASIX}) does not have: build it with an older toolchain"
        ),
        _ if module.contains(':') => format!(
            "{import}, which is an interface of the component model; the file is a plain module: build for wasm32-wasip1"
        ),
        "env" => format!(
            "{import}, which is not provided: `env` often holds symbols that the linker did not find; link them \
             statically, a container's module may import WASI preview 1 and WASIX only"
        ),
        _ => format!("{import}, which is not provided: a container's module may import WASI preview 1 and WASIX only"),
    }
}

/// Whether a memory may be imported: only the shared memory of a program with threads, whose instances all get the same one.
pub fn is_memory_given(module: &str, name: &str, shared: bool) -> bool {
    shared && (module, name) == ("env", "memory")
}

/// Says why a module cannot import its memory as `module`.`name`, and what to do.
pub fn no_memory(module: &str, name: &str) -> String {
    format!(
        "the module imports its memory, `{module}.{name}`, which only a program with threads is given, as a shared memory \
         `env.memory`: build it with a memory of its own (with clang and wasm-ld without `--import-memory`, with Emscripten \
         without `-sIMPORTED_MEMORY`), exported as `memory`"
    )
}

/// Says why the import `module`.`name` cannot be linked: its type is `wanted`, and `provided` is there.
pub fn another_type(module: &str, name: &str, wanted: &str, provided: &str) -> String {
    format!(
        "the module imports `{module}.{name}` as {wanted}, and it is {provided}: build it again with a current toolchain"
    )
}

/// Says why a module without `_start` cannot run. `library` is true if it exports `_initialize`.
pub fn no_start(library: bool) -> String {
    let what = "the module does not export `_start`";
    if library {
        format!("{what} but `_initialize`: it is a library (a reactor); build it as a program with a main function")
    } else {
        format!(
            "{what}: build it as a program for wasm32-wasip1 or WASIX, or, if the file is a library, use it from one"
        )
    }
}

/// The version of wasmer-wasix.
const WASIX: &str = "0.704.2";

#[cfg(test)]
mod tests {
    use super::{WASIX, is_memory_given, no_memory, no_start, not_provided, opens_sockets};

    #[test]
    fn every_refusal_names_the_import() {
        for (module, name) in [
            ("wasi_unstable", "fd_write"),
            ("wasi_snapshot_preview1", "sock_open"),
            ("wasix_32v1", "teleport"),
            ("wasi:cli/run@0.2.0", "run"),
            ("env", "puts"),
            ("host", "log"),
        ] {
            let text = not_provided(module, name);
            assert!(text.contains(&format!("`{module}.{name}`")), "{text}");
        }
    }

    #[test]
    fn only_the_shared_memory_of_threads_is_given() {
        assert!(is_memory_given("env", "memory", true) && !is_memory_given("env", "memory", false));
        assert!(!is_memory_given("env", "other", true) && !is_memory_given("host", "memory", true));
        assert!(no_memory("env", "memory").contains("`env.memory`"));
    }

    #[test]
    fn the_version_of_wasix_is_the_one_that_is_linked() {
        let lock = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.lock")).unwrap();
        assert!(lock.contains(&format!("name = \"wasmer-wasix\"\nversion = \"{WASIX}\"\n")), "update WASIX");
    }

    #[test]
    fn only_socket_imports_ask_for_sockets() {
        assert!(opens_sockets("wasix_32v1", "sock_open") && opens_sockets("wasix_64v1", "resolve"));
        assert!(!opens_sockets("wasix_32v1", "thread_spawn_v2") && !opens_sockets("wasix_32v1", "sock_accept_v2"));
        assert!(!opens_sockets("wasi_snapshot_preview1", "sock_accept"));
    }

    #[test]
    fn a_library_is_not_taken_for_a_command() {
        assert!(no_start(true).contains("`_initialize`"));
        assert!(!no_start(false).contains("`_initialize`"));
    }
}
