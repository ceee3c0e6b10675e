//! The test programs of Go's packages, and the files that they need.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use catamaran_harness::{Image, guests};

/// The path of Go's own tree in the image.
pub(crate) const ROOT: &str = "/go";

/// The machine's own tree of Go.
fn tree() -> &'static Path {
    static TREE: OnceLock<PathBuf> = OnceLock::new();
    TREE.get_or_init(guests::go_root)
}

/// An image of the program, the package's own folder with its test data, and the `others` of Go's tree that its tests read.
pub(crate) fn image(package: &str, others: &[&str]) -> Image {
    let image = Image::new(&format!("go-{}", package.replace('/', "-"))).file("/program", guests::go_test(package));
    let image = image.dir("/tmp", 0o1777, 0, 0).dir("/etc", 0o755, 0, 0).file_as("/etc/hosts", HOSTS, 0o644, 0, 0);
    let image = with_files(image, "", false);
    let image = with_files(image, &format!("src/{package}"), false);
    let data = format!("src/{package}/testdata");
    others.iter().chain([&data.as_str()]).fold(image, |image, folder| with_files(image, folder, true))
}

const HOSTS: &str = "127.0.0.1 localhost\n";

/// Adds the files of a folder of Go's tree, if it is there; `deep` adds those of its folders too.
fn with_files(mut image: Image, folder: &str, deep: bool) -> Image {
    let path = tree().join(folder);
    if path.is_file() {
        return image.file_as(&format!("{ROOT}/{folder}"), read(&path), 0o644, 0, 0);
    }
    let mut entries: Vec<PathBuf> =
        fs::read_dir(&path).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    entries.sort();
    for entry in entries {
        let relative = entry.strip_prefix(tree()).expect("it lies in Go's tree").display().to_string();
        if entry.is_file() || deep {
            image = with_files(image, &relative, deep);
        }
    }
    image
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
