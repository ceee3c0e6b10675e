//! cgroup v2's figures. The fields' numbers and units are containerd's (cgroups/cgroup2/stats/metrics.proto), and their names are
//! the kernel's keys.

use std::io::Result;
use std::path::Path;

use catamaran_host::wire::Message;

use super::file::Folder;
use crate::error::{self, Doing};

/// `Metrics`: the figures of all controllers of a container in its one folder, if it has one. `kills` replaces the kernel's counter
/// if that is gone.
pub(crate) fn metrics(folder: Option<&Path>, kills: u64) -> error::Result<Message> {
    let mut all = Message::default();
    let events = match folder {
        Some(path) => {
            let folder = Folder { path, unlimited: u64::MAX };
            read(folder, &mut all).doing(|| "reading what the container has used".to_owned())?
        }
        None => None,
    };
    if events.is_some() || kills > 0 {
        let counted = || {
            let mut events = Message::default();
            events.number(OOM_KILL, kills);
            events
        };
        all.part(8, &events.unwrap_or_else(counted));
    }
    Ok(all)
}

/// Fills `all`, but returns `MemoryEvents` separately.
fn read(folder: Folder<'_>, all: &mut Message) -> Result<Option<Message>> {
    if let Some(current) = folder.number("pids.current")? {
        let mut pids = Message::default();
        pids.number(1, current);
        pids.number(2, folder.number_or_zero("pids.max")?);
        all.part(1, &pids);
    }
    for (field, part) in [(2, cpu(folder)?), (4, memory(folder)?), (6, io(folder)?)] {
        if let Some(part) = part {
            all.part(field, &part);
        }
    }
    hugetlb(folder, all)?;
    memory_events(folder)
}

/// `CPUStat`.
fn cpu(folder: Folder<'_>) -> Result<Option<Message>> {
    let stat = folder.message("cpu.stat", |name| {
        Some(match name {
            "usage_usec" => 1,
            "user_usec" => 2,
            "system_usec" => 3,
            "nr_periods" => 4,
            "nr_throttled" => 5,
            "throttled_usec" => 6,
            "nr_bursts" => 8,
            "burst_usec" => 9,
            _ => return None,
        })
    })?;
    let found = stat.is_some();
    let mut stat = stat.unwrap_or_default();
    pressure(folder, "cpu.pressure", 7, &mut stat)?;
    Ok(found.then_some(stat))
}

/// `MemoryStat`.
fn memory(folder: Folder<'_>) -> Result<Option<Message>> {
    let Some(mut stat) = folder.message("memory.stat", field)? else { return Ok(None) };
    for (field, file) in [
        (32, "memory.current"),
        (33, "memory.max"),
        (34, "memory.swap.current"),
        (35, "memory.swap.max"),
        (36, "memory.peak"),
        (37, "memory.swap.peak"),
    ] {
        stat.number(field, folder.number_or_zero(file)?);
    }
    pressure(folder, "memory.pressure", 38, &mut stat)?;
    Ok(Some(stat))
}

/// Returns the field for a key of `memory.stat`; None if it has none.
fn field(name: &str) -> Option<u32> {
    Some(match name {
        "anon" => 1,
        "file" => 2,
        "kernel_stack" => 3,
        "slab" => 4,
        "sock" => 5,
        "shmem" => 6,
        "file_mapped" => 7,
        "file_dirty" => 8,
        "file_writeback" => 9,
        "anon_thp" => 10,
        "inactive_anon" => 11,
        "active_anon" => 12,
        "inactive_file" => 13,
        "active_file" => 14,
        "unevictable" => 15,
        "slab_reclaimable" => 16,
        "slab_unreclaimable" => 17,
        "pgfault" => 18,
        "pgmajfault" => 19,
        "workingset_refault" => 20,
        "workingset_activate" => 21,
        "workingset_nodereclaim" => 22,
        "pgrefill" => 23,
        "pgscan" => 24,
        "pgsteal" => 25,
        "pgactivate" => 26,
        "pgdeactivate" => 27,
        "pglazyfree" => 28,
        "pglazyfreed" => 29,
        "thp_fault_alloc" => 30,
        "thp_collapse_alloc" => 31,
        _ => return None,
    })
}

/// A field of `MemoryEvents`.
const OOM_KILL: u32 = 5;

fn memory_events(folder: Folder<'_>) -> Result<Option<Message>> {
    folder.message("memory.events", |name| {
        Some(match name {
            "low" => 1,
            "high" => 2,
            "max" => 3,
            "oom" => 4,
            "oom_kill" => OOM_KILL,
            "oom_group_kill" => 6,
            _ => return None,
        })
    })
}

/// `IOStat`, from lines such as `254:0 rbytes=4096 wbytes=0 rios=1 wios=0 dbytes=0 dios=0`.
fn io(folder: Folder<'_>) -> Result<Option<Message>> {
    const FILE: &str = "io.stat";
    let Some(text) = folder.text(FILE)? else { return Ok(None) };
    let mut stat = Message::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let Some(device) = words.next() else { continue };
        let number = |word: &str| word.parse().map_err(|_| folder.strange(FILE, line));
        let (major, minor) = device.split_once(':').ok_or_else(|| folder.strange(FILE, line))?;
        let mut entry = Message::default();
        entry.number(1, number(major)?);
        entry.number(2, number(minor)?);
        for (name, value) in words.filter_map(|word| word.split_once('=')) {
            match name {
                "rbytes" => entry.number(3, number(value)?),
                "wbytes" => entry.number(4, number(value)?),
                "rios" => entry.number(5, number(value)?),
                "wios" => entry.number(6, number(value)?),
                // Other keys have values of other kinds, such as those of `io.cost`.
                _ => {}
            }
        }
        stat.part(1, &entry);
    }
    pressure(folder, "io.pressure", 2, &mut stat)?;
    Ok(Some(stat))
}

/// `HugeTlbStat`s.
fn hugetlb(folder: Folder<'_>, all: &mut Message) -> Result<()> {
    for size in folder.named("hugetlb.", ".current")? {
        let mut stat = Message::default();
        stat.number(1, folder.number_or_zero(&format!("hugetlb.{size}.current"))?);
        stat.number(2, folder.number_or_zero(&format!("hugetlb.{size}.max"))?);
        stat.text(3, &size);
        folder.lines(&format!("hugetlb.{size}.events"), |name, value| {
            if name == "max" {
                stat.number(4, value);
            }
        })?;
        all.part(7, &stat);
    }
    Ok(())
}

/// `PSIStats`, from lines such as `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`: percents, and microseconds. Left out if the
/// kernel does not keep it.
fn pressure(folder: Folder<'_>, file: &str, field: u32, into: &mut Message) -> Result<()> {
    let Some(text) = folder.text(file)? else { return Ok(()) };
    let mut stats = Message::default();
    for line in text.lines() {
        let strange = || folder.strange(file, line);
        let mut words = line.split_whitespace();
        let who = match words.next() {
            Some("some") => 1,
            Some("full") => 2,
            _ => continue,
        };
        let mut data = Message::default();
        for (name, value) in words.filter_map(|word| word.split_once('=')) {
            match name {
                "avg10" => data.double(1, value.parse().map_err(|_| strange())?),
                "avg60" => data.double(2, value.parse().map_err(|_| strange())?),
                "avg300" => data.double(3, value.parse().map_err(|_| strange())?),
                "total" => data.number(4, value.parse().map_err(|_| strange())?),
                _ => {}
            }
        }
        stats.part(who, &data);
    }
    into.part(field, &stats);
    Ok(())
}

#[cfg(test)]
mod tests;
