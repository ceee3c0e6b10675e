//! The files of cgroup v2 (kernel documentation, admin-guide/cgroup-v2), and the conversion of values that were made for v1.
//! Values that cannot be converted are refused, as the OCI specification has it («Unified»).

use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxResources, LinuxThrottleDevice};

use super::limits::{Limit, Missing, Setting, Table, for_device, refused};
use crate::error::Result;

/// The kernel's default in a new cgroup.
const WEIGHT: u64 = 100;
/// The kernel's default period of a quota, in microseconds.
const PERIOD: u64 = 100_000;
const BLOCK_WEIGHTS: std::ops::RangeInclusive<u16> = 10..=1000;
/// The files of the cgroup itself that limit something. The others move, freeze or kill processes, and only the shim may do that.
const OWN_FILES: [&str; 3] = ["cgroup.max.depth", "cgroup.max.descendants", "cgroup.pressure"];

/// Returns the values that `resources` come to, in the order in which the kernel takes them.
pub(crate) fn settings(resources: &LinuxResources) -> Result<Vec<Setting>> {
    let mut table = Table::default();
    if let Some(pids) = resources.pids() {
        table.pids(pids)?;
    }
    if let Some(memory) = resources.memory() {
        set_memory(&mut table, memory)?;
    }
    if let Some(io) = resources.block_io() {
        set_io(&mut table, io)?;
    }
    if let Some(cpu) = resources.cpu() {
        set_cpu(&mut table, cpu)?;
        table.cpuset(cpu);
    }
    table.hugepages(resources.hugepage_limits().as_deref().unwrap_or_default(), "max")?;
    table.rdma(resources.rdma().iter().flatten())?;
    if let Some(network) = resources.network() {
        let expected = "no such key: this host has cgroup v2, which does not mark or rank packets";
        if network.class_id().is_some_and(|class| class != 0) {
            return Err(refused("network.classID", "set", expected));
        }
        if network.priorities().as_ref().is_some_and(|list| !list.is_empty()) {
            return Err(refused("network.priorities", "set", expected));
        }
    }
    set_unified(&mut table, resources)?;
    Ok(table.0)
}

/// Refuses a key that v2 has no file for. runc ignores swappiness and a disabled OOM killer; crun refuses them, as the
/// specification demands.
fn without(key: &str, present: bool, expected: &str) -> Result<()> {
    if present { Err(refused(key, "set", format!("no such key on cgroup v2: {expected}"))) } else { Ok(()) }
}

/// Limits memory. As with runc, kernel memory has no limit of its own: v2 counts it with the rest. `useHierarchy` is what v2 does.
/// `checkBeforeUpdate` is for an Update, which checks it itself.
fn set_memory(table: &mut Table, memory: &LinuxMemory) -> Result<()> {
    without("memory.swappiness", memory.swappiness().is_some(), "it has no swappiness of a cgroup's own")?;
    let disabled = memory.disable_oom_killer() == Some(true);
    without(
        "memory.disableOOMKiller",
        disabled,
        "a cgroup at its limit is not stopped there, memory.high slows it down",
    )?;
    let limit = Limit::parse("memory.limit", memory.limit())?;
    let swap = Limit::parse("memory.swap", memory.swap())?;
    // v2's file is swap alone, the spec's key memory and swap together. Without accounting of swap the kernel can neither give nor
    // take any, so that «all» and «none» are no limits (runc and crun ignore them too).
    match (limit, swap) {
        (Some(Limit::Unlimited), None) | (_, Some(Limit::Unlimited)) => {
            table.may("memory.swap", "memory.swap.max", "max")
        }
        (_, None) => {}
        (Some(Limit::Of(memory)), Some(Limit::Of(both))) => match both.checked_sub(memory) {
            Some(swap) => table.add("memory.swap", "memory.swap.max", swap, swap == 0),
            None => {
                let expected = format!("memory and swap together, {memory} or more");
                return Err(refused("memory.swap", both.to_string(), expected));
            }
        },
        (Some(Limit::Unlimited), Some(Limit::Of(swap))) => table.must("memory.swap", "memory.swap.max", swap),
        (None, Some(Limit::Of(both))) => {
            return Err(refused("memory.swap", both.to_string(), "memory.limit beside it, which it is counted with"));
        }
    }
    for (key, file, value) in [
        ("memory.limit", "memory.max", limit),
        ("memory.reservation", "memory.low", Limit::parse("memory.reservation", memory.reservation())?),
    ] {
        match value {
            None => {}
            Some(Limit::Unlimited) => table.may(key, file, "max"),
            Some(Limit::Of(n)) => table.must(key, file, n),
        }
    }
    Ok(())
}

