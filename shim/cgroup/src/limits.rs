//! A spec's limits as a table of values for the kernel's files, made without looking at the host. `v1` and `v2` fill the table;
//! this module holds what both have in common.
//!
//! The values mean what they mean to runc: 0 is «not set» for every limit but a huge page's, and -1 is «no limit».

use std::fmt;

use oci_spec::runtime::{LinuxCpu, LinuxHugepageLimit, LinuxPids, LinuxRdma};

use crate::error::{Error, Result};

/// One value for one file of the container's cgroup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Setting {
    /// The key of the spec, below `linux.resources`.
    pub(crate) key: String,
    /// The file's name, which begins with its controller's, up to the first dot.
    pub(crate) file: String,
    pub(crate) value: String,
    pub(crate) missing: Missing,
}

/// The treatment of a missing file: the host lacks its controller, or the kernel is too old for it or built without it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Missing {
    /// The host cannot meet the spec: an error.
    Refused,
    /// The value holds without the file too.
    Passed,
    /// Another file has the same limit.
    Instead(Box<Setting>),
}

impl Setting {
    pub(crate) fn controller(&self) -> &str {
        self.file.split('.').next().unwrap_or_default()
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.file, self.value)
    }
}

/// A limit of bytes, microseconds or processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limit {
    Unlimited,
    Of(u64),
}

impl Limit {
    /// Reads a `value` of the spec; None for 0.
    pub(crate) fn parse(key: &str, value: Option<i64>) -> Result<Option<Self>> {
        match value.unwrap_or(0) {
            0 => Ok(None),
            -1 => Ok(Some(Limit::Unlimited)),
            n => match u64::try_from(n) {
                Ok(n) => Ok(Some(Limit::Of(n))),
                Err(_) => Err(refused(key, n.to_string(), "a number above 0, or -1 for no limit")),
            },
        }
    }
}

pub(crate) fn refused(key: &str, found: impl Into<String>, expected: impl Into<String>) -> Error {
    Error::refused(format!("config.json: linux.resources.{key}"), found, expected)
}

/// A table in the making, in the order in which it is written.
#[derive(Default)]
pub(crate) struct Table(pub(crate) Vec<Setting>);

impl Table {
    /// Adds a value that the container must have.
    pub(crate) fn must(&mut self, key: impl Into<String>, file: impl Into<String>, value: impl ToString) {
        self.put(key, file, value, Missing::Refused);
    }

    /// Adds a value that limits nothing, or that is the kernel's default.
    pub(crate) fn may(&mut self, key: impl Into<String>, file: impl Into<String>, value: impl ToString) {
        self.put(key, file, value, Missing::Passed);
    }

    /// Adds a value by [`Table::may`] if `harmless`, else by [`Table::must`].
    pub(crate) fn add(&mut self, key: &str, file: &str, value: impl ToString, harmless: bool) {
        self.put(key, file, value, if harmless { Missing::Passed } else { Missing::Refused });
    }

    pub(crate) fn put(
        &mut self,
        key: impl Into<String>,
        file: impl Into<String>,
        value: impl ToString,
        missing: Missing,
    ) {
        self.0.push(Setting { key: key.into(), file: file.into(), value: value.to_string(), missing });
    }

    /// Adds `cpus` and `mems`, whose files have the same names on v1 and v2.
    pub(crate) fn cpuset(&mut self, cpu: &LinuxCpu) {
        for (key, file, list) in [("cpu.cpus", "cpuset.cpus", cpu.cpus()), ("cpu.mems", "cpuset.mems", cpu.mems())] {
            if let Some(list) = list.as_ref().filter(|list| !list.is_empty()) {
                self.must(key, file, list);
            }
        }
    }

    /// Adds `idle`, after the weight, because the kernel takes no weight from an idle cgroup.
    pub(crate) fn idle(&mut self, cpu: &LinuxCpu) -> Result<()> {
        match cpu.idle() {
            None => {}
            Some(idle @ (0 | 1)) => self.add("cpu.idle", "cpu.idle", idle, idle == 0),
            Some(other) => return Err(refused("cpu.idle", other.to_string(), "0 or 1")),
        }
        Ok(())
    }

    /// Adds the limit of processes. 0 means a limit that is missing: the bundle makes 1 of a written 0.
    pub(crate) fn pids(&mut self, pids: &LinuxPids) -> Result<()> {
        match Limit::parse("pids.limit", Some(pids.limit()))? {
            None => {}
            Some(Limit::Unlimited) => self.may("pids.limit", "pids.max", "max"),
            Some(Limit::Of(n)) => self.must("pids.limit", "pids.max", n),
        }
        Ok(())
    }

