//! The contenders: a shim, and the images that it runs.

use std::path::{Path, PathBuf};
use std::process::Command;

use catamaran_bench::programs::work::Work;
use catamaran_harness::cri::Shape;
use catamaran_harness::{Container, Engine, Image, Node, Runtime, guests, shim_folder};

use crate::plan::Plan;
use crate::samples::Side;

/// One of the shims that take turns.
pub(crate) struct Contender {
    /// Its column: `catamaran`, `wasmer`, `runc`, or NAME of another `containerd-shim-NAME-vN`.
    pub(crate) name: String,
    runtime: Runtime,
    /// The engine, for our shim.
    engine: Option<Engine>,
    /// The path of another shim, in place of the runtime's name.
    path: Option<PathBuf>,
}

impl Contender {
    /// All of them, ours first: on Wasmtime, the default for a module without special needs, and on Wasmer.
    pub(crate) fn all(plan: &Plan) -> Vec<Self> {
        let one = |name: &str, runtime, engine| Self { name: name.into(), runtime, engine, path: None };
        let mut all = vec![
            one("catamaran", Runtime::Catamaran, Some(Engine::Wasmtime)),
            one("wasmer", Runtime::Catamaran, Some(Engine::Wasmer)),
            one("runc", Runtime::Runc, None),
        ];
        if let Some(path) = &plan.versus {
            // The harness knows only two runtimes. With this one it does not require our binary.
            all.push(Self { path: Some(path.clone()), ..one(&short_name(path), Runtime::Runc, None) });
        }
        if let Some(names) = &plan.contenders {
            if let Some(unknown) = names.iter().find(|name| all.iter().all(|one| one.name != **name)) {
                panic!("BENCH_CONTENDERS names {unknown:?}, which is no column of this run");
            }
            all.retain(|one| names.contains(&one.name));
        }
        all
    }

    /// Its column and its side, for its turns.
    pub(crate) fn side(&self) -> Side<'_> {
        Side { name: &self.name, is_ours: self.is_ours() }
    }

    /// Whether it is this shim, whatever the engine.
    pub(crate) fn is_ours(&self) -> bool {
        self.engine.is_some()
    }

    /// Whether it is the shim that `VERSUS` names.
    pub(crate) fn is_another_shim(&self) -> bool {
        self.path.is_some()
    }

    /// Whether components run on it.
    pub(crate) fn runs_components(&self) -> bool {
        self.runs_wasm() && self.engine != Some(Engine::Wasmer)
    }

    fn runs_wasm(&self) -> bool {
        self.runtime == Runtime::Catamaran || self.path.is_some()
    }

    /// The value of `ctr --runtime`.
    pub(crate) fn runtime(&self) -> String {
        match &self.path {
            Some(path) => path.display().to_string(),
            None => self.runtime.name().to_owned(),
        }
    }

    /// The image of one of the small programs: the Wasm guest, or its native peer.
    pub(crate) fn image(&self, program: &str) -> Image {
        guests::image(if self.runs_wasm() { Runtime::Catamaran } else { Runtime::Runc }, program)
    }

    /// An image of a module; None for runc, which compiles nothing at start.
    pub(crate) fn module_image(&self, name: &str, module: &[u8]) -> Option<Image> {
        let path = format!("/{name}");
        self.runs_wasm().then(|| Image::new(&format!("{name}-wasm")).file(&path, module).entrypoint([&path]))
    }

    /// The image of a work's program, from the same source for all: a module, or native for runc.
    pub(crate) fn work_image(&self, work: Work) -> Image {
        let path = format!("/{}", work.guest());
        let (program, suffix) = match self.engine {
            _ if !self.runs_wasm() => (guests::native(work.guest()), "native"),
            Some(Engine::Wasmer) if work.is_wasix() => (work.module(Engine::Wasmer), "wasix"),
            _ => (work.module(Engine::Wasmtime), "wasm"),
        };
        Image::new(&format!("{}-{suffix}", work.guest())).file(&path, program).entrypoint([&path])
    }

    /// The shape of its pod; None for another shim, because the harness's nodes have no handler for it.
    pub(crate) fn pod(&self) -> Option<Shape> {
        match (&self.path, self.engine) {
            (Some(_), _) => None,
            (None, Some(engine)) => Some(Shape::on(engine)),
            (None, None) => Some(Shape { network: true, ..Shape::default() }),
        }
    }

    /// Begins the order for a container that runs on this contender.
    pub(crate) fn container<'n>(&self, node: &'n Node, id: &str, image: &Image) -> Container<'n> {
        let mut container = node.container(id).runtime(self.runtime).image(image);
        if let Some(engine) = self.engine {
            container = container.engine(engine);
        }
        match &self.path {
            // ctr takes the second of two equal flags.
            Some(_) => container.flag(["--runtime", &self.runtime()]),
            None => container,
        }
    }

    /// The request for its engine, as flags of `ctr run`.
    pub(crate) fn flags(&self) -> Vec<String> {
        let words = |engine: Engine| ["--annotation".to_owned(), format!("catamaran.wasm/engine={}", engine.name())];
        self.engine.map(words).into_iter().flatten().collect()
    }

    /// A fresh id, such as `bench-runc-run-7`.
    pub(crate) fn id(&self, what: &str, number: usize) -> String {
        format!("bench-{}-{what}-{number}", self.name)
    }

    /// The version that the shim's binary prints.
    pub(crate) fn version(&self, node: &Node) -> String {
        let shim = match (&self.path, self.runtime) {
            (Some(path), _) => path.clone(),
            (None, Runtime::Catamaran) => shim_folder().join("containerd-shim-catamaran-v1"),
            (None, Runtime::Runc) => node.programs().shim_runc.clone(),
        };
        said(Command::new(shim).arg("-v"))
    }
}

/// A program's output on one line, or its error.
pub(crate) fn said(command: &mut Command) -> String {
    let text = match command.output() {
        Ok(output) if output.stdout.is_empty() => output.stderr,
        Ok(output) => output.stdout,
        Err(error) => error.to_string().into_bytes(),
    };
    String::from_utf8_lossy(&text).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// `containerd-shim-wasmtime-v1` is `wasmtime`; a name of another kind stays as it is.
fn short_name(path: &Path) -> String {
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    let name = file.strip_prefix("containerd-shim-").and_then(|rest| Some(rest.rsplit_once("-v")?.0));
    let name = name.unwrap_or(&file);
    // Another build of ours, or another runc, must not share a column with the first.
    if ["catamaran", "wasmer", "runc"].contains(&name) { format!("{name}-versus") } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::{Path, short_name};

    #[test]
    fn another_shims_column_has_the_name_in_its_binarys_name() {
        for (path, name) in [
            ("/a/containerd-shim-wasmtime-v1", "wasmtime"),
            ("/a/containerd-shim-spin-v2", "spin"),
            ("/a/containerd-shim-wasmer-v1", "wasmer-versus"),
            ("/a/containerd-shim-catamaran-v1", "catamaran-versus"),
            ("/a/other", "other"),
        ] {
            assert_eq!(short_name(Path::new(path)), name);
        }
    }
}