fn set_cpu(table: &mut Table, cpu: &LinuxCpu) -> Result<()> {
    let realtime = "it has no realtime limits";
    without("cpu.realtimePeriod", cpu.realtime_period().is_some_and(|n| n != 0), realtime)?;
    without("cpu.realtimeRuntime", cpu.realtime_runtime().is_some_and(|n| n != 0), realtime)?;
    if let Some(shares) = cpu.shares().filter(|shares| *shares != 0) {
        let weight = weight_from_shares(shares);
        table.add("cpu.shares", "cpu.weight", weight, weight == WEIGHT);
    }
    table.idle(cpu)?;
    let period = cpu.period().filter(|period| *period != 0);
    let key = if cpu.quota().unwrap_or(0) == 0 { "cpu.period" } else { "cpu.quota" };
    match Limit::parse("cpu.quota", cpu.quota())? {
        None if period.is_none() => {}
        None | Some(Limit::Unlimited) => table.may(key, "cpu.max", format!("max {}", period.unwrap_or(PERIOD))),
        Some(Limit::Of(n)) => table.must(key, "cpu.max", format!("{n} {}", period.unwrap_or(PERIOD))),
    }
    // After the quota, which the burst may not exceed.
    if let Some(burst) = cpu.burst() {
        table.add("cpu.burst", "cpu.max.burst", burst, burst == 0);
    }
    Ok(())
}

/// Converts by the formula of runc since 1.3.2 and crun since 1.23 (opencontainers/cgroups #20): from 2..262144 to 1..10000, and
/// from one default, 1024, to the other, 100. The formula before gave 39.
fn weight_from_shares(shares: u64) -> u64 {
    match shares {
        0..=2 => 1,
        262_144.. => 10_000,
        shares => {
            let l = (shares as f64).log2();
            10f64.powf((l * l + 125.0 * l) / 612.0 - 7.0 / 34.0).ceil() as u64
        }
    }
}

/// Converts from 10..1000 to 1..10000, as runc and crun do.
fn io_weight(weight: u16) -> u64 {
    1 + (u64::from(weight) - 10) * 9999 / 990
}

/// Limits block devices. BFQ has v1's weights; without BFQ the general file has its own.
fn set_io(table: &mut Table, io: &LinuxBlockIo) -> Result<()> {
    let leaf = "it has no weights of leaves";
    without("blockIO.leafWeight", io.leaf_weight().is_some_and(|n| n != 0), leaf)?;
    if let Some(n) = io.weight().filter(|n| *n != 0) {
        set_weight(table, "blockIO.weight", n, &|n| Ok(n.to_string()))?;
    }
    for device in io.weight_device().iter().flatten() {
        let key = "blockIO.weightDevice";
        without(key, device.leaf_weight().is_some_and(|n| n != 0), leaf)?;
        if let Some(n) = device.weight().filter(|n| *n != 0) {
            set_weight(table, key, n, &|n| for_device(key, device.major(), device.minor(), &n.to_string()))?;
        }
    }
    let lists: [(&str, &str, &Option<Vec<LinuxThrottleDevice>>); 4] = [
        ("throttleReadBpsDevice", "rbps", io.throttle_read_bps_device()),
        ("throttleWriteBpsDevice", "wbps", io.throttle_write_bps_device()),
        ("throttleReadIOPSDevice", "riops", io.throttle_read_iops_device()),
        ("throttleWriteIOPSDevice", "wiops", io.throttle_write_iops_device()),
    ];
    for (key, word, list) in lists {
        let key = format!("blockIO.{key}");
        for device in list.iter().flatten() {
            // 0 is v1's «no limit».
            let rate = if device.rate() == 0 { "max".to_owned() } else { device.rate().to_string() };
            let value = for_device(&key, device.major(), device.minor(), &format!("{word}={rate}"))?;
            table.add(&key, "io.max", value, device.rate() == 0);
        }
    }
    Ok(())
}

