//! The programs of `examples/`, built and packed as their own files say, so that those files stay true.
//!
//! Of a Dockerfile it understands what the examples use: `# First: COMMAND`, one or more, run in the folder in this order, `FROM scratch`,
//! `COPY` of one file, `ENTRYPOINT` in JSON. Of a pod it reads single lines.
//!
//! A program whose build takes large tools is built once and kept in `CATAMARAN_CACHE/guests`, by a digest of the example's files and of
//! the tools whose versions these files do not pin.

mod tools;

pub use tools::build_line;

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::guests;
use crate::image::Image;

/// Examples that are built once and kept, because their tools are a download of hundreds of megabytes or take long.
const KEPT: [&str; 7] =
    ["http-go", "http-js", "http-python", "http-rust", "wasi3-command", "wasi3-guide", "wasi3-server"];
/// Products of a developer's own build in an example's folder.
const NOT_SOURCE: [&str; 12] = [
    "node_modules",
    "target",
    "server.wasm",
    "core.wasm",
    "embedded.wasm",
    "go.mod",
    "go.sum",
    "wit_exports.go",
    "wasi_http_incoming_handler",
    "wasi_http_types",
    "wasi_io_error",
    "wasi_io_streams",
];

/// The instructions of an example's Dockerfile, with the files' content.
#[derive(Debug)]
pub struct Recipe {
    /// The path of each file in the image, and its content.
    pub files: Vec<(String, Vec<u8>)>,
    /// The program and its first arguments.
    pub entrypoint: Vec<String>,
}

/// A program of `examples/`.
pub struct Example {
    name: String,
    folder: PathBuf,
}

impl Example {
    /// The one in `examples/NAME`.
    pub fn open(name: &str) -> Self {
        Self::open_in(&folder(), name)
    }

    /// The one in another clone's `examples/NAME`; `examples` is that folder.
    pub fn open_in(examples: &Path, name: &str) -> Self {
        Self { name: name.to_owned(), folder: examples.join(name) }
    }

