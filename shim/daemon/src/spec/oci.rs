//! The shim's own types of the OCI runtime spec, for config.json and for a further process. All types below these two are oci-spec's.
//!
//! oci-spec's `Spec` and `Process` read `execCPUAffinity`, a key that this shim refuses, with a regular expression. A program that reads
//! either of them links the regex engine, whose tables of addresses a static program writes when it starts: some 220 kB of private memory
//! in every pod. `tests/layering` keeps those two types out of the sources, `tests/integration/tests/spec.rs` keeps the engine out of the
//! program.
//!
//! A key that is missing here is ignored, like one that the OCI has not thought of yet. runc is handed the original text.

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
        // A worker has no capabilities and never gains privileges: of these two only the types are checked.
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
