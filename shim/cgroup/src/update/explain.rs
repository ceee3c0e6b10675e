//! Explains to the user why the kernel refuses a value of an Update, and which values it takes.

use std::fs;
use std::io;
use std::path::Path;

use nix::libc;

use super::super::limits::Setting;
use super::super::write::is_refusal;
use super::step::Step;
use crate::error::Error;

/// Returns the place of a value of an Update, for an error.
pub(crate) fn place(setting: &Setting) -> String {
    format!("Update: linux.resources.{}", setting.key)
}

/// Returns the error for a step that the kernel refused, with the values that it would take. `left` ends the text.
pub(crate) fn refusal(step: &Step, e: &io::Error, left: &str) -> Error {
    if !is_refusal(e) {
        let doing = format!("{}: writing {} to {}", place(&step.setting), step.setting.value, step.path.display());
        return catamaran_host::Error::System { doing, source: io::Error::other(format!("{e}{left}")) }.into();
    }
    let folder = step.path.parent().unwrap_or(Path::new("/"));
    let (file, value) = (step.setting.file.as_str(), step.setting.value.as_str());
    let expected = match (e.raw_os_error(), file) {
        (Some(libc::EBUSY), "memory.limit_in_bytes" | "memory.memsw.limit_in_bytes") => {
            let used = file.replace("limit_in", "usage_in");
            let expected = format!(
                "more than the {} bytes that it uses ({used}): the kernel could not take back so much",
                number(folder, &used).map_or("?".to_owned(), |n| n.to_string()),
            );
            // A right value, but not now.
            let (place, found) = (place(&step.setting), value.to_owned());
            return Error::unavailable(place, found, expected + left);
        }
        (Some(libc::EINVAL), "memory.limit_in_bytes") => number(folder, "memory.memsw.limit_in_bytes").map(|both| {
            format!("{both} or less, which memory and swap together are limited to, or memory.swap beside it, for both")
        }),
        (Some(libc::EINVAL), "memory.memsw.limit_in_bytes") => number(folder, "memory.limit_in_bytes")
            .map(|limit| format!("memory and swap together, {limit} (memory.limit) or more")),
        (Some(libc::EINVAL), "cpu.cfs_quota_us" | "cpu.cfs_period_us") => share_above(folder),
        (Some(libc::EINVAL), "cpu.max") => Some("a quota of 1000 or more, and a period of 1000 to 1000000".to_owned()),
        (Some(libc::EINVAL), "cpu.cfs_burst_us" | "cpu.max.burst") => Some("the quota, or less".to_owned()),
        (Some(libc::EINVAL), "cpu.shares" | "cpu.weight") if number(folder, "cpu.idle") == Some(1) => {
            Some("none beside cpu.idle 1, which is set".to_owned())
        }
        (Some(libc::EACCES | libc::EINVAL | libc::ENOSPC), "cpuset.cpus" | "cpuset.mems") => {
            let above = folder.parent().and_then(|above| fs::read_to_string(above.join(file)).ok());
            above.map(|all| format!("some of those of the cgroup above, {}", all.trim()))
        }
        _ => None,
    };
    let expected = expected.unwrap_or_else(|| format!("a value that {file} takes"));
    Error::refused(place(&step.setting), value, format!("{expected} ({e}){left}"))
}

fn number(folder: &Path, file: &str) -> Option<u64> {
    fs::read_to_string(folder.join(file)).ok()?.trim().parse().ok()
}

/// Describes the least share of the processors that a cgroup above has, on v1: no cgroup below may exceed it.
fn share_above(folder: &Path) -> Option<String> {
    let limited = |above: &Path| {
        let (quota, period) = (number(above, "cpu.cfs_quota_us")?, number(above, "cpu.cfs_period_us")?);
        Some((quota, period, above.to_owned()))
    };
    // A quota of -1, which is no limit, does not parse as a number here.
    let least = folder
        .ancestors()
        .skip(1)
        .filter_map(limited)
        .min_by_key(|(quota, period, _)| quota.saturating_mul(1_000_000) / (*period).max(1));
    Some(match least {
        Some((quota, period, above)) => format!(
            "a quota of 1000 or more, and a share of the period of no more than {quota} in {period}, which {} has",
            above.display()
        ),
        None => "a quota of 1000 or more, and a period of 1000 to 1000000".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::limits::Missing;
    use super::super::step::Before;
    use super::*;

    fn told(folder: &Path, file: &str, errno: i32) -> String {
        let (key, file, value) = ("a.b".to_owned(), file.to_owned(), "7".to_owned());
        let path = folder.join(&file);
        let setting = Setting { key, file, value, missing: Missing::Refused };
        let step = Step { setting, path, before: Before::Nothing };
        refusal(&step, &io::Error::from_raw_os_error(errno), "; END").to_string()
    }

    #[test]
    fn a_refusal_names_the_accepted_values() {
        let above = std::env::temp_dir().join(format!("catamaran-explain-{}", std::process::id()));
        let own = above.join("own");
        fs::create_dir_all(&own).unwrap();
        for (folder, file, text) in [
            (&own, "memory.usage_in_bytes", "4096\n"),
            (&own, "memory.limit_in_bytes", "8192\n"),
            (&own, "memory.memsw.limit_in_bytes", "16384\n"),
            (&own, "cpu.idle", "1\n"),
            (&above, "cpu.cfs_quota_us", "50000\n"),
            (&above, "cpu.cfs_period_us", "100000\n"),
            (&above, "cpuset.cpus", "0-3\n"),
        ] {
            fs::write(folder.join(file), text).unwrap();
        }
        for (file, errno, words) in [
            ("memory.limit_in_bytes", libc::EBUSY, "more than the 4096 bytes that it uses (memory.usage_in_bytes)"),
            ("memory.limit_in_bytes", libc::EINVAL, "16384 or less, which memory and swap together"),
            ("memory.memsw.limit_in_bytes", libc::EINVAL, "together, 8192 (memory.limit) or more"),
            ("cpu.cfs_quota_us", libc::EINVAL, "no more than 50000 in 100000, which /"),
            ("cpu.shares", libc::EINVAL, "none beside cpu.idle 1"),
            ("cpuset.cpus", libc::EACCES, "some of those of the cgroup above, 0-3"),
            ("pids.max", libc::EINVAL, "a value that pids.max takes"),
        ] {
            let text = told(&own, file, errno);
            assert!(text.starts_with("Update: linux.resources.a.b: 7: ") && text.ends_with("; END"), "{text}");
            assert!(text.contains(words), "{text}");
        }
        let text = told(&own, "pids.max", libc::EIO);
        assert!(text.starts_with("Update: linux.resources.a.b: writing 7 to /") && text.ends_with("; END"), "{text}");
        fs::remove_dir_all(&above).unwrap();
    }
}