    /// Limits huge pages in use and, if the kernel counts them, reserved ones, as runc does. A limit of 0, which a kubelet writes
    /// for every size that a pod does not ask for, holds without the controller too: a worker uses no huge pages of this kind.
    pub(crate) fn hugepages(&mut self, limits: &[LinuxHugepageLimit], suffix: &str) -> Result<()> {
        for (index, limit) in limits.iter().enumerate() {
            let key = format!("hugepageLimits[{index}]");
            let (size, bytes) = (limit.page_size(), limit.limit());
            if !is_page_size(size) {
                return Err(refused(
                    &format!("{key}.pageSize"),
                    format!("{size:?}"),
                    "a size such as 64KB, 2MB or 1GB",
                ));
            }
            if bytes < 0 {
                return Err(refused(&format!("{key}.limit"), bytes.to_string(), "a number of bytes"));
            }
            self.add(&format!("{key}.limit"), &format!("hugetlb.{size}.{suffix}"), bytes, bytes == 0);
            self.may(format!("{key}.limit"), format!("hugetlb.{size}.rsvd.{suffix}"), bytes);
        }
        Ok(())
    }

    /// Limits RDMA devices, in the order of their names, so that the same spec is always written in the same way.
    pub(crate) fn rdma<'a>(&mut self, limits: impl Iterator<Item = (&'a String, &'a LinuxRdma)>) -> Result<()> {
        let mut limits: Vec<_> = limits.collect();
        limits.sort_by_key(|(device, _)| *device);
        for (device, limit) in limits {
            let key = format!("rdma[{device}]");
            if device.is_empty() || device.contains(char::is_whitespace) {
                return Err(refused("rdma", format!("device {device:?}"), "the name of an RDMA device"));
            }
            let mut value = device.clone();
            for (word, number) in [("hca_handle", limit.hca_handles()), ("hca_object", limit.hca_objects())] {
                if let Some(number) = number {
                    value.push_str(&format!(" {word}={number}"));
                }
            }
            if value == *device {
                return Err(refused(&key, "neither of them", "hcaHandles, hcaObjects or both"));
            }
            self.must(key, "rdma.max", value);
        }
        Ok(())
    }
}

/// Whether a text is a page size: it becomes part of a file's name.
fn is_page_size(size: &str) -> bool {
    let number = ["KB", "MB", "GB"].iter().find_map(|unit| size.strip_suffix(unit));
    number.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

/// Writes a device's numbers and its limit, as the kernel's block files take them.
pub(crate) fn for_device(key: &str, major: i64, minor: i64, rest: &str) -> Result<String> {
    if major < 0 || minor < 0 {
        return Err(refused(key, format!("device {major}:{minor}"), "the numbers of a block device"));
    }
    Ok(format!("{major}:{minor} {rest}"))
}

#[cfg(test)]
pub(crate) fn written(settings: &[Setting]) -> Vec<String> {
    let line = |setting: &Setting| match &setting.missing {
        Missing::Refused => setting.to_string(),
        Missing::Passed => format!("{setting} (or nothing)"),
        Missing::Instead(other) => format!("{setting} or {other}"),
    };
    settings.iter().map(line).collect()
}

/// Reads a spec's resources from JSON.
#[cfg(test)]
pub(crate) fn resources(json: serde_json::Value) -> oci_spec::runtime::LinuxResources {
    serde_json::from_value(json).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_sizes_are_checked() {
        assert!(["64KB", "2MB", "1GB"].iter().all(|size| is_page_size(size)));
        assert!(["", "MB", "2M", "../2MB", "2MB/", "2 MB", "-2MB"].iter().all(|size| !is_page_size(size)));
    }

    #[test]
    fn limits_are_read() {
        assert_eq!(Limit::parse("a", None).unwrap(), None);
        assert_eq!(Limit::parse("a", Some(0)).unwrap(), None);
        assert_eq!(Limit::parse("a", Some(-1)).unwrap(), Some(Limit::Unlimited));
        assert_eq!(Limit::parse("a", Some(5)).unwrap(), Some(Limit::Of(5)));
        let text = Limit::parse("memory.limit", Some(-2)).unwrap_err().to_string();
        assert!(text.contains("linux.resources.memory.limit: -2"), "{text}");
    }

    #[test]
    fn rdma_limits_are_one_line_a_device() {
        let mut table = Table::default();
        let spec = resources(serde_json::json!({"rdma": {
            "mlx5_1": {"hcaHandles": 3, "hcaObjects": 10000}, "mlx4_0": {"hcaObjects": 1000}}}));
        table.rdma(spec.rdma().iter().flatten()).unwrap();
        let expected = ["rdma.max=mlx4_0 hca_object=1000", "rdma.max=mlx5_1 hca_handle=3 hca_object=10000"];
        assert_eq!(written(&table.0), expected);
        for bad in [serde_json::json!({"a b": {"hcaHandles": 3}}), serde_json::json!({"a": {}})] {
            let spec = resources(serde_json::json!({ "rdma": bad }));
            assert!(Table::default().rdma(spec.rdma().iter().flatten()).is_err());
        }
    }
}
