use std::fs;

use containerd_shim_protos::cgroups::metrics::{MemoryStat, Metrics};
use containerd_shim_protos::protobuf::reflect::{ReflectValueRef, RuntimeType};
use containerd_shim_protos::protobuf::{Message as _, MessageFull};

use super::*;
use crate::stats::stand::Stand;

/// Returns the figures of a container that has these folders.
fn told(stand: &Stand) -> error::Result<Metrics> {
    let folders = ["cpu", "cpuacct", "memory", "pids", "blkio", "hugetlb"].map(|c| (c, stand.0.join(c)));
    let find = |controller: &str| {
        let (_, path) = folders.iter().find(|(name, _)| *name == controller)?;
        path.exists().then_some(path.as_path())
    };
    metrics(&find).map(|written| Metrics::parse_from_bytes(&written.done()).unwrap())
}

#[test]
fn units_are_the_same_as_containerds() {
    let stand = Stand::new(
        "v1-units",
        &[
            ("cpu/cpu.stat", "nr_periods 5\nnr_throttled 3\nthrottled_time 1200000000\nnr_bursts 0\nburst_time 0\n"),
            ("cpuacct/cpuacct.usage", "1234567890\n"),
            ("cpuacct/cpuacct.usage_percpu", "1000000000 234567890 \n"),
            ("cpuacct/cpuacct.stat", "user 100\nsystem 23\n"),
            ("pids/pids.current", "2\n"),
            ("pids/pids.max", "33\n"),
        ],
    );
    let all = told(&stand).unwrap();
    let (usage, throttling) = (&all.cpu.usage, &all.cpu.throttling);
    assert_eq!((usage.total, usage.user, usage.kernel), (1_234_567_890, 1_000_000_000, 230_000_000), "nanoseconds");
    assert_eq!(usage.per_cpu, [1_000_000_000, 234_567_890]);
    let throttled = (throttling.periods, throttling.throttled_periods, throttling.throttled_time);
    assert_eq!(throttled, (5, 3, 1_200_000_000));
    assert_eq!((all.pids.current, all.pids.limit), (2, 33));
    assert!(all.memory.is_none() && all.memory_oom_control.is_none() && all.blkio.is_none());
    fs::write(stand.0.join("pids/pids.max"), "max\n").unwrap();
    assert_eq!(told(&stand).unwrap().pids.limit, 0, "no limit");
}

#[test]
fn memory_swap_and_kernel_memory_are_counted() {
    let mut files = vec![
        (
            "memory/memory.stat".to_owned(),
            "cache 1\nrss 2\nhierarchical_memsw_limit 9223372036854771712\ntotal_inactive_file 7\nnew_key 9\n"
                .to_owned(),
        ),
        ("memory/memory.oom_control".to_owned(), "oom_kill_disable 0\nunder_oom 1\noom_kill 4\n".to_owned()),
    ];
    for (n, account) in ["memory", "memory.memsw", "memory.kmem", "memory.kmem.tcp"].iter().enumerate() {
        for (m, what) in ["limit_in_bytes", "usage_in_bytes", "max_usage_in_bytes", "failcnt"].iter().enumerate() {
            files.push((format!("memory/{account}.{what}"), format!("{}\n", 10 * (n + 1) + m)));
        }
    }
    let files: Vec<_> = files.iter().map(|(file, text)| (file.as_str(), text.as_str())).collect();
    let all = told(&Stand::new("v1-memory", &files)).unwrap();
    let memory = &all.memory;
    assert_eq!((memory.cache, memory.rss, memory.total_inactive_file), (1, 2, 7));
    assert_eq!(memory.hierarchical_swap_limit, 9_223_372_036_854_771_712);
    for (first, entry) in [(10, &memory.usage), (20, &memory.swap), (30, &memory.kernel), (40, &memory.kernel_tcp)] {
        let values = [entry.limit, entry.usage, entry.max, entry.failcnt];
        assert_eq!(values, [first, first + 1, first + 2, first + 3]);
    }
    assert_eq!((all.memory_oom_control.under_oom, all.memory_oom_control.oom_kill), (1, 4));
}

