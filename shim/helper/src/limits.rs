//! Writes changed limits for the shim. Writing a lower memory limit may take long, because the kernel reclaims memory meanwhile.

use std::path::Path;

use catamaran_cgroup::{scope, update};
use catamaran_host::errand;
use rustix::process::Signal;

use crate::error::{Doing, Result};
use crate::systemd;

/// Carries out the order on standard input, and dies with the shim that started it.
pub(crate) fn write() -> Result<()> {
    let asked = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    asked.doing(|| "having the kernel kill this process with the shim".to_owned())?;
    errand::carry_out(|order: update::Order| {
        update::write_all(&order, |request, limit| systemd::carry_out(Path::new(scope::SOCKET), request, limit))
    })?;
    Ok(())
}
