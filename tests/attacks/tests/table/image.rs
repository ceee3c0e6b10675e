//! The image of the attacked containers.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use catamaran_attacks::rows;
use catamaran_harness::{Image, cache};
use sha2::{Digest, Sha256};

use crate::world::World;

/// The library that an image's nsswitch.conf names. Its constructor runs when it is loaded, before any use of it.
const LIBRARY: &str = r#"
#include <fcntl.h>
#include <unistd.h>
__attribute__((constructor)) static void loaded(void) {
    int fd = open("/tmp/loaded", O_CREAT | O_WRONLY, 0600);
    if (fd >= 0) write(fd, "x", 1);
}
int _nss_evil_gethostbyname4_r(void) { return 0; }
int _nss_evil_gethostbyname3_r(void) { return 0; }
int _nss_evil_gethostbyname2_r(void) { return 0; }
"#;

/// A component that could serve HTTP.
const SERVER: &str = r#"(component
  (import "wasi:http/types@0.2.0" (instance $types
    (export "incoming-request" (type (sub resource)))
    (export "response-outparam" (type (sub resource)))))
  (alias export $types "incoming-request" (type $request))
  (alias export $types "response-outparam" (type $response))
  (core module $module (func (export "handle") (param i32 i32)))
  (core instance $core (instantiate $module))
  (func $handle (param "request" (own $request)) (param "response-out" (own $response)) (canon lift (core func $core "handle")))
  (instance $handler (export "handle" (func $handle)))
  (export "wasi:http/incoming-handler@0.2.0" (instance $handler)))"#;

/// The attacker's module, with its machine code as data, and the other files that the rows look for.
pub(crate) fn hostile(world: &World<'_>, attacker: &Path) -> Image {
    let data: String = [rows::MARK, rows::ANSWER].concat().iter().map(|byte| format!("\\{byte:02x}")).collect();
    let module = format!(r#"(module (memory 1) (data (i32.const 0) "{data}") (func (export "_start")))"#);
    let secret = world.secret().display().to_string();
    let mut image = Image::new("hostile")
        .file("/attack.wasm", wat::parse_str(module).unwrap())
        .file("/server.wasm", wat::parse_str(SERVER).unwrap())
        .file("/attacker", fs::read(attacker).unwrap())
        .file("/code", [rows::ANSWER, &[0; 4096][..]].concat())
        .dir("/tmp", 0o1777, 0, 0)
        .device("/node-null", 1, 3)
        .device("/node-mem", 1, 1)
        .link("/link-absolute", &secret)
        .link("/link-relative", &format!("{}{}", "../".repeat(30), &secret[1..]))
        .file("/etc/nsswitch.conf", format!("hosts: {}\n", rows::NSS))
        .entrypoint(["/attack.wasm"]);
    if let Some(libraries) = libraries() {
        let triple = format!("/lib/{}-linux-gnu", std::env::consts::ARCH);
        for folder in ["/lib", "/lib64", &triple] {
            for file in fs::read_dir(&libraries).unwrap().map(|entry| entry.unwrap().path()) {
                let name = file.file_name().unwrap().to_string_lossy().into_owned();
                image = image.file(&format!("{folder}/{name}"), fs::read(&file).unwrap());
            }
        }
        image = image.env([format!("NSS={}", rows::c_library())]);
    }
    image
}

/// The folder of the library and of the C library that it needs, from `CATAMARAN_CACHE`, or made if there is a compiler. Both must be of
/// the version that the attacker was linked with.
fn libraries() -> Option<PathBuf> {
    let key: String =
        Sha256::digest(format!("{LIBRARY}{}", rows::c_library()))[..8].iter().map(|b| format!("{b:02x}")).collect();
    let kept = cache().join("attacks").join(key);
    if !kept.exists() {
        let new = kept.with_extension(std::process::id().to_string());
        fs::create_dir_all(&new).unwrap();
        fs::write(new.join("source.c"), LIBRARY).unwrap();
        let library = new.join(format!("libnss_{}.so.2", rows::NSS));
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(new.join("source.c"));
        let built = match compiler.status() {
            Ok(status) => {
                assert!(status.success(), "cc cannot build {}", new.join("source.c").display());
                copy_c_library(&new)
            }
            // The table then reports that the attack could not be tried.
            Err(_) => false,
        };
        // Another test may have been faster.
        if !built || fs::rename(&new, &kept).is_err() {
            fs::remove_dir_all(&new).unwrap();
        }
    }
    kept.exists().then_some(kept)
}

/// The machine's own C library, if it is of the attacker's version.
fn copy_c_library(folder: &Path) -> bool {
    let triple = format!("{}-linux-gnu", std::env::consts::ARCH);
    let places = [format!("/lib/{triple}"), "/lib64".to_owned(), "/lib".to_owned()];
    let loader = if cfg!(target_arch = "x86_64") { "ld-linux-x86-64.so.2" } else { "ld-linux-aarch64.so.1" };
    ["libc.so.6", loader].iter().all(|name| {
        let found = places.iter().map(|place| Path::new(place).join(name)).find(|path| path.exists());
        found.is_some_and(|path| fs::copy(path, folder.join(name)).is_ok())
    })
}
