//! `securityContext` of a container, as the kubelet resolves it.

use std::path::PathBuf;

use super::Order;
use crate::wire::Message;

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

/// `SecurityProfile`.
fn profile(kind: u64, file: &str) -> Message {
    Message::new().number(1, kind).bytes(2, file)
}

/// `Int64Value`: present even if it is 0.
fn number(value: u64) -> Message {
    Message::new().number(1, value)
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
        self.security = self.security.message(5, number(uid));
        self
    }

    /// `runAsGroup` without `runAsUser`.
    #[must_use]
    pub fn group_alone(mut self, gid: u64) -> Self {
        self.security = self.security.message(12, number(gid));
        self
    }

    /// A user by the name that the image's `/etc/passwd` has for it.
    #[must_use]
    pub fn username(mut self, name: &str) -> Self {
        self.security = self.security.bytes(6, name);
        self
    }

    /// `supplementalGroups` and `fsGroup`: the kubelet sends both as this.
    #[must_use]
    pub fn group(mut self, gid: u64) -> Self {
        self.security = self.security.number(8, gid);
        self
    }

    /// `supplementalGroupsPolicy: Strict`: without the groups that the image's `/etc/group` puts the user into.
    #[must_use]
    pub fn strict_groups(mut self) -> Self {
        self.security = self.security.number(17, 1);
        self
    }

    /// `readOnlyRootFilesystem`.
    #[must_use]
    pub fn read_only(mut self) -> Self {
        self.security = self.security.number(7, 1);
        self
    }

    /// `allowPrivilegeEscalation: false`.
    #[must_use]
    pub fn no_escalation(mut self) -> Self {
        self.security = self.security.number(11, 1);
        self
    }

    /// `privileged`.
    #[must_use]
    pub fn privileged(mut self) -> Self {
        self.security = self.security.number(2, 1);
        self
    }

    /// `seccompProfile`.
    #[must_use]
    pub fn seccomp(mut self, asked: Seccomp) -> Self {
        let profile = match asked {
            Seccomp::RuntimeDefault => profile(0, ""),
            Seccomp::Unconfined => profile(1, ""),
            Seccomp::Localhost(file) => profile(2, &file.display().to_string()),
        };
        self.security = self.security.message(15, profile);
        self
    }

    /// `appArmorProfile`.
    #[must_use]
    pub fn apparmor(mut self, asked: &AppArmor) -> Self {
        let profile = match asked {
            AppArmor::RuntimeDefault => profile(0, ""),
            AppArmor::Unconfined => profile(1, ""),
            AppArmor::Localhost(name) => profile(2, name),
        };
        self.security = self.security.message(16, profile);
        self
    }

    /// `capabilities`.
    #[must_use]
    pub fn capabilities(mut self, add: &[&str], drop: &[&str]) -> Self {
        let mut capabilities = Message::new();
        for name in add {
            capabilities = capabilities.bytes(1, name);
        }
        for name in drop {
            capabilities = capabilities.bytes(2, name);
        }
        self.security = self.security.message(1, capabilities);
        self
    }

    /// Paths that appear empty to the container.
    #[must_use]
    pub fn masked<'w>(mut self, paths: impl IntoIterator<Item = &'w str>) -> Self {
        for path in paths {
            self.security = self.security.bytes(13, path);
        }
        self
    }

    /// Paths that the container may only read.
    #[must_use]
    pub fn readonly_paths<'w>(mut self, paths: impl IntoIterator<Item = &'w str>) -> Self {
        for path in paths {
            self.security = self.security.bytes(14, path);
        }
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
