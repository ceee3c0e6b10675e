//! The engines: a worker's executable and a compiler's each, which lie beside the shim's own.

use std::io;
use std::path::PathBuf;

use catamaran_host::programs::Program;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// What runs a module. The engine is the executable: a shim knows names and files, and links none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// `catamaran-wasmtime`
    Wasmtime,
    /// `catamaran-wasmer`
    Wasmer,
}

impl Engine {
    /// In the order in which they are asked where nothing tells another.
    pub const ALL: [Engine; 2] = [Engine::Wasmtime, Engine::Wasmer];

    /// As it is written in annotations, options, names of files and the log.
    pub fn word(self) -> &'static str {
        match self {
            Engine::Wasmtime => "wasmtime",
            Engine::Wasmer => "wasmer",
        }
    }

    /// The engine of this word; none for any other text.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|engine| engine.word() == text)
    }

    /// The name of its workers' executable.
    pub fn worker_name(self) -> String {
        format!("catamaran-{}", self.word())
    }

    /// The name of its compile processes' executable.
    pub fn compiler_name(self) -> String {
        format!("catamaran-{}-compile", self.word())
    }

    /// The executable of its workers.
    ///
    /// # Errors
    /// The file that is missing.
    pub fn worker(self) -> Result<Program> {
        Ok(Program::open(&self.worker_name())?)
    }

    /// The executable of its compile processes.
    ///
    /// # Errors
    /// The file that is missing.
    pub fn compiler(self) -> Result<Program> {
        Ok(Program::open(&self.compiler_name())?)
    }

    /// The file that this node lacks to run it.
    ///
    /// # Errors
    /// When the kernel does not tell whether it is there.
    pub fn missing(self) -> Result<Option<PathBuf>> {
        for program in [self.worker(), self.compiler()] {
            match program {
                Ok(_) => {}
                Err(Error::Host(catamaran_host::Error::File { path, source }))
                    if source.kind() == io::ErrorKind::NotFound =>
                {
                    return Ok(Some(path));
                }
                Err(e) => return Err(e),
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
pub fn quoted(engines: &[Engine]) -> String {
    engines.iter().map(|engine| format!("«{engine}»")).collect::<Vec<_>>().join(" or ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engines_name_is_parsed_back() {
        for engine in Engine::ALL {
            assert_eq!(Engine::parse(engine.word()), Some(engine));
            assert_eq!(serde_json::to_value(engine).unwrap(), engine.word());
        }
        assert!(
            ["", "Wasmtime", "wasmtime ", "wasmedge", "../wasmer"].iter().all(|text| Engine::parse(text).is_none())
        );
    }

    #[test]
    fn a_missing_engine_is_named() {
        // Beside a test's executable lies none.
        let missing = Engine::Wasmer.missing().unwrap().unwrap();
        assert_eq!(missing, std::env::current_exe().unwrap().with_file_name("catamaran-wasmer"));
    }
}
