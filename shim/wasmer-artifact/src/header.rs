//! The page that stands before Wasmer's part of an artifact.
//!
//! Wasmer's part does not say with which version and settings it was made, and says too little of the CPU. So a page of our
//! own stands before it, which the compile process writes and the worker compares.

use wasmer_types::target::{CpuFeature, Triple};

/// The exact version of Wasmer.
pub const WASMER: &str = "7.4.2";

/// Raised by hand when a setting changes, or when a code generation CVE demands that old artifacts die.
pub const SETTINGS: u32 = 1;

/// The first bytes of an artifact.
const MAGIC: &str = "catamaran-wasmer-artifact";

/// The first bytes of Wasmer's part.
pub const WASMERS_MAGIC: &[u8] = b"wasmer-universal";

/// The name by which the compile process exports a start function, for the worker to call it.
pub const START: &str = "catamaran:start";

/// Our part of an artifact: a page, so that Wasmer's part is aligned as Wasmer wants it.
pub const HEADER: usize = 4096;

/// The header of an artifact that is made here and now, of a module whose C library keeps its signal dispositions at that
/// address.
pub fn header(dispositions: Option<u32>) -> Vec<u8> {
    let mut header = identity().into_bytes();
    let dispositions = dispositions.map_or_else(|| "-".to_owned(), |address| address.to_string());
    header.extend(format!(" {} {dispositions}\n", features().join(",")).bytes());
    debug_assert!(header.len() <= HEADER, "a CPU has some twenty features that Wasmer knows");
    header.resize(HEADER, 0);
    header
}

/// Engine, settings and target, which must be the same to the letter.
fn identity() -> String {
    format!("{MAGIC} {WASMER}+catamaran{SETTINGS} {}", Triple::host())
}

/// The features of this machine's CPU that the code generator may use.
fn features() -> Vec<String> {
    CpuFeature::for_host().iter().map(|feature| feature.to_string()).collect()
}

/// The address of the dispositions that the header was made with. The error is a text about the artifact, if that does not
/// fit here.
pub fn check(artifact: &[u8]) -> Result<Option<u32>, String> {
    let Some(header) = artifact.get(..HEADER) else {
        return Err(format!("it has {} bytes, less than its header", artifact.len()));
    };
    let end = header.iter().position(|&byte| byte == b'\n').unwrap_or(HEADER);
    let (line, padding) = header.split_at(end);
    if padding.iter().skip(1).any(|&byte| byte != 0) {
        return Err("its header is damaged".to_owned());
    }
    let line = String::from_utf8_lossy(line);
    let identity = identity();
    let Some(rest) = line.strip_prefix(&identity).and_then(|rest| rest.strip_prefix(' ')) else {
        return Err(format!("it begins with \"{line}\", not with \"{identity}\""));
    };
    let (wanted, dispositions) = rest.split_once(' ').ok_or("its header is damaged")?;
    let dispositions = match dispositions {
        "-" => None,
        address => Some(address.parse().map_err(|_| "its header is damaged")?),
    };
    let here = features();
    match wanted.split(',').find(|&feature| !feature.is_empty() && !here.iter().any(|h| h == feature)) {
        Some(feature) => Err(format!("it was made for a CPU with {feature}, which this one lacks")),
        None => Ok(dispositions),
    }
}

#[cfg(test)]
mod tests {
    use super::{HEADER, MAGIC, SETTINGS, WASMER, check, features, header};

    /// The version of a package in a lock file.
    fn locked(lock: &str, package: &str) -> Vec<String> {
        let start = format!("name = \"{package}\"\nversion = \"");
        lock.split(&start).skip(1).filter_map(|rest| rest.split('"').next()).map(str::to_owned).collect()
    }

    #[test]
    fn the_version_is_the_one_that_is_linked() {
        let ours = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.lock")).unwrap();
        let theirs =
            std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../wasmer-compile/Cargo.lock")).unwrap();
        assert_eq!(locked(&ours, "wasmer"), [WASMER], "update WASMER");
        // These packages define an artifact's form: its writer and its reader must have the same ones.
        for package in ["wasmer-compiler", "wasmer-types", "wasmer-vm", "rkyv"] {
            assert_eq!(locked(&ours, package), locked(&theirs, package), "{package}: the two lock files differ");
        }
    }

    #[test]
    fn a_header_is_valid_only_for_its_machine_and_settings() {
        let good = header(None);
        assert_eq!(good.len(), HEADER);
        assert_eq!(check(&good), Ok(None));
        assert_eq!(check(&header(Some(5040))), Ok(Some(5040)));
        assert!(check(&good[1..]).unwrap_err().contains("less than its header"));
        let with = |from: &str, to: &str| {
            let text = String::from_utf8(good.clone()).unwrap().replacen(from, to, 1);
            let mut bytes = text.into_bytes();
            bytes.resize(HEADER, 0);
            check(&bytes).unwrap_err()
        };
        let version = format!("{WASMER}+catamaran{SETTINGS}");
        assert!(with(&version, "7.4.1+catamaran1").contains("7.4.1"), "another version");
        assert!(with(&version, &format!("{WASMER}+catamaran0")).contains("catamaran0"), "other settings");
        assert!(with("x86_64", "riscv64").contains("riscv64"), "another machine");
        assert!(with(MAGIC, "wasmer-universal").contains("begins with"), "not ours");
        let first = &features()[0];
        assert!(with(&format!(" {first}"), " avx1024").contains("avx1024"), "another CPU");
        let mut dirty = good.clone();
        dirty[HEADER - 1] = 1;
        assert!(check(&dirty).unwrap_err().contains("damaged"));
    }
}
