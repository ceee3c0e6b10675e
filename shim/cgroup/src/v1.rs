//! The files of cgroup v1 (kernel documentation, admin-guide/cgroup-v1).

use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxNetwork, LinuxResources, LinuxThrottleDevice};

use super::limits::{Limit, Missing, Setting, Table, for_device, refused};
use crate::error::Result;

/// The kernel's default in a new cgroup.
const SHARES: u64 = 1024;
/// kernel/sched/sched.h, MIN_SHARES and MAX_SHARES: the kernel silently cuts a value outside.
const SHARES_TAKEN: std::ops::RangeInclusive<u64> = 2..=262_144;
const MOST_SWAPPINESS: u64 = 100;

/// Returns the values that `resources` come to, in the order in which the kernel takes them.
pub(crate) fn settings(resources: &LinuxResources) -> Result<Vec<Setting>> {
    if let Some(key) = resources.unified().iter().flat_map(|unified| unified.keys()).min() {
        let expected = "no such key: this host has cgroup v1, and these are the files of v2";
        return Err(refused("unified", format!("{key:?}"), expected));
    }
    let mut table = Table::default();
    if let Some(memory) = resources.memory() {
        set_memory(&mut table, memory)?;
    }
    if let Some(cpu) = resources.cpu() {
        set_cpu(&mut table, cpu)?;
        table.cpuset(cpu);
    }
    if let Some(pids) = resources.pids() {
        table.pids(pids)?;
    }
    if let Some(io) = resources.block_io() {
        set_block_io(&mut table, io)?;
    }
    table.hugepages(resources.hugepage_limits().as_deref().unwrap_or_default(), "limit_in_bytes")?;
    if let Some(network) = resources.network() {
        set_network(&mut table, network)?;
    }
    table.rdma(resources.rdma().iter().flatten())?;
    Ok(table.0)
}

/// Sets the limits of memory. As with runc, kernel memory has no limit: the specification advises against its two keys, and the
/// kernel has dropped them. `useHierarchy` is what every kernel since 5.11 does, without a choice. `checkBeforeUpdate` needs no
/// check, because the kernel refuses a limit below the usage.
fn set_memory(table: &mut Table, memory: &LinuxMemory) -> Result<()> {
    let limit = Limit::parse("memory.limit", memory.limit())?;
    let swap = Limit::parse("memory.swap", memory.swap())?;
    match limit {
        None => {}
        Some(Limit::Unlimited) => table.may("memory.limit", "memory.limit_in_bytes", -1),
        Some(Limit::Of(n)) => table.must("memory.limit", "memory.limit_in_bytes", n),
    }
    // After the limit of memory, which memory and swap together may not be below.
    match (limit, swap) {
        (Some(Limit::Of(memory)), Some(Limit::Of(both))) if both < memory => {
            return Err(refused(
                "memory.swap",
                both.to_string(),
                format!("memory and swap together, {memory} or more"),
            ));
        }
        (_, Some(Limit::Of(n))) => table.must("memory.swap", "memory.memsw.limit_in_bytes", n),
        (_, Some(Limit::Unlimited)) | (Some(Limit::Unlimited), None) => {
            table.may("memory.swap", "memory.memsw.limit_in_bytes", -1);
        }
        (_, None) => {}
    }
    match Limit::parse("memory.reservation", memory.reservation())? {
        None => {}
        Some(Limit::Unlimited) => table.may("memory.reservation", "memory.soft_limit_in_bytes", -1),
        Some(Limit::Of(n)) => table.must("memory.reservation", "memory.soft_limit_in_bytes", n),
    }
    match memory.swappiness() {
        None => {}
        Some(n) if n <= MOST_SWAPPINESS => table.must("memory.swappiness", "memory.swappiness", n),
        Some(n) => return Err(refused("memory.swappiness", n.to_string(), "0 to 100")),
    }
    match memory.disable_oom_killer() {
        None => {}
        Some(true) => table.must("memory.disableOOMKiller", "memory.oom_control", 1),
        Some(false) => table.may("memory.disableOOMKiller", "memory.oom_control", 0),
    }
    Ok(())
}

/// Sets the period first, because a new cgroup has no quota, with which every period is right, and the burst after the quota,
/// which it may not exceed. The realtime period comes first for the same reason.
fn set_cpu(table: &mut Table, cpu: &LinuxCpu) -> Result<()> {
    match cpu.shares().unwrap_or(0) {
        0 => {}
        n if SHARES_TAKEN.contains(&n) => table.add("cpu.shares", "cpu.shares", n, n == SHARES),
        n => return Err(refused("cpu.shares", n.to_string(), "2 to 262144")),
    }
    table.idle(cpu)?;
    let quota = Limit::parse("cpu.quota", cpu.quota())?;
    let limited = matches!(quota, Some(Limit::Of(_)));
    if let Some(period) = cpu.period().filter(|period| *period != 0) {
        table.add("cpu.period", "cpu.cfs_period_us", period, !limited);
    }
    match quota {
        None => {}
        Some(Limit::Unlimited) => table.may("cpu.quota", "cpu.cfs_quota_us", -1),
        Some(Limit::Of(n)) => table.must("cpu.quota", "cpu.cfs_quota_us", n),
    }
    if let Some(burst) = cpu.burst() {
        table.add("cpu.burst", "cpu.cfs_burst_us", burst, burst == 0);
    }
    if let Some(period) = cpu.realtime_period().filter(|period| *period != 0) {
        table.must("cpu.realtimePeriod", "cpu.rt_period_us", period);
    }
    if let Some(runtime) = cpu.realtime_runtime().filter(|runtime| *runtime != 0) {
        table.must("cpu.realtimeRuntime", "cpu.rt_runtime_us", runtime);
    }
    Ok(())
}