/// Kernels with `swapaccount=0`, and those that do not count TCP buffers separately.
#[test]
fn memory_that_the_kernel_does_not_count_is_zero() {
    let stand =
        Stand::new("v1-accounts", &[("memory/memory.stat", "rss 2\n"), ("memory/memory.usage_in_bytes", "3\n")]);
    let all = told(&stand).unwrap();
    assert_eq!((all.memory.usage.usage, all.memory.swap.usage, all.memory.kernel_tcp.limit), (3, 0, 0));
    assert!(all.memory_oom_control.is_none());
}

/// Every figure of `memory.stat` that containerd's message has is read from its key.
#[test]
fn every_memory_key_is_read() {
    let fields: Vec<_> = MemoryStat::descriptor().fields().filter(|f| f.name() != "usage").take(32).collect();
    assert!(fields.iter().all(|f| matches!(f.singular_runtime_type(), RuntimeType::U64)));
    let key = |name: &str| name.replace("pg_", "pg").replace("maj_", "maj").replace("swap_limit", "memsw_limit");
    let text = fields.iter().enumerate().map(|(n, f)| format!("{} {}\n", key(f.name()), n + 1)).collect::<String>();
    let memory = told(&Stand::new("v1-keys", &[("memory/memory.stat", &text)])).unwrap().memory.unwrap();
    for (n, field) in fields.iter().enumerate() {
        let value = field.get_singular(&memory);
        assert!(matches!(value, Some(ReflectValueRef::U64(v)) if v == n as u64 + 1), "{}: {value:?}", field.name());
    }
    // The host's own file has these names.
    if let Ok(text) = fs::read_to_string("/sys/fs/cgroup/memory/memory.stat") {
        for field in fields {
            let key = key(field.name());
            assert!(key.contains("memsw") || text.lines().any(|l| l.split(' ').next() == Some(&key)), "{key}: {text}");
        }
    }
}

#[test]
fn devices_are_reported_by_number_and_name() {
    let partitions = fs::read_to_string(DEVICES).unwrap();
    let disk: Vec<_> = partitions.lines().nth(2).expect("no block device").split_whitespace().collect();
    let device = format!("{}:{}", disk[0], disk[1]);
    let bytes = format!("{device} Read 4096\n{device} Write 0\n999:7 Read 5\n{device} 6\nTotal 4107\n");
    let stand = Stand::new(
        "v1-blkio",
        &[("blkio/blkio.throttle.io_service_bytes", &bytes), ("blkio/blkio.throttle.io_serviced", "Total 0\n")],
    );
    let blkio = told(&stand).unwrap().blkio;
    assert!(blkio.io_serviced_recursive.is_empty());
    let path = format!("/dev/{}", disk[3]);
    let found = blkio.io_service_bytes_recursive.iter().map(|e| (e.op.as_str(), e.device.as_str(), e.major, e.value));
    let major = disk[0].parse().unwrap();
    let expected =
        [("Read", &*path, major, 4096), ("Write", &*path, major, 0), ("Read", "", 999, 5), ("", &*path, major, 6)];
    assert_eq!(found.collect::<Vec<_>>(), expected);
}

#[test]
fn page_sizes_are_those_of_the_files() {
    let stand = Stand::new(
        "v1-hugetlb",
        &[
            ("hugetlb/hugetlb.2MB.usage_in_bytes", "2097152\n"),
            ("hugetlb/hugetlb.2MB.max_usage_in_bytes", "4194304\n"),
            ("hugetlb/hugetlb.2MB.failcnt", "1\n"),
            ("hugetlb/hugetlb.2MB.rsvd.usage_in_bytes", "77\n"),
            ("hugetlb/hugetlb.1GB.usage_in_bytes", "0\n"),
        ],
    );
    let all = told(&stand).unwrap().hugetlb;
    let found: Vec<_> = all.iter().map(|h| (h.pagesize.as_str(), h.usage, h.max, h.failcnt)).collect();
    assert_eq!(found, [("1GB", 0, 0, 0), ("2MB", 2_097_152, 4_194_304, 1)]);
}

#[test]
fn an_invalid_number_is_reported_with_its_file() {
    let stand = Stand::new("v1-strange", &[("memory/memory.stat", "cache 1\nrss two\n")]);
    let text = told(&stand).unwrap_err().to_string();
    assert!(text.contains("memory/memory.stat: \"rss two\""), "{text}");
}

#[test]
fn a_removed_cgroup_has_no_figures() {
    let all = told(&Stand::new("v1-gone", &[])).unwrap();
    assert!(all.memory.is_none() && all.pids.is_none() && all.cpu.usage.per_cpu.is_empty());
}
