//! No start-up code and no C library: `src/start.rs` is where the program begins.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    for word in ["-nostartfiles", "-nostdlib"] {
        println!("cargo:rustc-link-arg-bins={word}");
    }
}
