//! Runs the installed `catamaran-helper`, from its version's folder, for all work that this command links no code for.
//!
//! The helper reads modules and images, which others wrote, in processes without rights, and answers in JSON.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::{Error, On, Result};
use crate::handler::SHIM;
use crate::host::Host;
use crate::run::{self, host_command};
use crate::state::{self, Installed};

/// The shim's programs: the installed ones, or those beside this program if nothing is installed.
pub(crate) struct Build<'h> {
    host: &'h Host,
    /// The folder as the host names it.
    folder: PathBuf,
    pub(crate) installed: Option<Installed>,
}

impl<'h> Build<'h> {
    pub(crate) fn find(host: &'h Host) -> Result<Self> {
        let installed = state::look(host)?.installed;
        let folder = match &installed {
            Some(installed) => installed.folder.clone(),
            None if host.is_own_root() => own_folder()?,
            None => {
                return Err(Error::refused(
                    "Catamaran is not installed on this node, and its programs in this container are not the host's",
                    "run `catamaran install` first",
                ));
            }
        };
        Ok(Self { host, folder, installed })
    }

    pub(crate) fn shim(&self) -> PathBuf {
        self.folder.join(SHIM)
    }

    /// Asks the helper, with a file for its standard input, and reads its answer.
    pub(crate) fn ask<A: DeserializeOwned>(
        &self,
        action: &str,
        asked: &Value,
        file: Option<File>,
        limit: Duration,
    ) -> Result<A> {
        let program = self.folder.join("catamaran-helper");
        let failed = |why: String| {
            Error::failed(
                why,
                format!(
                    "run `catamaran doctor`, which says whether the programs in {} are whole",
                    self.folder.display()
                ),
            )
        };
        let mut command: Command = host_command(self.host, &program).on("running", &program)?;
        command.arg(action).arg(asked.to_string()).stdin(file.map_or_else(Stdio::null, Stdio::from));
        let output = run::to_its_end(command, limit).map_err(|e| failed(format!("{}: {e}", program.display())))?;
        if !output.status.success() {
            let words = output.words();
            let words = words.strip_prefix("catamaran-helper: ").unwrap_or(&words).to_owned();
            return Err(failed(words));
        }
        serde_json::from_str(&output.stdout).map_err(|e| {
            failed(format!("{} {action} answers something else than this version expects: {e}", program.display()))
        })
    }
}

/// This program's folder, where its release was unpacked.
pub(crate) fn own_folder() -> Result<PathBuf> {
    let own = Path::new("/proc/self/exe");
    let path = fs::read_link(own).on("reading", own)?;
    Ok(path.parent().unwrap_or(Path::new("/")).to_owned())
}
