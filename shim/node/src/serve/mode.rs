//! The wanted state of the node: a word in a file, which is a key of a mounted ConfigMap.

use std::fs;
use std::path::Path;

use crate::error::{Error, Result};

/// The most characters that an error quotes of the file.
const MOST_CHARACTERS: usize = 40;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Install,
    Uninstall,
    UninstallForce,
}

impl Mode {
    const ALL: [Mode; 3] = [Mode::Install, Mode::Uninstall, Mode::UninstallForce];

    pub(crate) fn word(self) -> &'static str {
        match self {
            Mode::Install => "install",
            Mode::Uninstall => "uninstall",
            Mode::UninstallForce => "uninstall-force",
        }
    }

    /// Reads the mode. `file` is this process's own: in a container it is not below the host's root.
    pub(crate) fn read(file: &Path) -> Result<Self> {
        let remedy = "write install, uninstall or uninstall-force into that file (the chart's ConfigMap); until then nothing is done";
        let text = fs::read_to_string(file)
            .map_err(|e| Error::refused(format!("--mode-file {}: {e}", file.display()), remedy))?;
        let word = text.trim();
        Self::ALL.into_iter().find(|mode| mode.word() == word).ok_or_else(|| {
            let word: String = word.chars().take(MOST_CHARACTERS).collect();
            Error::refused(format!("--mode-file {} says {word:?}, which is no mode", file.display()), remedy)
        })
    }
}
