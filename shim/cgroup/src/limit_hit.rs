//! Explains a worker that died silently while it was started: which limit of a cgroup it hit.

use std::fs;
use std::path::Path;

use super::write::Controllers;
use super::{Cgroup, Kind};

/// v1 shows "no limit" as the largest number of whole pages.
const NO_LIMIT: u64 = 1 << 62;

impl Cgroup {
    /// Says that the kernel killed a process in the cgroup because memory ran out, and names the least limit, the container's or
    /// that of a cgroup above, such as its pod's. None if the kernel killed nothing.
    pub fn limit_hit(&self) -> Option<String> {
        let (folder, Some(1..)) = (self.folder("memory")?, self.kills().ok()?) else { return None };
        let limit = if matches!(self.kind, Kind::V1(_)) { "memory.limit_in_bytes" } else { "memory.max" };
        Some(describe(folder, limit))
    }
}

fn describe(folder: &Path, limit: &str) -> String {
    let of = |folder: &Path| {
        let file = folder.join(limit);
        let bytes: u64 = fs::read_to_string(&file).ok()?.trim().parse().ok()?;
        (bytes < NO_LIMIT).then_some((bytes, file))
    };
    let least = folder.ancestors().filter_map(of).min_by_key(|(bytes, _)| *bytes);
    match least {
        Some((bytes, file)) => {
            let key = if file.parent() == Some(folder) { " (linux.resources.memory.limit)" } else { "" };
            format!(
                "the kernel killed it because memory ran out: {} allows {bytes} bytes{key}, and a worker needs some of them \
                 before its guest begins",
                file.display()
            )
        }
        None => "the kernel killed it because the host's memory ran out".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_limit_is_named_even_of_a_cgroup_above() {
        let pod = std::env::temp_dir().join(format!("catamaran-limit-{}", std::process::id()));
        let own = pod.join("container");
        fs::create_dir_all(&own).unwrap();
        let put = |folder: &Path, file: &str, text: &str| fs::write(folder.join(file), text).unwrap();
        put(&own, "memory.max", "max\n");
        put(&pod, "memory.max", "65536\n");
        let text = describe(&own, "memory.max");
        assert!(text.contains(&format!("{}/memory.max allows 65536 bytes", pod.display())), "{text}");
        put(&own, "memory.limit_in_bytes", "9223372036854771712\n");
        assert!(describe(&own, "memory.limit_in_bytes").contains("the host's memory ran out"));
        fs::remove_dir_all(&pod).unwrap();
    }
}
