//! The program catamaran-helper. All of its code is in the library.

fn main() -> std::process::ExitCode {
    catamaran_helper::main()
}
