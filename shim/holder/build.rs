//! Links without start-up code and C library, because the program has its own entry point (`src/start.rs`).

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    for word in ["-nostartfiles", "-nostdlib"] {
        println!("cargo:rustc-link-arg-bins={word}");
    }
}
