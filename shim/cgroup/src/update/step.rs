//! One value for one file, with the value that sets it back.

use std::path::PathBuf;

use super::super::limits::Setting;

/// A value to write, and the file's value before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) setting: Setting,
    pub(crate) path: PathBuf,
    pub(crate) before: Before,
}

/// The present content of a file, as far as a setting is about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Before {
    /// Writing this value restores the content.
    Value(String),
    /// The content has a form that is not known here.
    Unknown,
    /// The file cannot be read, and has no limit that could be set back.
    Nothing,
}

impl Before {
    /// Finds the value that `setting` sets in a file's `text`.
    pub(crate) fn new(setting: &Setting, text: Option<&str>) -> Self {
        let Some(text) = text else { return Self::Nothing };
        let value = match (setting.file.as_str(), target(setting)) {
            ("memory.oom_control", _) => {
                text.lines().find_map(|line| line.strip_prefix("oom_kill_disable ")).map(str::to_owned)
            }
            (_, Some(target)) => {
                let mut lines = text.lines().filter(|line| line.split_whitespace().next() == Some(target));
                lines.next().map(|line| line.trim().to_owned()).or_else(|| none(&setting.file, target))
            }
            (_, None) => whole(text),
        };
        value.map_or(Self::Unknown, Self::Value)
    }
}

/// Returns the device or interface that a value is for; None if it is for the whole file.
fn target(setting: &Setting) -> Option<&str> {
    let (first, _) = setting.value.split_once(' ')?;
    (!setting.file.starts_with("cpu.") && !setting.file.starts_with("cpuset.") && first != "default").then_some(first)
}

/// Whether a value is for its whole file, so that the last one counts.
pub(crate) fn is_whole(setting: &Setting) -> bool {
    target(setting).is_none()
}

/// Reads a file of one value, or one of weights, of which the first is the default.
fn whole(text: &str) -> Option<String> {
    match text.lines().collect::<Vec<_>>()[..] {
        // v2's cpuset files are empty if the cgroup above decides. A newline, because writing no bytes writes nothing.
        [] => Some("\n".to_owned()),
        [line] if line.trim().is_empty() => Some("\n".to_owned()),
        [line] => Some(line.trim().to_owned()),
        [first, ..] if first.starts_with("default ") => Some(first.to_owned()),
        _ => None,
    }
}

/// Returns the value for a device without a limit.
fn none(file: &str, target: &str) -> Option<String> {
    let rest = match file {
        "io.max" => "rbps=max wbps=max riops=max wiops=max",
        "io.weight" | "io.bfq.weight" | "blkio.bfq.weight_device" => "default",
        "rdma.max" => "hca_handle=max hca_object=max",
        "blkio.weight_device" | "blkio.leaf_weight_device" | "net_prio.ifpriomap" => "0",
        _ if file.starts_with("blkio.throttle.") => "0",
        _ => return None,
    };
    Some(format!("{target} {rest}"))
}

#[cfg(test)]
mod tests {
    use super::super::super::limits::Missing;
    use super::*;

    fn before(file: &str, value: &str, text: &str) -> Before {
        let (file, value) = (file.to_owned(), value.to_owned());
        Before::new(&Setting { key: String::new(), file, value, missing: Missing::Refused }, Some(text))
    }

    #[test]
    fn the_present_value_of_a_limit_is_read_back() {
        for (file, value, text, expected) in [
            ("memory.max", "5", "max\n", "max"),
            ("cpu.max", "5 100000", "max 100000\n", "max 100000"),
            ("cpuset.cpus", "0, 1", "\n", "\n"),
            ("cpuset.cpus", "0", "", "\n"),
            ("cpuset.cpus", "0", "0-1\n", "0-1"),
            ("memory.oom_control", "1", "oom_kill_disable 0\nunder_oom 0\noom_kill 7\n", "0"),
            ("io.weight", "50", "default 100\n8:0 200\n", "default 100"),
            ("io.weight", "8:0 50", "default 100\n8:0 200\n", "8:0 200"),
            ("io.weight", "8:16 50", "default 100\n8:0 200\n", "8:16 default"),
            (
                "io.max",
                "8:0 rbps=7",
                "8:0 rbps=5 wbps=max riops=max wiops=max\n",
                "8:0 rbps=5 wbps=max riops=max wiops=max",
            ),
            ("io.max", "8:16 rbps=7", "", "8:16 rbps=max wbps=max riops=max wiops=max"),
            ("blkio.throttle.read_bps_device", "8:0 7", "8:0 5\n", "8:0 5"),
            ("blkio.throttle.read_bps_device", "8:16 7", "8:0 5\n", "8:16 0"),
            ("net_prio.ifpriomap", "eth0 5", "lo 0\neth0 3\n", "eth0 3"),
            ("rdma.max", "mlx5 hca_handle=1", "mlx5 hca_handle=max hca_object=2\n", "mlx5 hca_handle=max hca_object=2"),
        ] {
            assert_eq!(before(file, value, text), Before::Value(expected.to_owned()), "{file} {value}");
        }
        assert_eq!(before("misc.max", "a 5", "b 7\n"), Before::Unknown);
        assert_eq!(before("some.file", "5", "one\ntwo\n"), Before::Unknown);
    }

    #[test]
    fn a_limit_of_one_device_is_not_the_whole_file() {
        let whole = |file: &str, value: &str| {
            let (file, value) = (file.to_owned(), value.to_owned());
            is_whole(&Setting { key: String::new(), file, value, missing: Missing::Refused })
        };
        assert!(whole("memory.max", "5") && whole("cpu.max", "5 6") && whole("io.weight", "default 5"));
        assert!(!whole("io.max", "8:0 rbps=5") && !whole("rdma.max", "a b=1"));
    }
}
