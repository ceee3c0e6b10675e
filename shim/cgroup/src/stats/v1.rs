//! cgroup v1's figures. The fields' numbers and units are containerd's (cgroups/cgroup1/stats/metrics.proto), and their names are
//! the kernel's keys, unless a comment gives another name.

use std::fs;
use std::io::Result;
use std::path::Path;

use catamaran_host::wire::Message;

use super::file::Folder;
use crate::error::{self, Doing};

/// `cpuacct.stat` counts in ticks of USER_HZ, which is 100 on every architecture that containers run on.
const NANOSECONDS_A_TICK: u64 = 10_000_000;
const DEVICES: &str = "/proc/partitions";

/// `Metrics`: the figures of all controllers of a container, each in its own folder.
pub(crate) fn metrics<'a>(folder: &dyn Fn(&str) -> Option<&'a Path>) -> error::Result<Message> {
    let of = |controller: &str| folder(controller).map(|path| Folder { path, unlimited: 0 });
    read(&of).doing(|| "reading what the container has used".to_owned())
}

fn read<'a>(of: &dyn Fn(&str) -> Option<Folder<'a>>) -> Result<Message> {
    let mut all = Message::default();
    if let Some(folder) = of("hugetlb") {
        hugetlb(folder, &mut all)?;
    }
    if let Some(folder) = of("pids")
        && let Some(current) = folder.number("pids.current")?
    {
        let mut pids = Message::default();
        pids.number(1, current);
        pids.number(2, folder.number_or_zero("pids.max")?);
        all.part(2, &pids);
    }
    all.part(3, &cpu(of("cpu"), of("cpuacct"))?);
    if let Some(folder) = of("memory") {
        if let Some(memory) = memory(folder)? {
            all.part(4, &memory);
        }
        if let Some(control) = oom_control(folder)? {
            all.part(9, &control);
        }
    }
    if let Some(folder) = of("blkio") {
        all.part(5, &blkio(folder)?);
    }
    Ok(all)
}

/// `CPUStat`, which is always there, as with containerd's shim.
fn cpu(cpu: Option<Folder<'_>>, cpuacct: Option<Folder<'_>>) -> Result<Message> {
    let (mut usage, mut throttle) = (Message::default(), Message::default());
    if let Some(folder) = cpuacct {
        usage.number(1, folder.number_or_zero("cpuacct.usage")?);
        folder.lines("cpuacct.stat", |name, ticks| match name {
            "system" => usage.number(2, ticks.saturating_mul(NANOSECONDS_A_TICK)),
            "user" => usage.number(3, ticks.saturating_mul(NANOSECONDS_A_TICK)),
            _ => {}
        })?;
        usage.numbers(4, &folder.numbers("cpuacct.usage_percpu")?);
    }
    if let Some(folder) = cpu {
        let told = folder.message("cpu.stat", |name| {
            Some(match name {
                "nr_periods" => 1,
                "nr_throttled" => 2,
                "throttled_time" => 3,
                _ => return None,
            })
        })?;
        throttle = told.unwrap_or_default();
    }
    let mut stat = Message::default();
    stat.part(1, &usage);
    stat.part(2, &throttle);
    Ok(stat)
}

/// `MemoryStat`.
fn memory(folder: Folder<'_>) -> Result<Option<Message>> {
    let Some(mut stat) = folder.message("memory.stat", field)? else { return Ok(None) };
    stat.part(33, &entry(folder, "memory")?);
    stat.part(34, &entry(folder, "memory.memsw")?);
    stat.part(35, &entry(folder, "memory.kmem")?);
    stat.part(36, &entry(folder, "memory.kmem.tcp")?);
    Ok(Some(stat))
}