/// Sets the weights of CFQ, which is gone since Linux 5.0, or those of BFQ, which has no leaf weights, and the throttles.
fn set_block_io(table: &mut Table, io: &LinuxBlockIo) -> Result<()> {
    let mut weight = |key: &str, file: &str, value: String| {
        let bfq = file.replace("blkio.", "blkio.bfq.");
        let other = Setting { key: key.to_owned(), file: bfq, value: value.clone(), missing: Missing::Refused };
        table.put(key, file, value, Missing::Instead(Box::new(other)));
    };
    if let Some(n) = io.weight().filter(|n| *n != 0) {
        weight("blockIO.weight", "blkio.weight", n.to_string());
    }
    let key = "blockIO.weightDevice";
    for device in io.weight_device().iter().flatten() {
        if let Some(n) = device.weight().filter(|n| *n != 0) {
            weight(key, "blkio.weight_device", for_device(key, device.major(), device.minor(), &n.to_string())?);
        }
    }
    if let Some(n) = io.leaf_weight().filter(|n| *n != 0) {
        table.must("blockIO.leafWeight", "blkio.leaf_weight", n);
    }
    for device in io.weight_device().iter().flatten() {
        if let Some(n) = device.leaf_weight().filter(|n| *n != 0) {
            let value = for_device(key, device.major(), device.minor(), &n.to_string())?;
            table.must(key, "blkio.leaf_weight_device", value);
        }
    }
    let lists: [(&str, &str, &Option<Vec<LinuxThrottleDevice>>); 4] = [
        ("throttleReadBpsDevice", "read_bps", io.throttle_read_bps_device()),
        ("throttleWriteBpsDevice", "write_bps", io.throttle_write_bps_device()),
        ("throttleReadIOPSDevice", "read_iops", io.throttle_read_iops_device()),
        ("throttleWriteIOPSDevice", "write_iops", io.throttle_write_iops_device()),
    ];
    for (key, what, list) in lists {
        let key = format!("blockIO.{key}");
        for device in list.iter().flatten() {
            // 0 is the kernel's «no limit».
            let rate = device.rate();
            let value = for_device(&key, device.major(), device.minor(), &rate.to_string())?;
            table.add(&key, &format!("blkio.throttle.{what}_device"), value, rate == 0);
        }
    }
    Ok(())
}

