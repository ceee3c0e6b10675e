//! The engines: a worker's executable and a compiler's each, which lie beside the shim's own.

pub(crate) mod choice;
pub(crate) mod options;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::{Doing, Result};

/// What runs a module. The engine is the executable: a shim knows names and files, and links none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Engine {
    Wasmtime,
    Wasmer,
}

impl Engine {
    /// In the order in which they are asked where nothing tells another.
    pub(crate) const ALL: [Engine; 2] = [Engine::Wasmtime, Engine::Wasmer];

    /// As it is written in annotations, options, names of files and the log.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Engine::Wasmtime => "wasmtime",
            Engine::Wasmer => "wasmer",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|engine| engine.word() == text)
    }

    /// The executable of its workers.
    pub(crate) fn worker(self) -> Result<PathBuf> {
        beside_the_shim(&format!("catamaran-{}", self.word()))
    }

    /// The executable of its compile processes.
    pub(crate) fn compiler(self) -> Result<PathBuf> {
        beside_the_shim(&format!("catamaran-{}-compile", self.word()))
    }

    /// The file that this node lacks to run it.
    pub(crate) fn missing(self) -> Result<Option<PathBuf>> {
        for program in [self.worker()?, self.compiler()?] {
            if !program.try_exists().on(&program)? {
                return Ok(Some(program));
            }
        }
        Ok(None)
    }
}

impl std::fmt::Display for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.word())
    }
}

/// Several, for a text: «wasmtime» or «wasmer».
pub(crate) fn quoted(engines: &[Engine]) -> String {
    engines.iter().map(|engine| format!("«{engine}»")).collect::<Vec<_>>().join(" or ")
}

/// A program of this shim's own version: it lies in the same folder.
pub(crate) fn beside_the_shim(name: &str) -> Result<PathBuf> {
    let shim = std::env::current_exe().doing(|| "finding this program's folder".to_owned())?;
    Ok(shim.with_file_name(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_is_read_as_it_is_written() {
        for engine in Engine::ALL {
            assert_eq!(Engine::parse(engine.word()), Some(engine));
            assert_eq!(serde_json::to_value(engine).unwrap(), engine.word());
        }
        assert!(
            ["", "Wasmtime", "wasmtime ", "wasmedge", "../wasmer"].iter().all(|text| Engine::parse(text).is_none())
        );
    }

    #[test]
    fn what_is_not_installed_is_named() {
        // Beside a test's executable lies none.
        let missing = Engine::Wasmer.missing().unwrap().unwrap();
        assert_eq!(missing, std::env::current_exe().unwrap().with_file_name("catamaran-wasmer"));
    }
}