    fn text(&self, file: &str) -> String {
        let path = self.folder.join(file);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()))
    }

    /// The names of all of them.
    ///
    /// # Panics
    /// When the folder cannot be read.
    pub fn all() -> Vec<String> {
        Self::all_in(&folder())
    }

    /// The names of all examples in another clone's folder.
    ///
    /// # Panics
    /// When the folder cannot be read.
    pub fn all_in(examples: &Path) -> Vec<String> {
        let entries = fs::read_dir(examples).unwrap_or_else(|error| panic!("{}: {error}", examples.display()));
        let folders = entries.flatten().filter(|entry| entry.path().join("pod.yaml").exists());
        let mut names: Vec<String> = folders.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// Its `pod.yaml`.
    pub fn pod(&self) -> String {
        self.text("pod.yaml")
    }

    /// The lines that build its program, from its Dockerfile.
    ///
    /// # Panics
    /// When there are none.
    pub fn steps(&self) -> Vec<String> {
        let dockerfile = self.text("Dockerfile");
        let steps: Vec<_> = dockerfile.lines().filter_map(|line| line.strip_prefix("# First: ")).collect();
        assert!(!steps.is_empty(), "examples/{}/Dockerfile does not say what to do first", self.name);
        steps.into_iter().map(str::to_owned).collect()
    }

    /// Its image, built, for this machine's platform.
    ///
    /// # Panics
    /// When the build fails, or the Dockerfile has an instruction that is not understood.
    pub fn image(&self) -> Image {
        let recipe = self.recipe();
        let files = recipe.files.iter();
        files
            .fold(Image::new(&self.name), |image, (path, content)| image.file(path, content))
            .entrypoint(recipe.entrypoint)
    }

    /// The content of its image, built.
    ///
    /// # Panics
    /// When the build fails, or the Dockerfile has an instruction that is not understood.
    pub fn recipe(&self) -> Recipe {
        let built = Built::new(self);
        let mut recipe = Recipe { files: Vec::new(), entrypoint: Vec::new() };
        for line in self.text("Dockerfile").lines() {
            match line.split_once(' ').unwrap_or((line, "")) {
                ("#" | "", _) | ("FROM", "scratch") => {}
                ("COPY", words) => {
                    let (from, to) = words.split_once(' ').unwrap_or_else(|| panic!("{line}: one file to one place"));
                    recipe.files.push((to.to_owned(), built.read(from)));
                }
                ("ENTRYPOINT", words) => {
                    recipe.entrypoint = serde_json::from_str(words).unwrap_or_else(|error| panic!("{line}: {error}"));
                }
                _ => panic!("examples/{}/Dockerfile: {line:?} is not understood", self.name),
            }
        }
        recipe
    }

    /// The container's `args` from the JSON in its `pod.yaml`; empty if there are none.
    pub fn args(&self) -> Vec<String> {
        let text = self.text("pod.yaml");
        let args = text.lines().find_map(|line| line.trim().strip_prefix("args: "));
        args.map_or_else(Vec::new, |args| serde_json::from_str(args).unwrap_or_else(|error| panic!("{args}: {error}")))
    }

    /// Whether its `pod.yaml` has this line, at any indentation.
    pub fn pod_says(&self, line: &str) -> bool {
        self.text("pod.yaml").lines().any(|other| other.trim().trim_start_matches("- ") == line)
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples")
}

/// A copy of an example's folder in which it was built; removed with this.
struct Built(PathBuf);

impl Built {
    fn new(example: &Example) -> Self {
        let unique = format!("{:?}", std::thread::current().id()).replace(|c: char| !c.is_ascii_digit(), "");
        let folder =
            std::env::temp_dir().join(format!("catamaran-example-{}-{}-{unique}", example.name, std::process::id()));
        let built = Self(folder);
        fs::create_dir_all(&built.0).unwrap_or_else(|error| panic!("cannot make {}: {error}", built.0.display()));
        let mut digest = Sha256::new();
        copy(&example.folder, &built.0, &mut digest);
        let (dockerfile, steps) = (example.text("Dockerfile"), example.steps());
        if !KEPT.contains(&example.name.as_str()) {
            steps.iter().for_each(|step| build_line(step, &built.0));
            return built;
        }
        steps.iter().for_each(|step| digest.update(tools::version(step)));
        let product = dockerfile.lines().find_map(|line| line.strip_prefix("COPY ")?.split(' ').next());
        let product =
            built.0.join(product.unwrap_or_else(|| panic!("examples/{}/Dockerfile copies nothing", example.name)));
        let bytes = guests::kept(&example.name, &digest.finalize(), |fresh| {
            steps.iter().for_each(|step| build_line(step, &built.0));
            fs::copy(&product, fresh).unwrap_or_else(|error| panic!("{} was not built: {error}", product.display()));
        });
        let folder = product.parent().expect("a file's folder");
        fs::create_dir_all(folder).unwrap_or_else(|error| panic!("cannot make {}: {error}", folder.display()));
        fs::write(&product, bytes).unwrap_or_else(|error| panic!("cannot write {}: {error}", product.display()));
        built
    }

    fn read(&self, file: &str) -> Vec<u8> {
        let path = self.0.join(file);
        fs::read(&path).unwrap_or_else(|error| panic!("{} was not built: {error}", path.display()))
    }
}

/// Copies a folder's files in the order of their names, and hashes names and content.
fn copy(from: &Path, to: &Path, digest: &mut Sha256) {
    let entries = fs::read_dir(from).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
    let mut names: Vec<_> = entries.map(|entry| entry.expect("a folder's entry").file_name()).collect();
    names.retain(|name| {
        let name = name.to_string_lossy();
        !name.starts_with('.') && !NOT_SOURCE.contains(&&*name)
    });
    names.sort();
    for name in names {
        let (from, to) = (from.join(&name), to.join(&name));
        digest.update(name.as_encoded_bytes());
        if from.is_dir() {
            fs::create_dir(&to).unwrap_or_else(|error| panic!("cannot make {}: {error}", to.display()));
            copy(&from, &to, digest);
            continue;
        }
        fs::copy(&from, &to).unwrap_or_else(|error| panic!("cannot copy {}: {error}", from.display()));
        digest.update(Sha256::digest(fs::read(&to).unwrap_or_else(|error| panic!("{}: {error}", to.display()))));
    }
}

impl Drop for Built {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("cannot remove {}: {error}", self.0.display());
        }
    }
}