fn set_network(table: &mut Table, network: &LinuxNetwork) -> Result<()> {
    if let Some(class) = network.class_id().filter(|class| *class != 0) {
        table.must("network.classID", "net_cls.classid", class);
    }
    for interface in network.priorities().iter().flatten() {
        let name = interface.name();
        if name.is_empty() || name.contains(char::is_whitespace) {
            return Err(refused("network.priorities", format!("{name:?}"), "the name of a network interface"));
        }
        table.must("network.priorities", "net_prio.ifpriomap", format!("{name} {}", interface.priority()));
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
    fn memory_limits_are_files_of_v1() {
        let limited = json!({"memory": {"limit": 64, "swap": 128, "reservation": 32, "swappiness": 0, "kernel": 9,
            "kernelTCP": 9, "disableOOMKiller": true, "useHierarchy": true, "checkBeforeUpdate": true}});
        let expected = [
            "memory.limit_in_bytes=64",
            "memory.memsw.limit_in_bytes=128",
            "memory.soft_limit_in_bytes=32",
            "memory.swappiness=0",
            "memory.oom_control=1",
        ];
        assert_eq!(table(limited), expected);
        let unlimited = ["memory.limit_in_bytes=-1 (or nothing)", "memory.memsw.limit_in_bytes=-1 (or nothing)"];
        assert_eq!(table(json!({"memory": {"limit": -1}})), unlimited);
        let killed = ["memory.oom_control=0 (or nothing)"];
        assert_eq!(table(json!({"memory": {"limit": 0, "swap": 0, "disableOOMKiller": false}})), killed);
        assert!(refusal(json!({"memory": {"limit": 64, "swap": 63}})).contains("memory.swap: 63"));
        assert!(refusal(json!({"memory": {"limit": -7}})).contains("memory.limit: -7"));
        assert!(refusal(json!({"memory": {"swappiness": 101}})).contains("memory.swappiness: 101"));
    }

    #[test]
    fn processor_limits_are_files_of_v1() {
        let all = json!({"cpu": {"shares": 512, "quota": 50000, "period": 100000, "burst": 1000, "idle": 1,
            "realtimeRuntime": 950000, "realtimePeriod": 1000000, "cpus": "0-1", "mems": "0"}});
        let expected = [
            "cpu.shares=512",
            "cpu.idle=1",
            "cpu.cfs_period_us=100000",
            "cpu.cfs_quota_us=50000",
            "cpu.cfs_burst_us=1000",
            "cpu.rt_period_us=1000000",
            "cpu.rt_runtime_us=950000",
            "cpuset.cpus=0-1",
            "cpuset.mems=0",
        ];
        assert_eq!(table(all), expected);
        let nothing =
            json!({"cpu": {"shares": 1024, "quota": -1, "period": 100000, "burst": 0, "idle": 0, "cpus": ""}});
        let expected = [
            "cpu.shares=1024 (or nothing)",
            "cpu.idle=0 (or nothing)",
            "cpu.cfs_period_us=100000 (or nothing)",
            "cpu.cfs_quota_us=-1 (or nothing)",
            "cpu.cfs_burst_us=0 (or nothing)",
        ];
        assert_eq!(table(nothing), expected);
        assert_eq!(table(json!({"cpu": {"shares": 0, "quota": 0, "period": 0}})), [""; 0]);
        assert!(refusal(json!({"cpu": {"shares": 1}})).contains("cpu.shares: 1: 2 to 262144"));
        assert!(refusal(json!({"cpu": {"idle": 2}})).contains("cpu.idle: 2"));
    }

    #[test]
    fn limits_of_processes_pages_and_networks_are_files_of_v1() {
        assert_eq!(table(json!({"pids": {"limit": 5}})), ["pids.max=5"]);
        assert_eq!(table(json!({"pids": {"limit": -1}})), ["pids.max=max (or nothing)"]);
        assert_eq!(table(json!({"pids": {"limit": 0}})), [""; 0]);
        let pages = json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 4194304}, {"pageSize": "1GB", "limit": 0}]});
        let expected = [
            "hugetlb.2MB.limit_in_bytes=4194304",
            "hugetlb.2MB.rsvd.limit_in_bytes=4194304 (or nothing)",
            "hugetlb.1GB.limit_in_bytes=0 (or nothing)",
            "hugetlb.1GB.rsvd.limit_in_bytes=0 (or nothing)",
        ];
        assert_eq!(table(pages), expected);
        assert!(refusal(json!({"hugepageLimits": [{"pageSize": "../x", "limit": 1}]})).contains("[0].pageSize"));
        let network = json!({"network": {"classID": 1048577, "priorities": [{"name": "eth0", "priority": 500}]}});
        assert_eq!(table(network), ["net_cls.classid=1048577", "net_prio.ifpriomap=eth0 500"]);
        assert_eq!(table(json!({"network": {"classID": 0, "priorities": []}})), [""; 0]);
        assert!(refusal(json!({"network": {"priorities": [{"name": "a b", "priority": 1}]}})).contains("priorities"));
    }

    #[test]
    fn block_io_limits_are_files_of_v1() {
        let all = json!({"blockIO": {"weight": 10, "leafWeight": 20,
            "weightDevice": [{"major": 8, "minor": 0, "weight": 500, "leafWeight": 300}],
            "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 600}],
            "throttleWriteBpsDevice": [{"major": 8, "minor": 0, "rate": 0}],
            "throttleReadIOPSDevice": [{"major": 8, "minor": 16, "rate": 300}],
            "throttleWriteIOPSDevice": [{"major": 8, "minor": 16, "rate": 301}]}});
        let expected = [
            "blkio.weight=10 or blkio.bfq.weight=10",
            "blkio.weight_device=8:0 500 or blkio.bfq.weight_device=8:0 500",
            "blkio.leaf_weight=20",
            "blkio.leaf_weight_device=8:0 300",
            "blkio.throttle.read_bps_device=8:0 600",
            "blkio.throttle.write_bps_device=8:0 0 (or nothing)",
            "blkio.throttle.read_iops_device=8:16 300",
            "blkio.throttle.write_iops_device=8:16 301",
        ];
        assert_eq!(table(all), expected);
        let bad = json!({"blockIO": {"throttleReadBpsDevice": [{"major": -8, "minor": 0, "rate": 600}]}});
        assert!(refusal(bad).contains("blockIO.throttleReadBpsDevice: device -8:0"));
    }

    #[test]
    fn unified_keys_are_refused_on_v1() {
        let text = refusal(json!({"unified": {"memory.high": "1"}}));
        assert!(text.contains("linux.resources.unified: \"memory.high\"") && text.contains("cgroup v1"), "{text}");
        assert_eq!(table(json!({"unified": {}})), [""; 0]);
    }
}
