//! Tests that packing twice makes the same bytes, whatever the folder, its times and modes, the umask and the working directory.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use catamaran_dist::programs::{CATAMARAN, NODE};
use catamaran_harness::shim_folder;
use serde_json::Value;

/// Copies of all inputs, below one folder.
struct Copies(tempfile::TempDir);

impl Copies {
    fn new() -> Self {
        let copies = Self(tempfile::tempdir().unwrap());
        fs::create_dir(copies.programs()).unwrap();
        for (name, _) in NODE {
            let path = shim_folder().join(name);
            let mut program = fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}: run `make build`", path.display()));
            // Only the installer is run. Of the others, which are large, the beginning is enough.
            if name != CATAMARAN {
                program.truncate(1 << 16);
            }
            fs::write(copies.programs().join(name), program).unwrap();
            fs::set_permissions(copies.programs().join(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
        let clone = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        fs::create_dir(copies.source()).unwrap();
        for entry in fs::read_dir(&clone).unwrap().flatten() {
            let name = entry.file_name().into_string().unwrap();
            if name != "target" && name != ".git" {
                shell(&copies.source(), &format!("cp -r '{}' .", entry.path().display()));
            }
        }
        copies
    }

    fn programs(&self) -> PathBuf {
        self.0.path().join("programs")
    }

    fn source(&self) -> PathBuf {
        self.0.path().join("source")
    }

    fn out(&self) -> PathBuf {
        self.0.path().join("out")
    }

    /// Packs from `cwd`, with a umask.
    fn pack(&self, cwd: &Path, umask: &str) {
        let dist = env!("CARGO_BIN_EXE_catamaran-dist");
        let (source, programs, out) = (self.source(), self.programs(), self.out());
        let of = format!("--source {} --revision abc", source.display());
        let to = format!("--programs {} --out {}", programs.display(), out.display());
        shell(cwd, &format!("umask {umask}; {dist} {of} image {to} installer examples/hello"));
        shell(cwd, &format!("umask {umask}; {dist} {of} tarball {to} && {dist} checksums {}", out.display()));
    }

    fn packed(&self) -> BTreeMap<String, Vec<u8>> {
        let files = fs::read_dir(self.out()).unwrap().flatten();
        files.map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())).collect()
    }
}

fn shell(cwd: &Path, line: &str) {
    let output = Command::new("sh")
        .args(["-ec", line])
        .current_dir(cwd)
        .env("SOURCE_DATE_EPOCH", "1790000000")
        .output()
        .unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn two_packings_are_byte_identical() {
    let [one, other] = [Copies::new(), Copies::new()];
    shell(
        other.0.path(),
        "find . -exec touch -h -d '2001-02-03 04:05:06' {} + && chmod -R u=rwX,go= . && chmod u+x programs/*",
    );
    one.pack(Path::new("/"), "022");
    other.pack(&other.source(), "077");
    let (packed, again) = (one.packed(), other.packed());
    let names: Vec<&str> = packed.keys().map(String::as_str).collect();
    let processor = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let version = env!("CARGO_PKG_VERSION");
    let tarball = format!("catamaran-{version}-linux-{processor}");
    let expected = [
        "SHA256SUMS".to_owned(),
        format!("{tarball}.THIRD-PARTY"),
        format!("{tarball}.cdx.json"),
        format!("{tarball}.tar.gz"),
        format!("catamaran-example-hello-{version}.tar"),
        format!("catamaran-installer-{version}-linux-{processor}.cdx.json"),
        format!("catamaran-installer-{version}-linux-{processor}.tar"),
    ];
    assert_eq!(names, expected);
    for (name, bytes) in &packed {
        assert!(again[name] == *bytes, "{name} differs: {} and {} bytes", bytes.len(), again[name].len());
    }
    unpacks(&one, &tarball);
    bill_is_whole(&serde_json::from_slice(&packed[&format!("{tarball}.cdx.json")]).unwrap());
    third_party_is_whole(&String::from_utf8(packed[&format!("{tarball}.THIRD-PARTY")].clone()).unwrap());
}

/// Checks that the tarball holds what an administrator needs, that its checksums are right, and that its installer runs.
fn unpacks(copies: &Copies, name: &str) {
    let folder = copies.0.path().join("unpacked");
    fs::create_dir(&folder).unwrap();
    shell(&copies.out(), "sha256sum --strict --quiet -c SHA256SUMS");
    shell(&folder, &format!("tar -xzf ../out/{name}.tar.gz && cd {name} && sha256sum --strict --quiet -c SHA256SUMS"));
    let root = folder.join(name);
    for file in
        ["LICENSE", "README.md", "docs/node.md", "runtimeclass/runtimeclass.yaml", "THIRD-PARTY", "catamaran.cdx.json"]
    {
        assert!(root.join(file).exists(), "{file}");
    }
    assert!(fs::read_to_string(root.join("completions/catamaran.bash")).unwrap().contains("uninstall"));
    assert!(fs::read_to_string(root.join("man/man1/catamaran-install.1")).unwrap().contains("options\\-file"));
    let mode = |file: &str| fs::metadata(root.join(file)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("bin/catamaran"), mode("bin/catamaran-holder"), mode("LICENSE")), (0o755, 0o755, 0o644));
    let output = Command::new(root.join("bin/catamaran")).arg("--version").output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), format!("catamaran {}", env!("CARGO_PKG_VERSION")));
}

