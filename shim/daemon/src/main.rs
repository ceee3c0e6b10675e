//! The program containerd-shim-catamaran-v1, whose code is the library beside this file.

fn main() -> std::process::ExitCode {
    catamaran_daemon::main()
}
