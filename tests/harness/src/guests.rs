//! The programs that the tests run, from `tests/guests`.
//!
//! - WAT: `hello args env exit cat spin sleep trap write read`, WASI preview 1, assembled when they are asked for.
//! - The native peer: the same programs as an ELF, for the same test on runc.
//! - Go: `kitchen`, one program with subcommands, built for `wasip1`.
//!
//! What is built is kept in `CATAMARAN_CACHE/guests`, by a digest of the source and the compiler's version.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

use crate::image::Image;
use crate::leftovers::hex;
use crate::node::Runtime;
use crate::programs::cache;

/// The first Go that knows `wasip1`.
const OLDEST_GO: (u32, u32) = (1, 21);

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../guests").join(name)
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()))
}

/// A module from `tests/guests/NAME.wat`.
pub fn wat(name: &str) -> Vec<u8> {
    let path = source(&format!("{name}.wat"));
    wat::parse_file(&path).unwrap_or_else(|error| panic!("{error}"))
}

/// The native peer: an ELF that is each of the programs, by the name it is called by.
pub fn peer() -> Vec<u8> {
    let path = source("peer.c");
    let version = answer(Command::new("cc").arg("--version"), "cc", "install a C compiler (gcc)");
    built(&path, &version, |target| {
        let mut command = Command::new("cc");
        command.args(["-static", "-Os", "-Wall", "-Wno-unused-result", "-o"]).arg(target).arg(&path);
        command
    })
}

/// A module from `tests/guests/go/NAME.go`.
pub fn go(name: &str) -> Vec<u8> {
    let path = source(&format!("go/{name}.go"));
    let version = answer(Command::new("go").args(["env", "GOVERSION"]), "go", "install Go 1.21 or newer");
    assert!(go_is_new_enough(&version), "{version} is too old for the Go guests: install Go 1.21 or newer");
    built(&path, &version, |target| {
        let mut command = Command::new("go");
        command
            .args(["build", "-trimpath", "-o"])
            .arg(target)
            .arg(&path)
            // Nothing is to be fetched: neither modules (there are none) nor another toolchain.
            .envs([("GOOS", "wasip1"), ("GOARCH", "wasm"), ("CGO_ENABLED", "0"), ("GOFLAGS", "-mod=mod")])
            .envs([("GOTOOLCHAIN", "local"), ("GOWORK", "off"), ("GOPROXY", "off")]);
        command
    })
}

/// A module with `functions` functions, which prints nothing and ends well; some 500 take a second.
pub fn large(functions: usize) -> Vec<u8> {
    let mut text = String::from("(module (memory 1) (func (export \"_start\") (drop (call $f0 (i32.const 1))))");
    for f in 0..functions {
        write!(text, "(func $f{f} (param i32) (result i32) (local i32 i32 i32)").unwrap();
        for k in 0..150 {
            let (a, b, c) = (k % 4, (k * 7 + f) % 4, (k * 3 + 1) % 4);
            let factor = k * f + 3;
            write!(
                text,
                "(local.set {a} (i32.add (i32.mul (local.get {b}) (i32.const {factor}))
                   (i32.load (i32.and (local.get {c}) (i32.const 1023)))))
                 (if (i32.eqz (local.get {c})) (then (i32.store (i32.const {}) (local.get {b}))))",
                k * 4
            )
            .unwrap();
        }
        text.push_str("(local.get 0))");
    }
    text.push(')');
    wat::parse_str(&text).unwrap()
}

/// An image whose entrypoint is `/NAME`: the module for Catamaran, the native peer for runc.
pub fn image(runtime: Runtime, name: &str) -> Image {
    let path = format!("/{name}");
    let (program, suffix) = match runtime {
        Runtime::Catamaran => (wat(name), "wasm"),
        Runtime::Runc => (peer(), "native"),
    };
    Image::new(&format!("{name}-{suffix}")).file(&path, program).entrypoint([&path])
}

/// What `hello` prints.
pub fn greeting(runtime: Runtime) -> &'static str {
    match runtime {
        Runtime::Catamaran => "hello from wasm\n",
        Runtime::Runc => "hello from native\n",
    }
}

fn go_is_new_enough(version: &str) -> bool {
    let Some(numbers) = version.trim().strip_prefix("go") else {
        // A build from Go's own repository: "devel ...".
        return version.starts_with("devel");
    };
    let mut numbers = numbers.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= OLDEST_GO
}

/// What a compiler says of itself.
fn answer(command: &mut Command, name: &str, advice: &str) -> String {
    match command.output() {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        Ok(output) => panic!("{name} fails: {}", String::from_utf8_lossy(&output.stderr)),
        Err(error) => panic!("cannot run '{name}' ({error}): {advice}"),
    }
}

/// The program built from a source file, or the one kept from last time.
fn built(source: &Path, version: &str, command: impl Fn(&Path) -> Command) -> Vec<u8> {
    let mut digest = Sha256::new();
    digest.update(read(source));
    digest.update(version);
    // The arguments count too, with the target's name left out.
    let sample = command(Path::new(""));
    for word in sample.get_args().map(OsStr::as_encoded_bytes) {
        digest.update([0]);
        digest.update(word);
    }
    let stem = source.file_stem().expect("a file name").to_string_lossy().into_owned();
    let folder = cache().join("guests");
    let kept = folder.join(format!("{stem}-{}", &hex(&digest.finalize())[..16]));
    if !kept.exists() {
        fs::create_dir_all(&folder).unwrap_or_else(|error| panic!("cannot make {}: {error}", folder.display()));
        // Two tests may build it at once: each under a name of its own, the last one stays.
        let unique = format!("{:?}-{}", std::thread::current().id(), std::process::id());
        let fresh = folder.join(format!(".{stem}-{}", unique.replace(|c: char| !c.is_ascii_alphanumeric(), "-")));
        let output = command(&fresh).output().unwrap_or_else(|error| panic!("cannot start a compiler: {error}"));
        assert!(
            output.status.success(),
            "cannot build {}: {}",
            source.display(),
            String::from_utf8_lossy(&output.stderr)
        );
        fs::rename(&fresh, &kept).unwrap_or_else(|error| panic!("cannot keep {}: {error}", kept.display()));
    }
    read(&kept)
}

#[cfg(test)]
mod tests {
    use super::{go_is_new_enough, wat};

    #[test]
    fn every_wat_guest_assembles() {
        for name in ["hello", "args", "env", "exit", "cat", "spin", "sleep", "trap", "write", "read"] {
            assert_eq!(&wat(name)[..8], b"\0asm\x01\0\0\0", "{name}");
        }
    }

    #[test]
    fn go_versions() {
        for (version, enough) in [
            ("go1.20.14", false),
            ("go1.21", true),
            ("go1.21rc2", true),
            ("go1.26.8", true),
            ("go2.0", true),
            ("", false),
        ] {
            assert_eq!(go_is_new_enough(version), enough, "{version}");
        }
    }
}
