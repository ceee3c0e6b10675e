//! Runs the commands that build examples.
//!
//! A shell runs most of them. `wat2wasm`, `wit-bindgen go` and `wasm-tools component` need not be on the machine: this file calls the
//! libraries that these tools are made of. `cargo build` for a target of Wasm gets the compiler that `provision-rust` fetched.

use std::fmt::Debug;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use wit_bindgen_core::{Files, wit_parser::Resolve};
use wit_component::StringEncoding;

use crate::guests;

/// The beginning of the lines that build programs in Rust; the target follows.
const CARGO: &str = "cargo build --release --target ";
/// The target whose programs are components.
const COMPONENTS: &str = "wasm32-wasip2";
/// The package that all generated bindings import.
const GO_PACKAGE: &str = "go.bytecodealliance.org/pkg";

/// Runs a build line, such as one of an example's, in the program's folder.
///
/// # Panics
/// When it fails, with its output.
pub fn build_line(line: &str, folder: &Path) {
    match line.split(' ').collect::<Vec<_>>()[..] {
        ["wat2wasm", from, "-o", to] => write(&folder.join(to), guests::wat_file(&folder.join(from))),
        ["wit-bindgen", "go", wit] => go_bindings(&folder.join(wit), folder),
        ["wasm-tools", "component", "embed", wit, module, "-o", to] => {
            write(&folder.join(to), embedded(&folder.join(wit), &folder.join(module)));
        }
        // The adapter is the library's own.
        ["wasm-tools", "component", "new", "--adapt", "wasi_snapshot_preview1.reactor.wasm", module, "-o", to] => {
            write(&folder.join(to), guests::component(&read(&folder.join(module)), true));
        }
        _ => match line.strip_prefix(CARGO) {
            Some(target) => cargo(line, target, folder),
            None => shell(line, folder),
        },
    }
}

/// The versions that a build line's product depends on, if the example's files do not pin them.
///
/// # Panics
/// When the tool is not there and cannot be fetched.
pub(super) fn version(line: &str) -> Vec<u8> {
    match line.split(' ').next().unwrap_or_default() {
        "cargo" => [guests::Rust::provide().version.as_bytes(), guests::ADAPTER].concat(),
        "wit-bindgen" => wit_bindgen_go::remote_pkg_version().into_bytes(),
        "wasm-tools" => guests::ADAPTER.to_vec(),
        _ if line.contains("go build") => guests::go_version().into_bytes(),
        _ => Vec::new(),
    }
}

fn shell(line: &str, folder: &Path) {
    let mut command = Command::new("sh");
    command.args(["-c", line]).envs(guests::GO_STAYS_HOME);
    // The folder has another name each time, and Go writes it into the module.
    command.env("GOFLAGS", "-mod=mod -trimpath");
    // The build script expects clang and WASIX's C library on the machine.
    if line == "./build" {
        command.env("CC", guests::clang(true));
    }
    finish(command.current_dir(folder), line);
}

/// Runs cargo with a linker that makes modules, and does the rest of wasm-component-ld's work here.
fn cargo(line: &str, wasm: &str, folder: &Path) {
    let mut command = Command::new("cargo");
    command.args(line.split(' ').skip(1)).current_dir(folder);
    // The developer's own variables must not change the build.
    for name in
        ["CARGO_BUILD_TARGET", "CARGO_ENCODED_RUSTFLAGS", "RUSTC_WORKSPACE_WRAPPER", "RUSTC_WRAPPER", "RUSTFLAGS"]
    {
        command.env_remove(name);
    }
    let target = folder.join("target");
    command.env("CARGO_TARGET_DIR", &target).env("RUSTC", &guests::Rust::provide().rustc);
    let linker = format!("CARGO_TARGET_{}_LINKER", wasm.to_uppercase().replace('-', "_"));
    command.env(linker, guests::wasm_ld());
    finish(&mut command, line);
    if wasm != COMPONENTS {
        return;
    }
    let products = target.join(wasm).join("release");
    let entries = fs::read_dir(&products).unwrap_or_else(|error| panic!("{}: {error}", products.display()));
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.extension().is_some_and(|suffix| suffix == "wasm") {
            write(&path, guests::component(&read(&path), true));
        }
    }
}

fn finish(command: &mut Command, line: &str) {
    let output = command.output().unwrap_or_else(|error| panic!("cannot run {line:?}: {error}"));
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Returns the module with its world's description in a custom section.
fn embedded(wit: &Path, module: &Path) -> Vec<u8> {
    let (mut resolve, mut bytes) = (Resolve::default(), read(module));
    let package = right(resolve.push_file(wit));
    let world = right(resolve.select_world(&[package], None));
    right(wit_component::embed_component_metadata(&mut bytes, &resolve, world, StringEncoding::UTF8, false));
    bytes
}

/// Writes the bindings, and beside them the package that they import, because its address may be unreachable from here.
fn go_bindings(wit: &Path, folder: &Path) {
    let (mut resolve, mut files) = (Resolve::default(), Files::default());
    let package = right(resolve.push_file(wit));
    let world = right(resolve.select_world(&[package], None));
    right(wit_bindgen_go::Opts::default().build().generate(&mut resolve, world, &mut files));
    for (name, bytes) in files.iter() {
        write(&folder.join(name), bytes);
    }
    let own = folder.join("pkg");
    copy(&go_package(), &own);
    // The package's own go.mod asks for the newest Go, without using its new features.
    write(&own.join("go.mod"), format!("module {GO_PACKAGE}\n\ngo 1.25\n"));
    let mut module = String::from_utf8(read(&folder.join("go.mod"))).expect("text");
    module.push_str(&format!("\nreplace {GO_PACKAGE} => ./pkg\n"));
    write(&folder.join("go.mod"), module);
}

/// The folder of that package, which the generator's crate carries.
fn go_package() -> PathBuf {
    // Of this machine's kind alone: what only other systems need may not have been fetched.
    let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let mut command = Command::new("cargo");
    command.args(["metadata", "--locked", "--format-version", "1", "--filter-platform", &triple, "--manifest-path"]);
    let output = command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).output();
    let output = output.unwrap_or_else(|error| panic!("cannot run cargo: {error}"));
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let graph: serde_json::Value = right(serde_json::from_slice(&output.stdout));
    let packages = graph["packages"].as_array().expect("packages");
    let manifest = packages.iter().find(|package| package["name"] == "wit-bindgen-go").expect("it is built from it");
    let manifest = manifest["manifest_path"].as_str().expect("a path");
    Path::new(manifest).with_file_name("src/pkg/wit")
}

/// Copies a package's folders and Go's files.
fn copy(from: &Path, to: &Path) {
    let to = to.join(from.file_name().expect("a folder's name"));
    for entry in fs::read_dir(from).unwrap_or_else(|error| panic!("{}: {error}", from.display())).flatten() {
        let path = entry.path();
        if path.is_dir() {
            copy(&path, &to);
        } else {
            write(&to.join(entry.file_name()), read(&path));
        }
    }
}

fn right<T, E: Debug>(result: Result<T, E>) -> T {
    result.unwrap_or_else(|error| panic!("{error:?}"))
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()))
}

/// Writes a file, and makes its folder if there is none.
fn write(path: &Path, bytes: impl AsRef<[u8]>) {
    let folder = path.parent().expect("a file's folder");
    fs::create_dir_all(folder).unwrap_or_else(|error| panic!("cannot make {}: {error}", folder.display()));
    fs::write(path, bytes).unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
}