/// Returns the field for a key of `memory.stat`; None if it has none.
fn field(name: &str) -> Option<u32> {
    Some(match name {
        "cache" => 1,
        "rss" => 2,
        "rss_huge" => 3,
        "mapped_file" => 4,
        "dirty" => 5,
        "writeback" => 6,
        "pgpgin" => 7,
        "pgpgout" => 8,
        "pgfault" => 9,
        "pgmajfault" => 10,
        "inactive_anon" => 11,
        "active_anon" => 12,
        "inactive_file" => 13,
        "active_file" => 14,
        "unevictable" => 15,
        "hierarchical_memory_limit" => 16,
        "hierarchical_memsw_limit" => 17,
        "total_cache" => 18,
        "total_rss" => 19,
        "total_rss_huge" => 20,
        "total_mapped_file" => 21,
        "total_dirty" => 22,
        "total_writeback" => 23,
        "total_pgpgin" => 24,
        "total_pgpgout" => 25,
        "total_pgfault" => 26,
        "total_pgmajfault" => 27,
        "total_inactive_anon" => 28,
        "total_active_anon" => 29,
        "total_inactive_file" => 30,
        "total_active_file" => 31,
        "total_unevictable" => 32,
        _ => return None,
    })
}

/// `MemoryEntry`, one of the four accounts of memory: of all, with swap, the kernel's, and its TCP buffers.
fn entry(folder: Folder<'_>, account: &str) -> Result<Message> {
    let mut entry = Message::default();
    for (field, what) in [(1, "limit_in_bytes"), (2, "usage_in_bytes"), (3, "max_usage_in_bytes"), (4, "failcnt")] {
        entry.number(field, folder.number_or_zero(&format!("{account}.{what}"))?);
    }
    Ok(entry)
}

/// `MemoryOomControl`.
fn oom_control(folder: Folder<'_>) -> Result<Option<Message>> {
    folder.message("memory.oom_control", |name| {
        Some(match name {
            "oom_kill_disable" => 1,
            "under_oom" => 2,
            "oom_kill" => 3,
            _ => return None,
        })
    })
}

/// `BlkIOStat`: reads and writes of devices. The fields have CFQ's names, and kernels that this shim runs on have no CFQ:
/// containerd's shim then fills two of them from the throttling layer, which counts for every scheduler.
fn blkio(folder: Folder<'_>) -> Result<Message> {
    let mut stat = Message::default();
    let partitions = fs::read_to_string(DEVICES)?;
    for (field, file) in [(1, "blkio.throttle.io_service_bytes"), (2, "blkio.throttle.io_serviced")] {
        for entry in entries(folder, file, &partitions)? {
            stat.part(field, &entry);
        }
    }
    Ok(stat)
}

/// `BlkIOEntry`s, from lines such as `254:0 Read 4096`; a sum at the end, without a device, is left out.
fn entries(folder: Folder<'_>, file: &str, partitions: &str) -> Result<Vec<Message>> {
    let text = folder.text(file)?.unwrap_or_default();
    let mut found = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with("Total")) {
        let words: Vec<&str> = line.split([' ', ':']).collect();
        let number = |word: &str| word.parse::<u64>().map_err(|_| folder.strange(file, line));
        let (major, minor, op, value) = match words[..] {
            [major, minor, op, value] => (number(major)?, number(minor)?, op, number(value)?),
            [major, minor, value] => (number(major)?, number(minor)?, "", number(value)?),
            _ => return Err(folder.strange(file, line)),
        };
        let mut entry = Message::default();
        entry.text(1, op);
        entry.text(2, &device(partitions, major, minor));
        entry.number(3, major);
        entry.number(4, minor);
        entry.number(5, value);
        found.push(entry);
    }
    Ok(found)
}

/// Returns the path of one of the host's block devices, from proc(5)'s `/proc/partitions`: major, minor, blocks, name. Empty if
/// the host does not have the device any more.
fn device(partitions: &str, major: u64, minor: u64) -> String {
    let name = |line: &str| {
        let mut words = line.split_whitespace();
        let mut is = |number: u64| words.next().and_then(|word| word.parse().ok()) == Some(number);
        (is(major) && is(minor)).then(|| format!("/dev/{}", words.nth(1).unwrap_or_default()))
    };
    partitions.lines().find_map(name).unwrap_or_default()
}

/// `HugetlbStat`s.
fn hugetlb(folder: Folder<'_>, all: &mut Message) -> Result<()> {
    for size in folder.named("hugetlb.", ".usage_in_bytes")? {
        let mut stat = Message::default();
        for (field, what) in [(1, "usage_in_bytes"), (2, "max_usage_in_bytes"), (3, "failcnt")] {
            stat.number(field, folder.number_or_zero(&format!("hugetlb.{size}.{what}"))?);
        }
        stat.text(4, &size);
        all.part(1, &stat);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
