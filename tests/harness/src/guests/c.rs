//! Guests in C: for preview 1 and WASIX by the clang that `provision-clang` fetches, native ones by the machine's `cc`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::built::{answer, built};
use super::source;
use crate::programs::provided;

/// The native peer: one ELF that acts as each of the programs, by the name that it is called by.
pub fn peer() -> Vec<u8> {
    let path = source("peer.c");
    let version = cc();
    built(&path, "", &version, |target| {
        let mut command = Command::new("cc");
        command.args(["-static", "-Os", "-Wall", "-Wno-unused-result", "-o"]).arg(target).arg(&path);
        command
    })
}

/// A native program from `tests/guests/c/NAME.c`, as an ELF, to compare a guest with.
pub fn native(name: &str) -> Vec<u8> {
    let path = source(&format!("c/{name}.c"));
    built(&path, "", &cc(), |target| {
        let mut command = Command::new("cc");
        command.args(["-static", "-O2", "-Wall", "-o"]).arg(target).arg(&path);
        command
    })
}

fn cc() -> String {
    answer(Command::new("cc").arg("--version"), "cc", "install a C compiler (gcc)")
}

/// The options that build `setjmp` and `longjmp` on Wasm's exceptions, in the form of Wasm 3.0.
const EXCEPTIONS: [&str; 5] = ["-mllvm", "-wasm-enable-sjlj", "-mllvm", "-wasm-use-legacy-eh=false", "-lsetjmp"];

/// A module with WASI preview 1, from `tests/guests/c/NAME.c`. Only the module `jumps` is built with support for longjmp(3).
pub fn c(name: &str) -> Vec<u8> {
    compiled(&source(&format!("c/{name}.c")), "clang-wasi", if name == "jumps" { &EXCEPTIONS } else { &[] })
}

/// A WASIX module, from `tests/guests/wasix/NAME.c` or, if that does not exist, `tests/guests/c/NAME.c`. Only the module `fork` is built
/// with support for fork(2).
pub fn wasix(name: &str) -> Vec<u8> {
    let path = source(&format!("wasix/{name}.c"));
    let path = if path.exists() { path } else { source(&format!("c/{name}.c")) };
    compiled(&path, if name == "fork" { "clang-wasix-fork" } else { "clang-wasix" }, &[])
}

/// The command that stands for `clang` on a machine that has it installed with the C library of preview 1, or of WASIX.
pub fn clang(wasix: bool) -> String {
    let folder = Clang::provide().folder.display();
    format!("{folder}/bin/clang --sysroot={folder}/{}", if wasix { "wasix-libc" } else { "wasi-libc" })
}

/// The linker of WebAssembly, as a machine that has it installed finds it in `PATH`.
pub(crate) fn wasm_ld() -> PathBuf {
    Clang::provide().folder.join("bin/wasm-ld")
}

fn compiled(path: &Path, compiler: &str, options: &[&str]) -> Vec<u8> {
    let clang = Clang::provide();
    built(path, compiler.trim_start_matches("clang"), &clang.version, |target| {
        let mut command = clang.command(compiler);
        command.args(["-O2", "-Wall"]).args(options).arg(path).arg("-o").arg(target);
        command
    })
}

/// clang and the C libraries of preview 1 and WASIX, as `provision-clang` fetched them.
pub(super) struct Clang {
    folder: PathBuf,
    pub(super) version: String,
}

impl Clang {
    /// # Panics
    /// When it is not there and cannot be fetched; the script lists its attempts on stderr.
    pub(super) fn provide() -> &'static Self {
        static CLANG: OnceLock<Clang> = OnceLock::new();
        CLANG.get_or_init(|| {
            let value = provided("provision-clang");
            let folder = PathBuf::from(value("folder"));
            // The folder's name stands for the options that the script calls the compiler with.
            let options = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            Self { version: format!("{options} {}", value("version")), folder }
        })
    }

    /// One of the folder's compilers.
    pub(super) fn command(&self, name: &str) -> Command {
        Command::new(self.folder.join("bin").join(name))
    }
}
