//! The header of an artifact: a page of ours before Wasmer's part.
//!
//! Wasmer's part names neither its version nor its settings, and not every CPU feature that it needs. So the compile process writes them
//! into a header, and the worker compares them.

use wasmer_types::target::{CpuFeature, Triple};

/// The exact version of Wasmer.
pub const WASMER: &str = "7.4.2";

/// The version of the settings. Raise it when a setting changes, or when a CVE of the code generator makes old artifacts unsafe.
pub const SETTINGS: u32 = 1;

/// The first bytes of an artifact.
const MAGIC: &str = "catamaran-wasmer-artifact";

/// The first bytes of Wasmer's part.
pub const WASMERS_MAGIC: &[u8] = b"wasmer-universal";

/// The name under which the compile process exports a start function that the worker is to call.
pub const START: &str = "catamaran:start";

/// The bytes of the header: a page, so that Wasmer's part is aligned as Wasmer needs it.
pub const HEADER: usize = 4096;

/// Returns the header of an artifact for this machine. `dispositions` is the address of the module's table of signal dispositions.
pub fn header(dispositions: Option<u32>) -> Vec<u8> {
    let mut header = identity().into_bytes();
    let dispositions = dispositions.map_or_else(|| "-".to_owned(), |address| address.to_string());
    header.extend(format!(" {} {dispositions}\n", features().join(",")).bytes());
    debug_assert!(header.len() <= HEADER, "the names of all CPU features that Wasmer knows fit into the header");
    header.resize(HEADER, 0);
    header
}

/// Returns the header's text for version, settings and target, which must match exactly.
fn identity() -> String {
    format!("{MAGIC} {WASMER}+catamaran{SETTINGS} {}", Triple::host())
}

/// Returns this machine's CPU features that the code generator may use.
fn features() -> Vec<String> {
    CpuFeature::for_host().iter().map(|feature| feature.to_string()).collect()
}

/// Checks an artifact's header against this machine. Returns the address of the signal dispositions. The error says why the artifact does
/// not fit.
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

    /// Returns the versions of a package in a lock file.
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
        // These packages define an artifact's form, so both lock files must have the same versions.
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
