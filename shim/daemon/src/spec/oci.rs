//! The shim's own types of the OCI runtime spec, for config.json and for an exec's process. All types below these two are oci-spec's.
//!
//! oci-spec's `Spec` and `Process` read `execCPUAffinity`, a key that this shim refuses, with a regular expression. A program that uses
//! either type links the regex engine, and a static program fills in that engine's tables of addresses when it starts: some 220 kB of
//! private memory in every pod. `tests/layering` keeps those two types out of the sources, `tests/integration/tests/spec.rs` keeps the
//! engine out of the program.
//!
//! A key that is missing here is ignored, as is any unknown key. runc gets the original text.

use std::collections::HashMap;
use std::path::PathBuf;

use oci_spec::runtime::{Box as Size, Hooks, Linux, LinuxCapabilities, Mount, PosixRlimit, Root, User};
use serde::Deserialize;
use serde::de::IgnoredAny;

/// Declares a type of the spec with a getter for each field, as oci-spec's types have.
macro_rules! spec_type {
    ($(#[$attribute:meta])* $name:ident { $($(#[$of_field:meta])* $field:ident: $kind:ty,)* }) => {
        $(#[$attribute])*
        #[derive(Debug, Deserialize)]
        #[serde(rename_all = "camelCase")]
        pub(crate) struct $name {
            $($(#[$of_field])* $field: $kind,)*
        }

        #[allow(dead_code, reason = "some keys are read only to refuse those that are malformed")]
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
        // Only the types of these two are checked, because a worker has no capabilities and never gains privileges.
        capabilities: Option<LinuxCapabilities>,
        no_new_privileges: Option<bool>,
        rlimits: Option<Vec<PosixRlimit>>,
        apparmor_profile: Option<String>,
        oom_score_adj: Option<i32>,
        selinux_label: Option<String>,
        // Refused with any value.
        io_priority: Option<IgnoredAny>,
        scheduler: Option<IgnoredAny>,
        #[serde(rename = "execCPUAffinity")]
        exec_cpu_affinity: Option<IgnoredAny>,
    }
}

#[cfg(test)]
mod tests;