fn set_weight(table: &mut Table, key: &str, n: u16, value: &dyn Fn(u64) -> Result<String>) -> Result<()> {
    if !BLOCK_WEIGHTS.contains(&n) {
        return Err(refused(key, n.to_string(), "10 to 1000"));
    }
    let other = Setting {
        key: key.to_owned(),
        file: "io.weight".to_owned(),
        value: value(io_weight(n))?,
        missing: Missing::Refused,
    };
    table.put(key, "io.bfq.weight", value(n.into())?, Missing::Instead(Box::new(other)));
    Ok(())
}

/// Adds `unified` last, so that its values count, in the order of their names, but for those that depend on other values.
fn set_unified(table: &mut Table, resources: &LinuxResources) -> Result<()> {
    let mut all: Vec<_> = resources.unified().iter().flatten().collect();
    // The kernel takes no weight from an idle cgroup, and no burst above the quota.
    all.sort_by_key(|(file, _)| (matches!(file.as_str(), "cpu.idle" | "cpu.max.burst"), *file));
    for (file, value) in all {
        let key = format!("unified[{file}]");
        let plain = file.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        if !plain || file.split('.').any(str::is_empty) || !file.contains('.') {
            let expected = "the name of a file of cgroup v2, CONTROLLER.PARAMETER";
            return Err(refused("unified", format!("{file:?}"), expected));
        }
        if file.starts_with("cgroup.") && !OWN_FILES.contains(&file.as_str()) {
            let expected = format!("a controller's file, or one of {}", OWN_FILES.join(", "));
            return Err(refused(&key, "set", expected));
        }
        if value.trim().is_empty() {
            return Err(refused(&key, format!("{value:?}"), "a value"));
        }
        // A file such as io.max takes one line a write.
        for line in value.lines().filter(|line| !line.trim().is_empty()) {
            table.must(key.clone(), file, line);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::limits::{resources, written};
    use super::*;
    use serde_json::{Value, json};

    fn table(spec: Value) -> Vec<String> {
        written(&settings(&resources(spec)).unwrap())
    }

    fn refusal(spec: Value) -> String {
        settings(&resources(spec)).unwrap_err().to_string()
    }

    #[test]
    fn cpu_shares_and_io_weights_are_converted() {
        // Both ends and both defaults are converted into each other.
        let expected = [(1, 1), (2, 1), (3, 2), (102, 17), (512, 59), (1024, 100), (2048, 174)];
        let ends = [(262_144, 10_000), (262_145, 10_000), (u64::MAX, 10_000)];
        for (shares, weight) in expected.into_iter().chain(ends) {
            assert_eq!(weight_from_shares(shares), weight, "{shares}");
        }
        let all: Vec<_> = (2..262_144).map(weight_from_shares).collect();
        assert!(all.is_sorted() && all.iter().all(|weight| (1..=10_000).contains(weight)));
        assert_eq!((io_weight(10), io_weight(1000)), (1, 10_000));
    }

    #[test]
    fn memory_limits_are_files_of_v2() {
        let limited = json!({"memory": {"limit": 64, "swap": 160, "reservation": 32, "kernel": 9, "kernelTCP": 9,
            "useHierarchy": true, "checkBeforeUpdate": true, "disableOOMKiller": false}});
        assert_eq!(table(limited), ["memory.swap.max=96", "memory.max=64", "memory.low=32"]);
        let no_swap = ["memory.swap.max=0 (or nothing)", "memory.max=64"];
        assert_eq!(table(json!({"memory": {"limit": 64, "swap": 64}})), no_swap);
        let unlimited = ["memory.swap.max=max (or nothing)", "memory.max=max (or nothing)"];
        assert_eq!(table(json!({"memory": {"limit": -1}})), unlimited);
        let all_swap = ["memory.swap.max=max (or nothing)", "memory.max=64"];
        assert_eq!(table(json!({"memory": {"limit": 64, "swap": -1}})), all_swap);
        let swap_alone = ["memory.swap.max=64", "memory.max=max (or nothing)"];
        assert_eq!(table(json!({"memory": {"limit": -1, "swap": 64}})), swap_alone);
        assert!(refusal(json!({"memory": {"limit": 64, "swap": 63}})).contains("memory.swap: 63"));
        assert!(refusal(json!({"memory": {"swap": 63}})).contains("memory.limit beside it"));
        assert!(refusal(json!({"memory": {"swappiness": 0}})).contains("memory.swappiness"));
        assert!(refusal(json!({"memory": {"disableOOMKiller": true}})).contains("memory.disableOOMKiller"));
    }

    #[test]
    fn processor_limits_are_files_of_v2() {
        let all = json!({"cpu": {"shares": 512, "quota": 50000, "period": 200000, "burst": 1000, "idle": 1,
            "cpus": "0-1", "mems": "0"}});
        let expected = [
            "cpu.weight=59",
            "cpu.idle=1",
            "cpu.max=50000 200000",
            "cpu.max.burst=1000",
            "cpuset.cpus=0-1",
            "cpuset.mems=0",
        ];
        assert_eq!(table(all), expected);
        // `ctr run` writes shares and nothing else.
        assert_eq!(table(json!({"cpu": {"shares": 1024}})), ["cpu.weight=100 (or nothing)"]);
        assert_eq!(table(json!({"cpu": {"quota": 5000}})), ["cpu.max=5000 100000"]);
        assert_eq!(table(json!({"cpu": {"quota": -1}})), ["cpu.max=max 100000 (or nothing)"]);
        assert_eq!(table(json!({"cpu": {"period": 5000}})), ["cpu.max=max 5000 (or nothing)"]);
        assert_eq!(table(json!({"cpu": {"shares": 0, "quota": 0, "period": 0}})), [""; 0]);
        assert!(refusal(json!({"cpu": {"realtimeRuntime": 5}})).contains("cpu.realtimeRuntime"));
    }

    #[test]
    fn block_io_limits_are_files_of_v2() {
        let all = json!({"blockIO": {"weight": 10, "weightDevice": [{"major": 8, "minor": 0, "weight": 1000}],
            "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 600}],
            "throttleWriteIOPSDevice": [{"major": 8, "minor": 16, "rate": 0}]}});
        let expected = [
            "io.bfq.weight=10 or io.weight=1",
            "io.bfq.weight=8:0 1000 or io.weight=8:0 10000",
            "io.max=8:0 rbps=600",
            "io.max=8:16 wiops=max (or nothing)",
        ];
        assert_eq!(table(all), expected);
        assert!(refusal(json!({"blockIO": {"weight": 9}})).contains("blockIO.weight: 9: 10 to 1000"));
        assert!(refusal(json!({"blockIO": {"leafWeight": 9}})).contains("blockIO.leafWeight"));
    }

    #[test]
    fn limits_of_processes_and_pages_are_files_of_v2() {
        assert_eq!(table(json!({"pids": {"limit": 5}})), ["pids.max=5"]);
        let pages = ["hugetlb.2MB.max=0 (or nothing)", "hugetlb.2MB.rsvd.max=0 (or nothing)"];
        assert_eq!(table(json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 0}]})), pages);
        assert!(refusal(json!({"network": {"classID": 7}})).contains("network.classID"));
        assert_eq!(table(json!({"network": {"classID": 0, "priorities": []}})), [""; 0]);
        assert!(refusal(json!({"network": {"priorities": [{"name": "a", "priority": 1}]}})).contains("priorities"));
    }

    #[test]
    fn unified_keys_are_written_to_their_files() {
        let spec = json!({"pids": {"limit": 5}, "unified": {"cpu.idle": "1", "memory.oom.group": "1", "cpu.weight": "7",
            "cpu.max.burst": "1", "cpu.max": "9 10", "io.max": "259:0 rbps=2097152 wiops=120\n253:0 rbps=1"}});
        let expected = [
            "pids.max=5",
            "cpu.max=9 10",
            "cpu.weight=7",
            "io.max=259:0 rbps=2097152 wiops=120",
            "io.max=253:0 rbps=1",
            "memory.oom.group=1",
            "cpu.idle=1",
            "cpu.max.burst=1",
        ];
        assert_eq!(table(spec), expected);
        for bad in ["", "memory", ".max", "memory.", "a..b", "../memory.max", "memory.max/x", "a b.c", "memory.max\n"] {
            assert!(refusal(json!({"unified": {bad: "1"}})).contains("linux.resources.unified: "), "{bad:?}");
        }
        for own in ["cgroup.procs", "cgroup.kill", "cgroup.freeze", "cgroup.subtree_control", "cgroup.type"] {
            assert!(refusal(json!({"unified": {own: "1"}})).contains(&format!("unified[{own}]")), "{own}");
        }
        assert!(refusal(json!({"unified": {"memory.max": " "}})).contains("unified[memory.max]"));
    }
}
