//! The command `catamaran compare`, which is not installed here: it uses the programs beside itself.

use std::fs;
use std::process::Command;

use catamaran_bench::programs::work::Work;
use catamaran_harness::{Engine, Node, shim_folder};
use serde_json::Value;

/// The command on a node.
pub(crate) struct Catamaran<'n> {
    node: &'n Node,
}

/// What a program came to on one engine.
pub(crate) struct OfEngine {
    /// Milliseconds, like the others.
    pub(crate) first_start: f64,
    pub(crate) later_start: f64,
    pub(crate) run: f64,
    pub(crate) processor: f64,
    /// In bytes.
    pub(crate) memory: f64,
}

impl<'n> Catamaran<'n> {
    pub(crate) fn on(node: &'n Node) -> Self {
        Self { node }
    }

    /// Compares the engines by a work. Each runs the module that it can do most with.
    ///
    /// # Panics
    /// When it fails, or the engines come to different results.
    pub(crate) fn work(&self, work: Work) -> [OfEngine; 2] {
        let of = |engine| self.run(&work.module(engine), &work.words());
        let wasmtime = of(Engine::Wasmtime);
        let wasmer = if work.is_wasix() { of(Engine::Wasmer) } else { wasmtime.clone() };
        let results = |compared: &Value| -> Vec<String> {
            let lines = compared["output"]["difference"]["lines"].as_array().cloned().unwrap_or_default();
            lines.iter().filter_map(|line| Some(line.as_str()?.split(' ').next()?.to_owned())).collect()
        };
        for compared in [&wasmtime, &wasmer] {
            let results = results(compared);
            assert!(results.windows(2).all(|two| two[0] == two[1]), "{work:?}: the results differ: {results:?}");
        }
        [figures(&wasmtime, Engine::Wasmtime), figures(&wasmer, Engine::Wasmer)]
    }

    /// Compares the engines by one module.
    ///
    /// # Panics
    /// When it fails.
    pub(crate) fn module(&self, module: &[u8], words: &[&str]) -> [OfEngine; 2] {
        let compared = self.run(module, words);
        Engine::ALL.map(|engine| figures(&compared, engine))
    }

    /// Runs the command, and returns its answer.
    fn run(&self, module: &[u8], words: &[&str]) -> Value {
        let file = self.node.dir().join("compared.wasm");
        fs::write(&file, module).expect("cannot write a module");
        let mut command = Command::new(shim_folder().join("catamaran"));
        command.env("CATAMARAN_ROOT", self.node.catamaran_root());
        command.arg("--containerd-socket").arg(self.node.socket()).args(["-o", "json"]);
        command.args(["compare", "--runs", "1", "--timeout", "600"]).arg(&file).arg("--").args(words);
        let output = command.output().expect("cannot start catamaran: `make release` makes it");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "catamaran compare failed with {}: {said}", output.status);
        serde_json::from_slice(&output.stdout).expect("no JSON")
    }
}

/// The figures of one engine in an answer.
fn figures(compared: &Value, engine: Engine) -> OfEngine {
    let all = compared["engines"].as_array().into_iter().flatten();
    let own = all.into_iter().find(|own| own["engine"] == engine.name()).expect("no such engine");
    let is_good = own["failed"].is_null() && own["exit"] == 0 && own["best"] == true;
    assert!(is_good, "it did not end well on {}, or not on the optimiser's code: {own:#}", engine.name());
    let figure = |name: &str| own[name].as_f64().unwrap_or_else(|| panic!("no {name}: {own:#}"));
    OfEngine {
        first_start: figure("first_start"),
        later_start: figure("later_start"),
        run: figure("run"),
        processor: figure("processor"),
        memory: figure("memory"),
    }
}
