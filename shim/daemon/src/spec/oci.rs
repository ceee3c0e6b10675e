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

/// Declares a type of the spec, and for each field a function of its name that reads it, as oci-spec's types have them.
macro_rules! spec_type {
    ($(#[$attribute:meta])* $name:ident { $($(#[$of_field:meta])* $field:ident: $kind:ty,)* }) => {
        $(#[$attribute])*
        #[derive(Debug, Deserialize)]
        #[serde(rename_all = "camelCase")]
        pub(crate) struct $name {
            $($(#[$of_field])* $field: $kind,)*
        }

        #[allow(dead_code, reason = "of some keys it is only looked whether they are well-formed")]
        impl $name {
            $(pub(crate) fn $field(&self) -> &$kind { &self.$field })*
        }
    };
}

spec_type! {
    /// config.json.
    Spec {
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
}

impl Spec {
    pub(crate) fn linux_mut(&mut self) -> &mut Option<Linux> {
        &mut self.linux
    }
}

spec_type! {
    /// `process` of config.json, or the process that an Exec adds.
    Process {
        terminal: Option<bool>,
        console_size: Option<Size>,
        user: User,
        args: Option<Vec<String>>,
        env: Option<Vec<String>>,
        cwd: PathBuf,
        // A worker has none of them, and never gains privileges: only their types are checked.
        capabilities: Option<LinuxCapabilities>,
        no_new_privileges: Option<bool>,
        rlimits: Option<Vec<PosixRlimit>>,
        apparmor_profile: Option<String>,
        oom_score_adj: Option<i32>,
        selinux_label: Option<String>,
        // Refused, whatever they say.
        io_priority: Option<IgnoredAny>,
        scheduler: Option<IgnoredAny>,
        #[serde(rename = "execCPUAffinity")]
        exec_cpu_affinity: Option<IgnoredAny>,
    }
}

#[cfg(test)]
mod tests;
