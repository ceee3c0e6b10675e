//! config.json and a further process as this shim reads them: the two types of the OCI runtime spec that are its own. All that
//! stands below them is oci-spec's.
//!
//! oci-spec's `Spec` and `Process` read `execCPUAffinity` with a regular expression, a key that this shim refuses. Whoever reads
//! either of them links the regex engine, whose tables of addresses a static program writes when it starts: some 220 kB of
//! private memory in every pod. `tests/layering` keeps those two types out of the sources, `tests/integration/tests/spec.rs` the
//! engine out of the program.
//!
//! A key that is not here is not looked at, as one that the OCI has not thought of yet. What runc is handed is the text
//! as it came.

use std::collections::HashMap;
use std::path::PathBuf;

use oci_spec::runtime::{Box as Size, Hooks, Linux, LinuxCapabilities, Mount, PosixRlimit, Root, User};
use serde::Deserialize;
use serde::de::IgnoredAny;

/// Functions with the names of fields, as oci-spec's types have them.
macro_rules! readers {
    ($($field:ident: $kind:ty),* $(,)?) => {
        $(pub(crate) fn $field(&self) -> &$kind { &self.$field })*
    };
}

/// config.json.
#[derive(Debug, Deserialize)]
pub(crate) struct Spec {
    #[serde(default, rename = "ociVersion")]
    version: String,
    root: Option<Root>,
    mounts: Option<Vec<Mount>>,
    process: Option<Process>,
    hostname: Option<String>,
    domainname: Option<String>,
    hooks: Option<Hooks>,
    annotations: Option<HashMap<String, String>>,
    linux: Option<Linux>,
}

impl Spec {
    readers! {
        version: String,
        root: Option<Root>,
        mounts: Option<Vec<Mount>>,
        process: Option<Process>,
        hostname: Option<String>,
        domainname: Option<String>,
        hooks: Option<Hooks>,
        annotations: Option<HashMap<String, String>>,
        linux: Option<Linux>,
    }

    pub(crate) fn linux_mut(&mut self) -> &mut Option<Linux> {
        &mut self.linux
    }
}

/// `process` of config.json, or the process that an Exec adds.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Process {
    terminal: Option<bool>,
    console_size: Option<Size>,
    user: User,
    args: Option<Vec<String>>,
    env: Option<Vec<String>>,
    cwd: PathBuf,
    #[allow(dead_code, reason = "a worker has none of them: they are to be Linux's, and that is all")]
    capabilities: Option<LinuxCapabilities>,
    rlimits: Option<Vec<PosixRlimit>>,
    #[allow(dead_code, reason = "a worker never gains privileges: it is to be a truth value, and that is all")]
    no_new_privileges: Option<bool>,
    apparmor_profile: Option<String>,
    oom_score_adj: Option<i32>,
    selinux_label: Option<String>,
    /// Refused, whatever it says, as the two below.
    io_priority: Option<IgnoredAny>,
    scheduler: Option<IgnoredAny>,
    #[serde(rename = "execCPUAffinity")]
    exec_cpu_affinity: Option<IgnoredAny>,
}

impl Process {
    readers! {
        user: User,
        args: Option<Vec<String>>,
        env: Option<Vec<String>>,
        cwd: PathBuf,
        rlimits: Option<Vec<PosixRlimit>>,
        apparmor_profile: Option<String>,
        selinux_label: Option<String>,
        io_priority: Option<IgnoredAny>,
        scheduler: Option<IgnoredAny>,
        exec_cpu_affinity: Option<IgnoredAny>,
    }

    pub(crate) fn terminal(&self) -> Option<bool> {
        self.terminal
    }

    pub(crate) fn console_size(&self) -> Option<Size> {
        self.console_size
    }

    pub(crate) fn oom_score_adj(&self) -> Option<i32> {
        self.oom_score_adj
    }
}

#[cfg(test)]
mod tests;
