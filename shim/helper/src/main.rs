//! catamaran-helper: all of it is the library beside this file.

fn main() -> std::process::ExitCode {
    catamaran_helper::main()
}
