//! A component that serves HTTP: C for preview 1, its view of `wasi:http` generated from WIT, and the adapter.

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use wasi_preview1_component_adapter_provider as adapter;
use wit_bindgen_core::{Files, wit_parser::Resolve};

use super::built::{kept, run};
use super::c::Clang;
use super::component::component;
use super::{read, source};

/// The version of WASI in `server.wit`.
const NEWEST: &str = "0.2.12";
/// The version of WASI in `service.wit`.
const FIRST_3: &str = "0.3.0";

/// `tests/guests/http/server.c` for a world of `server.wit`: `server`, `answering`, `both` or `proposals`.
///
/// # Panics
/// When it cannot be built.
pub fn http(world: &str) -> Vec<u8> {
    http_of(world, NEWEST)
}

/// The same for another 0.2.x of WASI. The adapter's imports keep the adapter's own version.
///
/// # Panics
/// When it cannot be built.
pub fn http_of(world: &str, version: &str) -> Vec<u8> {
    built("server", NEWEST, world, version)
}

/// `tests/guests/http/service.c` for a world of `service.wit`, `service` or `asking`, and a 0.3.x of WASI. The adapter's imports are of
/// 0.2.
///
/// # Panics
/// When it cannot be built.
pub fn http_3(world: &str, version: &str) -> Vec<u8> {
    built("service", FIRST_3, world, version)
}

/// From the code and the WIT of that name, with `version` in the place of the WIT's own.
fn built(name: &str, own: &str, world: &str, version: &str) -> Vec<u8> {
    let clang = Clang::provide();
    let code = source(&format!("http/{name}.c"));
    let wit = String::from_utf8(read(&source(&format!("http/{name}.wit")))).expect("text").replace(own, version);
    let mut digest = Sha256::new();
    let parts: [&[u8]; 7] = [
        &read(&code),
        wit.as_bytes(),
        world.as_bytes(),
        clang.version.as_bytes(),
        adapter::WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
        // The product depends on this code too.
        include_bytes!("http.rs"),
        include_bytes!("component.rs"),
    ];
    for part in parts {
        digest.update(Sha256::digest(part));
    }
    kept(&format!("http-{world}-{version}"), &digest.finalize(), |fresh| {
        let folder = fresh.with_extension(format!("work-{}-{:?}", std::process::id(), std::thread::current().id()));
        fs::create_dir_all(&folder).unwrap_or_else(|error| panic!("cannot make {}: {error}", folder.display()));
        let module = folder.join("module");
        let mut command = clang.command("clang-wasi");
        command.args(["-O2", "-Wall", "-mexec-model=reactor"]).args(macros(world)).arg("-I").arg(&folder).arg(&code);
        command.args(bindings(&wit, world, &folder)).arg("-o").arg(&module);
        run(command, "the HTTP guest");
        // Not merged, so that the guest's own imports keep the version that was asked for.
        fs::write(fresh, component(&read(&module), false))
            .unwrap_or_else(|error| panic!("cannot write {}: {error}", fresh.display()));
        // The folder is not needed any more, and harms nobody if it stays.
        let _ = fs::remove_dir_all(&folder);
    })
}

/// Returns the macros that the code needs for this world.
fn macros(world: &str) -> &'static [&'static str] {
    match world {
        "server" => &["-DOUTGOING"],
        "both" => &["-DCOMMAND"],
        "proposals" => &["-DCOMMAND", "-DPROPOSALS"],
        "asking" => &["-DNAMES"],
        _ => &[],
    }
}

/// Writes `http.h` and the files to compile and link beside the code.
fn bindings(wit: &str, world: &str, folder: &Path) -> Vec<PathBuf> {
    let mut resolve = Resolve::default();
    let package = resolve.push_str("http.wit", wit).unwrap_or_else(|error| panic!("{error:?}"));
    let world = resolve.select_world(&[package], Some(world)).unwrap_or_else(|error| panic!("{error:?}"));
    let mut files = Files::default();
    let options = wit_bindgen_c::Opts { rename_world: Some("http".to_owned()), ..Default::default() };
    options.build().generate(&mut resolve, world, &mut files).unwrap_or_else(|error| panic!("{error:?}"));
    let mut linked = Vec::new();
    for (name, bytes) in files.iter() {
        let path = folder.join(name);
        fs::write(&path, bytes).unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
        if path.extension().is_some_and(|suffix| suffix != "h") {
            linked.push(path);
        }
    }
    linked
}
