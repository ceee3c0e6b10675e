//! The products of compilers from the guests' sources, built once and kept.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Command;

use sha2::{Digest, Sha256};

use super::read;
use crate::leftovers::hex;
use crate::programs::cache;

/// Returns a compiler's answer about itself.
pub(super) fn answer(command: &mut Command, name: &str, advice: &str) -> String {
    match command.output() {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        Ok(output) => panic!("{name} fails: {}", String::from_utf8_lossy(&output.stderr)),
        Err(error) => panic!("cannot run '{name}' ({error}): {advice}"),
    }
}

/// Returns the program built from a source file, or the kept one. `kind` is a part of the kept file's name: programs of one source differ
/// in it.
pub(super) fn built(source: &Path, kind: &str, version: &str, command: impl Fn(&Path) -> Command) -> Vec<u8> {
    let mut digest = Sha256::new();
    digest.update(included(source));
    digest.update(version);
    // The digest covers the arguments too, without the target's name.
    let sample = command(Path::new(""));
    for word in sample.get_args().map(OsStr::as_encoded_bytes) {
        digest.update([0]);
        digest.update(word);
    }
    let stem = source.file_stem().expect("a file name").to_string_lossy().into_owned();
    kept(&format!("{stem}{kind}"), &digest.finalize(), |fresh| run(command(fresh), &source.display().to_string()))
}

/// The text of a source file, and of the headers beside it that it includes.
fn included(source: &Path) -> Vec<u8> {
    let mut text = read(source);
    let lines = String::from_utf8_lossy(&text).into_owned();
    let headers = lines.lines().filter_map(|line| line.strip_prefix("#include \"")?.strip_suffix('"'));
    for header in headers {
        text.extend(included(&source.with_file_name(header)));
    }
    text
}

/// Runs a compiler.
///
/// # Panics
/// When it fails, with its output.
pub(super) fn run(mut command: Command, source: &str) {
    let output = command.output().unwrap_or_else(|error| panic!("cannot start a compiler: {error}"));
    assert!(output.status.success(), "cannot build {source}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Returns the file of this name and digest: the kept one, or the one that `make` writes to the path that it gets.
pub(crate) fn kept(name: &str, digest: &[u8], make: impl FnOnce(&Path)) -> Vec<u8> {
    let folder = cache().join("guests");
    let kept = folder.join(format!("{name}-{}", &hex(digest)[..16]));
    if !kept.exists() {
        fs::create_dir_all(&folder).unwrap_or_else(|error| panic!("cannot make {}: {error}", folder.display()));
        // Two tests may build it concurrently, each under a name of its own. The last one stays.
        let unique = format!("{:?}-{}", std::thread::current().id(), std::process::id());
        let fresh = folder.join(format!(".{name}-{}", unique.replace(|c: char| !c.is_ascii_alphanumeric(), "-")));
        make(&fresh);
        fs::rename(&fresh, &kept).unwrap_or_else(|error| panic!("cannot keep {}: {error}", kept.display()));
    }
    read(&kept)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::included;

    #[test]
    fn a_change_in_an_included_header_makes_a_new_guest() {
        let folder = std::env::temp_dir().join(format!("catamaran-included-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("guest.c"), "#include <errno.h>\n#include \"outer.h\"\n").unwrap();
        fs::write(folder.join("outer.h"), "#include \"inner.h\"\n").unwrap();
        let of = |inner: &str| {
            fs::write(folder.join("inner.h"), inner).unwrap();
            included(&folder.join("guest.c"))
        };
        assert_ne!(of("// one"), of("// two"));
        assert_eq!(of("// one"), of("// one"));
        fs::remove_dir_all(&folder).unwrap();
    }
}
