//! Links without start-up code and C library: the program begins in `src/start.rs`.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    for word in ["-nostartfiles", "-nostdlib"] {
        println!("cargo:rustc-link-arg-bins={word}");
    }
}
