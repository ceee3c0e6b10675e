//! The engines. What one of them runs, and by which programs, is in `target`.

use serde::{Deserialize, Serialize};

/// What runs a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// The Bytecode Alliance's: modules of WASI preview 1, components of WASI 0.2.
    Wasmtime,
    /// Wasmer's: modules of WASI preview 1 and of WASIX.
    Wasmer,
}

impl Engine {
    /// All engines, in the order in which they are asked unless something says another.
    pub const ALL: [Engine; 2] = [Engine::Wasmtime, Engine::Wasmer];

    /// Returns its word in annotations, options, names of files and the log.
    pub fn word(self) -> &'static str {
        match self {
            Engine::Wasmtime => "wasmtime",
            Engine::Wasmer => "wasmer",
        }
    }

    /// Returns the engine of this word, or None for any other text.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|engine| engine.word() == text)
    }
}

impl std::fmt::Display for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.word())
    }
}

/// Joins several for a text: `"wasmtime" or "wasmer"`.
pub fn quoted(engines: &[Engine]) -> String {
    engines.iter().map(|engine| format!("\"{engine}\"")).collect::<Vec<_>>().join(" or ")
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
}
