//! CPython's own tests, on an interpreter for WASI preview 1.
//!
//! `cpython/run.py` runs one module of them and tells what became of each test.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use catamaran_harness::{Engine, Image, Node, provided_by};

use crate::attempt::Attempt;
use crate::outcome::{Outcome, Outcomes};
use crate::rounds::{self, Read};
use crate::suite::{Suite, wanted};

const LIMIT: Duration = Duration::from_secs(300);
const LIBRARY: &str = "/usr/local/lib";

/// Modules of tests.
const MODULES: &[&str] = &[
    "test_os.test_os",
    "test_os.test_posix",
    "test_io.test_bufferedio",
    "test_io.test_file",
    "test_io.test_fileio",
    "test_io.test_general",
    "test_io.test_textio",
    "test_socket",
    "test_select",
    "test_stat",
    "test_shutil",
    "test_tempfile",
    "test_pathlib.test_pathlib",
    "test_genericpath",
    "test_posixpath",
    "test_glob",
    "test_filecmp",
    "test_fileinput",
    "test_time",
    "test_random",
];

/// CPython's tests.
#[derive(Debug)]
pub struct CPython;

impl Suite for CPython {
    fn name(&self) -> &'static str {
        "cpython"
    }

    fn run(&self, node: &Node, engine: Engine, words: &[String]) -> Outcomes {
        let chosen: Vec<&str> = MODULES.iter().copied().filter(|module| wanted(module, words)).collect();
        if chosen.is_empty() {
            return Outcomes::new();
        }
        let image = image();
        chosen.into_iter().flat_map(|module| run_module(node, engine, &image, module)).collect()
    }
}

fn run_module(node: &Node, engine: Engine, image: &Image, module: &str) -> Outcomes {
    rounds::run(module, |number, done| {
        let order = node.container(&format!("{}-{number}", module.replace('.', "-"))).engine(engine).image(image);
        let left_out = done.iter().map(|name| format!("test.{module}.{name}"));
        let words = ["/python".to_owned(), "/run.py".to_owned(), format!("test.{module}")].into_iter().chain(left_out);
        let order = order.args(words).cwd("/work").env("PWD", "/work").env("PYTHONDONTWRITEBYTECODE", "1");
        let attempt = Attempt::make(&order.env("PYTHONHOME", "/usr/local"), LIMIT);
        let read = read(&attempt.output.stdout, &format!("test.{module}."));
        (attempt, read)
    })
}

/// Reads what `run.py` tells; `prefix` is the same for all names.
fn read(text: &str, prefix: &str) -> Read {
    let mut read = Read::default();
    let mut failed = None;
    for line in text.lines() {
        let (word, name) = line.split_once(' ').unwrap_or((line, ""));
        let name = name.strip_prefix(prefix).unwrap_or(name).to_owned();
        if let (true, Some(Outcome::Failed(why))) =
            (word.is_empty(), failed.as_ref().and_then(|name| read.ended.get_mut(name)))
        {
            why.extend([line, "\n"]);
            continue;
        }
        failed = None;
        let outcome = match word {
            "began" => {
                read.unfinished.insert(name);
                continue;
            }
            "passed" => Outcome::Passed,
            "skipped" => Outcome::Skipped,
            "failed" => Outcome::Failed(String::new()),
            // What the tests themselves print.
            _ => {
                read.whole |= line == "all done";
                continue;
            }
        };
        failed = (word == "failed").then(|| name.clone());
        read.unfinished.remove(&name);
        read.ended.insert(name, outcome);
    }
    read
}

fn image() -> Image {
    let folder = PathBuf::from(provided_by(&Path::new(env!("CARGO_MANIFEST_DIR")).join("provision-cpython"))("folder"));
    let script = contents(&Path::new(env!("CARGO_MANIFEST_DIR")).join("cpython/run.py"));
    let image = Image::new("cpython").file("/python", contents(&folder.join("python.wasm"))).file("/run.py", script);
    let image = image.dir("/tmp", 0o1777, 0, 0).dir("/work", 0o755, 0, 0);
    let zip = folder.join("python315.zip");
    let image = image.file(&format!("{LIBRARY}/python315.zip"), contents(&zip));
    let parts: BTreeSet<&str> = MODULES.iter().filter_map(|module| module.split('.').next()).collect();
    let parts = parts.into_iter().chain(["__init__", "support", "test_import", "archivetestdata", "certdata"]);
    parts.fold(image, |image, part| with_files(image, &folder.join("test"), part))
}

/// Adds a module of the tests, a file or a folder.
fn with_files(mut image: Image, tests: &Path, part: &str) -> Image {
    let path = tests.join(part);
    if !path.is_dir() {
        let name = if path.is_file() { part.to_owned() } else { format!("{part}.py") };
        return image.file_as(&format!("{LIBRARY}/python3.15/test/{name}"), contents(&tests.join(&name)), 0o644, 0, 0);
    }
    let mut names: Vec<String> = fs::read_dir(&path)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    for name in names.iter().filter(|name| *name != "__pycache__") {
        image = with_files(image, tests, &format!("{part}/{name}"));
    }
    image
}

fn contents(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::read;
    use crate::outcome::Outcome;

    #[test]
    fn each_test_is_told_and_so_is_the_one_that_broke_off() {
        let text = "began test.test_x.A.one\npassed test.test_x.A.one\nbegan test.test_x.A.two\nnoise\n\
            failed test.test_x.A.two\n    Traceback\n    KeyError\nbegan test.test_x.A.three\n";
        let read = read(text, "test.test_x.");
        assert_eq!(read.ended["A.one"], Outcome::Passed);
        assert_eq!(read.ended["A.two"], Outcome::Failed("    Traceback\n    KeyError\n".into()));
        assert_eq!((read.unfinished.into_iter().collect::<Vec<_>>(), read.whole), (vec!["A.three".to_owned()], false));
    }
}
