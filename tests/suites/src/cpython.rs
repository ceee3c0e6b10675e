//! CPython's own tests, on an interpreter for WASI preview 1.
//!
//! `cpython/run.py` runs one module of them and tells what became of each test.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use catamaran_harness::{Engine, Image, Node, provided_by};

use crate::attempt::Attempt;
use crate::outcome::{Outcome, Outcomes};
use crate::rounds::{self, Read};
use crate::suite::{Suite, wanted};

const LIMIT: Duration = Duration::from_secs(300);

/// The folder in the image with the package `test`.
const TESTS: &str = "/tests";

/// Modules of the package `test`.
const MODULES: &[&str] = &[
    "test_os",
    "test_posix",
    "test_io",
    "test_file",
    "test_fileio",
    "test_largefile",
    "test_bufio",
    "test_univnewlines",
    "test_stat",
    "test_shutil",
    "test_tempfile",
    "test_pathlib",
    "test_genericpath",
    "test_posixpath",
    "test_glob",
    "test_filecmp",
    "test_fileinput",
    "test_linecache",
    "test_tarfile",
    "test_gzip",
    "test_shelve",
    "test_dbm_dumb",
    "test_zipimport",
    "test_py_compile",
    "test_time",
    "test_random",
    "test_uuid",
    "test_signal",
    "test_struct",
    "test_float",
    "test_socket",
    "test_select",
    "test_selectors",
    "test_poll",
];

/// CPython's tests.
#[derive(Debug)]
pub struct CPython;

impl Suite for CPython {
    fn name(&self) -> &'static str {
        "cpython"
    }

    fn parts(&self) -> Vec<&'static str> {
        MODULES.to_vec()
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
        let order = node.container(&format!("{module}-{number}").replace('_', "-")).engine(engine).image(image);
        let left_out = done.iter().map(|name| format!("test.{module}.{name}"));
        let words = ["/python", "/run.py"].map(str::to_owned).into_iter().chain([format!("test.{module}")]);
        let order = order.args(words.chain(left_out)).cwd("/work").env("PWD", "/work").env("PYTHONPATH", TESTS);
        // The optimised code at once: made later, beside other work, it might take minutes.
        let order = order.env("PYTHONDONTWRITEBYTECODE", "1").annotation("catamaran.wasm/compile", "best");
        let attempt = Attempt::make(&order, LIMIT);
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
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = PathBuf::from(provided_by(&here.join("provision-cpython"))("folder"));
    let image = Image::new("cpython").file("/python", contents(&folder.join("python.wasm")));
    let image = image.file("/run.py", contents(&here.join("cpython/run.py")));
    let image = image.dir("/tmp", 0o1777, 0, 0).dir("/work", 0o755, 0, 0);
    with_files(image, &folder, "tests")
}

/// Adds a folder with all that is in it.
fn with_files(mut image: Image, tree: &Path, folder: &str) -> Image {
    let entries = fs::read_dir(tree.join(folder)).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.map(|entry| format!("{folder}/{}", entry.file_name().display())).collect();
    names.sort();
    for name in names {
        let path = tree.join(&name);
        image = if path.is_dir() {
            with_files(image, tree, &name)
        } else {
            image.file_as(&format!("/{name}"), contents(&path), 0o644, 0, 0)
        };
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
