//! containerd-shim-catamaran-v1: all of it is the library beside this file.

fn main() -> std::process::ExitCode {
    catamaran_daemon::main()
}
