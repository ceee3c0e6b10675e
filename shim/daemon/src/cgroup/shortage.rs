//! Which limit it was when what a container was started with is gone without a word.

use std::fs;
use std::path::Path;

use super::write::Place;
use super::{Cgroup, Kind};
use crate::error::Error;

/// v1 writes no limit as the largest number of whole pages.
const NO_LIMIT: u64 = 1 << 62;

impl Cgroup {
    /// The failure of what was started in it; that the kernel killed it because memory ran out is said too, and where the
    /// least limit is: the container's, or one of a cgroup above, such as its pod's.
    pub(crate) fn explain(&self, e: Error) -> Error {
        match (e, self.folder("memory")) {
            (Error::Worker(text), Some(folder)) => {
                let v1 = matches!(self.kind, Kind::V1(_));
                Error::Worker(shortage(folder, v1).map_or_else(|| text.clone(), |why| format!("{text}: {why}")))
            }
            (e, _) => e,
        }
    }
}

fn shortage(folder: &Path, v1: bool) -> Option<String> {
    let (counter, limit) =
        if v1 { ("memory.oom_control", "memory.limit_in_bytes") } else { ("memory.events", "memory.max") };
    let counts = fs::read_to_string(folder.join(counter)).ok()?;
    let kills: u64 = counts.lines().find_map(|line| line.strip_prefix("oom_kill "))?.trim().parse().ok()?;
    if kills == 0 {
        return None;
    }
    let of = |folder: &Path| {
        let file = folder.join(limit);
        let bytes: u64 = fs::read_to_string(&file).ok()?.trim().parse().ok()?;
        (bytes < NO_LIMIT).then_some((bytes, file))
    };
    let least = folder.ancestors().filter_map(of).min_by_key(|(bytes, _)| *bytes);
    Some(match least {
        Some((bytes, file)) => format!(
            "the kernel killed it because memory ran out: {} allows {bytes} bytes, and a worker needs some of them before its guest begins",
            file.display()
        ),
        None => "the kernel killed it because the host's memory ran out".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_limit_is_named_where_the_kernel_has_killed() {
        let pod = std::env::temp_dir().join(format!("catamaran-shortage-{}", std::process::id()));
        let own = pod.join("container");
        fs::create_dir_all(&own).unwrap();
        let put = |folder: &Path, file: &str, text: &str| fs::write(folder.join(file), text).unwrap();
        put(&own, "memory.max", "max\n");
        put(&pod, "memory.max", "65536\n");
        put(&own, "memory.events", "max 3\noom 1\noom_kill 0\n");
        assert_eq!(shortage(&own, false), None);
        put(&own, "memory.events", "max 3\noom 1\noom_kill 1\n");
        let text = shortage(&own, false).unwrap();
        assert!(text.contains(&format!("{}/memory.max allows 65536 bytes", pod.display())), "{text}");
        put(&own, "memory.limit_in_bytes", "9223372036854771712\n");
        put(&own, "memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n");
        assert!(shortage(&own, true).unwrap().contains("the host's memory ran out"));
        fs::remove_dir_all(&pod).unwrap();
    }
}
