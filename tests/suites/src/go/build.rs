//! The test programs of Go's packages, and the files that they need.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use catamaran_harness::{Image, cache};

/// The path of Go's own tree in the image.
pub(crate) const ROOT: &str = "/go";

/// The machine's Go: its version and its tree.
fn go() -> &'static (String, PathBuf) {
    static GO: OnceLock<(String, PathBuf)> = OnceLock::new();
    GO.get_or_init(|| {
        let output = Command::new("go").args(["env", "GOVERSION", "GOROOT"]).output();
        let output = output.unwrap_or_else(|error| panic!("cannot run 'go' ({error}): install Go 1.25 or newer"));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut lines = text.lines();
        let mut line = || lines.next().unwrap_or_else(|| panic!("'go env' failed: {output:?}")).to_owned();
        (line(), line().into())
    })
}

/// A package's test program, built once for a version of Go and kept.
pub(crate) fn program(package: &str) -> Vec<u8> {
    let (version, root) = go();
    let folder = cache().join("suites").join(version);
    let path = folder.join(format!("{}.test", package.replace('/', "-")));
    if !path.exists() {
        fs::create_dir_all(&folder).unwrap_or_else(|error| panic!("cannot make {}: {error}", folder.display()));
        let fresh = path.with_extension(format!("test-{}", std::process::id()));
        let mut command = Command::new("go");
        command.args(["test", "-c", "-vet=off", "-ldflags=-s -w", "-o"]).arg(&fresh).arg(package);
        command.envs([("GOOS", "wasip1"), ("GOARCH", "wasm"), ("CGO_ENABLED", "0"), ("GOFLAGS", "")]);
        command.envs([("GOTOOLCHAIN", "local"), ("GOWORK", "off"), ("GOPROXY", "off")]).current_dir(root.join("src"));
        let output = command.output().unwrap_or_else(|error| panic!("cannot run 'go': {error}"));
        assert!(output.status.success(), "cannot build {package}: {}", String::from_utf8_lossy(&output.stderr));
        fs::rename(&fresh, &path).unwrap_or_else(|error| panic!("cannot keep {}: {error}", path.display()));
    }
    read(&path)
}

/// An image of the program, the package's own folder with its test data, and the `others` of Go's tree that its tests read.
pub(crate) fn image(package: &str, others: &[&str]) -> Image {
    let image = Image::new(&format!("go-{}", package.replace('/', "-"))).file("/program", program(package));
    let image = image.dir("/tmp", 0o1777, 0, 0).dir("/etc", 0o755, 0, 0).file_as("/etc/hosts", HOSTS, 0o644, 0, 0);
    let image = with_files(image, "", false);
    let image = with_files(image, &format!("src/{package}"), false);
    let data = format!("src/{package}/testdata");
    others.iter().chain([&data.as_str()]).fold(image, |image, folder| with_files(image, folder, true))
}

const HOSTS: &str = "127.0.0.1 localhost\n";

/// Adds the files of a folder of Go's tree, if it is there; `deep` adds those of its folders too.
fn with_files(mut image: Image, folder: &str, deep: bool) -> Image {
    let path = go().1.join(folder);
    if path.is_file() {
        return image.file_as(&format!("{ROOT}/{folder}"), read(&path), 0o644, 0, 0);
    }
    let mut entries: Vec<PathBuf> =
        fs::read_dir(&path).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    entries.sort();
    for entry in entries {
        let relative = entry.strip_prefix(&go().1).expect("it lies in Go's tree").display().to_string();
        if entry.is_file() || deep {
            image = with_files(image, &relative, deep);
        }
    }
    image
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