/// Checks that every reference of the bill leads somewhere, every library is used, and every crate of a registry has its checksum.
fn bill_is_whole(bill: &Value) {
    let text =
        |value: &Value, key: &str| value[key].as_str().unwrap_or_else(|| panic!("no {key} in {value}")).to_owned();
    let components = bill["components"].as_array().unwrap();
    let mut known: BTreeSet<String> = components.iter().map(|component| text(component, "bom-ref")).collect();
    assert_eq!(known.len(), components.len(), "a reference is there twice");
    known.insert("catamaran".into());
    let dependencies = bill["dependencies"].as_array().unwrap();
    let used: BTreeSet<String> = dependencies
        .iter()
        .flat_map(|entry| entry["dependsOn"].as_array().unwrap())
        .map(|reference| reference.as_str().unwrap().to_owned())
        .collect();
    assert_eq!(used.difference(&known).collect::<Vec<_>>(), Vec::<&String>::new(), "used and unknown");
    assert_eq!(known.difference(&used).collect::<Vec<_>>(), ["catamaran"], "unused");
    for component in components {
        let reference = text(component, "bom-ref");
        assert!(component["licenses"][0]["expression"].is_string(), "{component}");
        if reference.starts_with("pkg:cargo/") || reference.starts_with("program:") {
            assert_eq!(component["hashes"][0]["content"].as_str().unwrap().len(), 64, "{component}");
        }
    }
    let names: BTreeSet<String> = components.iter().map(|component| text(component, "name")).collect();
    for name in
        ["wasmtime", "wasmer-wasix", "cranelift-codegen", "catamaran-worker", "Rust standard library", "GNU C Library"]
    {
        assert!(names.contains(name), "{name}");
    }
    for name in ["catamaran-harness", "catamaran-dist", "serde_derive", "bindgen", "cc", "wat"] {
        assert!(!names.contains(name), "{name} is in no program");
    }
    assert_eq!(NODE.iter().filter(|(name, _)| known.contains(&format!("program:{name}"))).count(), NODE.len());
}

fn third_party_is_whole(text: &str) {
    for word in [
        "  wasmtime 48",
        "  GNU C Library, ",
        "Permission is hereby granted",
        "Apache License",
        "Mozilla Public License",
    ] {
        assert!(text.contains(word), "{word}");
    }
    assert!(!text.contains("catamaran-worker "), "Catamaran's own crates are no third party's");
}
