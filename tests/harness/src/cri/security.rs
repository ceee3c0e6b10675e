//! `securityContext` of a container, as the kubelet resolves it.

use std::path::PathBuf;

use super::Order;
use crate::api::cri::security::{Capability, Int64Value, ProfileType, SecurityProfile, SupplementalGroupsPolicy};

/// `seccompProfile`: the requested filter of system calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seccomp {
    /// The runtime's own.
    RuntimeDefault,
    /// None.
    Unconfined,
    /// The one in this file of the node.
    Localhost(PathBuf),
}

/// `appArmorProfile`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AppArmor {
    /// The runtime's own.
    RuntimeDefault,
    /// None.
    Unconfined,
    /// The one of this name, which the node has loaded.
    Localhost(String),
}

fn profile(kind: ProfileType, of_node: &str) -> Option<SecurityProfile> {
    Some(SecurityProfile { profile_type: kind.into(), localhost_ref: of_node.to_owned() })
}

/// A number that is sent even if it is 0.
fn number(value: u64) -> Option<Int64Value> {
    Some(Int64Value { value: value.cast_signed() })
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

impl Order<'_, '_> {
    /// `runAsUser`, `runAsGroup`.
    #[must_use]
    pub fn user(self, uid: u64, gid: u64) -> Self {
        self.user_alone(uid).group_alone(gid)
    }

    /// `runAsUser` without `runAsGroup`.
    #[must_use]
    pub fn user_alone(mut self, uid: u64) -> Self {
        self.security.run_as_user = number(uid);
        self
    }

    /// `runAsGroup` without `runAsUser`.
    #[must_use]
    pub fn group_alone(mut self, gid: u64) -> Self {
        self.security.run_as_group = number(gid);
        self
    }

    /// A user by the name that the image's `/etc/passwd` has for it.
    #[must_use]
    pub fn username(mut self, name: &str) -> Self {
        self.security.run_as_username = name.to_owned();
        self
    }

    /// `supplementalGroups` and `fsGroup`: the kubelet sends both as this.
    #[must_use]
    pub fn group(mut self, gid: u64) -> Self {
        self.security.supplemental_groups.push(gid.cast_signed());
        self
    }

    /// `supplementalGroupsPolicy: Strict`: without the groups that the image's `/etc/group` puts the user into.
    #[must_use]
    pub fn strict_groups(mut self) -> Self {
        self.security.supplemental_groups_policy = SupplementalGroupsPolicy::Strict.into();
        self
    }

    /// `readOnlyRootFilesystem`.
    #[must_use]
    pub fn read_only(mut self) -> Self {
        self.security.readonly_rootfs = true;
        self
    }

    /// `allowPrivilegeEscalation: false`.
    #[must_use]
    pub fn no_escalation(mut self) -> Self {
        self.security.no_new_privs = true;
        self
    }

    /// `privileged`.
    #[must_use]
    pub fn privileged(mut self) -> Self {
        self.security.privileged = true;
        self
    }

    /// `seccompProfile`.
    #[must_use]
    pub fn seccomp(mut self, asked: Seccomp) -> Self {
        self.security.seccomp = match asked {
            Seccomp::RuntimeDefault => profile(ProfileType::RuntimeDefault, ""),
            Seccomp::Unconfined => profile(ProfileType::Unconfined, ""),
            Seccomp::Localhost(file) => profile(ProfileType::Localhost, &file.display().to_string()),
        };
        self
    }

    /// `appArmorProfile`.
    #[must_use]
    pub fn apparmor(mut self, asked: &AppArmor) -> Self {
        self.security.apparmor = match asked {
            AppArmor::RuntimeDefault => profile(ProfileType::RuntimeDefault, ""),
            AppArmor::Unconfined => profile(ProfileType::Unconfined, ""),
            AppArmor::Localhost(name) => profile(ProfileType::Localhost, name),
        };
        self
    }

    /// `capabilities`.
    #[must_use]
    pub fn capabilities(mut self, add: &[&str], drop: &[&str]) -> Self {
        let capabilities = Capability { add_capabilities: words(add), drop_capabilities: words(drop) };
        self.security.capabilities = Some(capabilities);
        self
    }

    /// Paths that appear empty to the container.
    #[must_use]
    pub fn masked<'w>(mut self, paths: impl IntoIterator<Item = &'w str>) -> Self {
        self.security.masked_paths.extend(paths.into_iter().map(str::to_owned));
        self
    }

    /// Paths that the container may only read.
    #[must_use]
    pub fn readonly_paths<'w>(mut self, paths: impl IntoIterator<Item = &'w str>) -> Self {
        self.security.readonly_paths.extend(paths.into_iter().map(str::to_owned));
        self
    }

    /// The masked and read-only paths that the kubelet sends with `procMount: Default`.
    #[must_use]
    pub fn default_paths(self) -> Self {
        self.masked([
            "/proc/asound",
            "/proc/acpi",
            "/proc/interrupts",
            "/proc/kcore",
            "/proc/keys",
            "/proc/latency_stats",
            "/proc/timer_list",
            "/proc/timer_stats",
            "/proc/sched_debug",
            "/proc/scsi",
            "/sys/firmware",
            "/sys/devices/virtual/powercap",
        ])
        .readonly_paths(["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"])
    }
}
