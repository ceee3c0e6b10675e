use std::fs;

use containerd_shim_protos::cgroups_v2::metrics::{MemoryStat, Metrics};
use containerd_shim_protos::protobuf::reflect::{ReflectValueRef, RuntimeType};
use containerd_shim_protos::protobuf::{Message as _, MessageFull};

use super::*;
use crate::stats::stand::Stand;

fn told(stand: &Stand) -> Metrics {
    written(Some(&stand.0), 0)
}

fn written(folder: Option<&Path>, kills: u64) -> Metrics {
    Metrics::parse_from_bytes(&metrics(folder, kills).unwrap().done()).unwrap()
}

const PRESSURE: &str =
    "some avg10=1.50 avg60=0.25 avg300=0.01 total=123456\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n";

#[test]
fn processor_time_is_microseconds() {
    let text = "usage_usec 1234567\nuser_usec 1000000\nsystem_usec 234567\nnice_usec 0\nnr_periods 5\nnr_throttled 3\n\
                throttled_usec 1200\nnr_bursts 2\nburst_usec 30\n";
    let stand = Stand::new("v2-cpu", &[("cpu.stat", text), ("cpu.pressure", PRESSURE)]);
    let cpu = told(&stand).cpu;
    assert_eq!((cpu.usage_usec, cpu.user_usec, cpu.system_usec), (1_234_567, 1_000_000, 234_567));
    assert_eq!((cpu.nr_periods, cpu.nr_throttled, cpu.throttled_usec), (5, 3, 1200));
    assert_eq!((cpu.nr_bursts, cpu.burst_usec), (2, 30));
    let some = &cpu.psi.some;
    assert_eq!((some.avg10, some.avg60, some.avg300, some.total), (1.5, 0.25, 0.01, 123_456));
    assert_eq!(cpu.psi.full.total, 7);
    fs::remove_file(stand.0.join("cpu.pressure")).unwrap();
    assert!(told(&stand).cpu.psi.is_none(), "a kernel without PSI");
}

/// Every figure of memory that containerd's message has by the name of the kernel's key is read from that key.
#[test]
fn every_memory_key_is_read() {
    let descriptor = MemoryStat::descriptor();
    let own = ["usage", "usage_limit", "max_usage", "swap_usage", "swap_limit", "swap_max_usage", "psi"];
    let keys: Vec<_> =
        descriptor.fields().map(|field| field.name().to_owned()).filter(|n| !own.contains(&n.as_str())).collect();
    assert_eq!(keys.len(), 31);
    let text: String = keys.iter().enumerate().map(|(n, key)| format!("{key} {}\n", n + 1)).collect();
    let memory = told(&Stand::new("v2-keys", &[("memory.stat", &text)])).memory.unwrap();
    for (n, key) in keys.iter().enumerate() {
        let field = descriptor.field_by_name(key).unwrap();
        assert!(matches!(field.singular_runtime_type(), RuntimeType::U64), "{key}");
        let value = field.get_singular(&memory).unwrap();
        assert!(matches!(value, ReflectValueRef::U64(v) if v == n as u64 + 1), "{key}: {value:?}");
    }
}

#[test]
fn memory_is_reported_with_its_limits() {
    let files = [
        ("memory.stat", "anon 1\nworkingset_refault_anon 5\n"),
        ("memory.current", "100\n"),
        ("memory.max", "max\n"),
        ("memory.peak", "200\n"),
        ("memory.swap.current", "3\n"),
        ("memory.swap.max", "4\n"),
        ("memory.pressure", PRESSURE),
        ("memory.events", "low 1\nhigh 2\nmax 3\noom 4\noom_kill 5\noom_group_kill 6\n"),
    ];
    let stand = Stand::new("v2-memory", &files);
    let all = told(&stand);
    let memory = &all.memory;
    assert_eq!((memory.usage, memory.usage_limit, memory.max_usage), (100, u64::MAX, 200));
    assert_eq!((memory.swap_usage, memory.swap_limit, memory.swap_max_usage), (3, 4, 0), "no peak of swap before 6.5");
    assert_eq!(memory.psi.some.total, 123_456);
    let events = &all.memory_events;
    assert_eq!(
        [events.low, events.high, events.max, events.oom, events.oom_kill, events.oom_group_kill],
        [1, 2, 3, 4, 5, 6]
    );
    assert!(all.pids.is_none() && all.cpu.is_none() && all.io.is_none() && all.hugetlb.is_empty());
}

#[test]
fn devices_pages_and_processes_are_reported() {
    let files = [
        ("io.stat", "254:0 rbytes=4096 wbytes=512 rios=2 wios=1 dbytes=9 dios=9\n8:16 \n7:0 cost.usage=1.5 rbytes=1\n"),
        ("hugetlb.2MB.current", "2097152\n"),
        ("hugetlb.2MB.max", "max\n"),
        ("hugetlb.2MB.events", "max 3\n"),
        ("hugetlb.2MB.rsvd.current", "77\n"),
        ("pids.current", "2\n"),
        ("pids.max", "max\n"),
    ];
    let all = told(&Stand::new("v2-devices", &files));
    let io: Vec<_> = all.io.usage.iter().map(|e| [e.major, e.minor, e.rbytes, e.wbytes, e.rios, e.wios]).collect();
    assert_eq!(io, [[254, 0, 4096, 512, 2, 1], [8, 16, 0, 0, 0, 0], [7, 0, 1, 0, 0, 0]]);
    assert!(all.io.psi.is_none());
    let pages: Vec<_> = all.hugetlb.iter().map(|h| (h.pagesize.as_str(), h.current, h.max, h.failcnt)).collect();
    assert_eq!(pages, [("2MB", 2_097_152, u64::MAX, 3)]);
    assert_eq!((all.pids.current, all.pids.limit), (2, u64::MAX));
}

#[test]
fn a_removed_scope_still_reports_its_oom_kill() {
    let stand = Stand::new("v2-gone", &[]);
    fs::remove_dir(&stand.0).unwrap();
    assert_eq!(told(&stand), Metrics::new());
    for folder in [Some(stand.0.as_path()), None] {
        let all = written(folder, 2);
        assert_eq!(all.memory_events.oom_kill, 2);
        assert!(all.memory.is_none() && all.cpu.is_none());
    }
    let stand = Stand::new("v2-there", &[("memory.events", "oom_kill 1\n")]);
    assert_eq!(written(Some(&stand.0), 2).memory_events.oom_kill, 1, "the kernel's own counter comes first");
}

#[test]
fn an_invalid_number_is_reported_with_its_file() {
    for (file, text, found) in [
        ("memory.stat", "anon 1\nfile two\n", "file two"),
        ("cpu.pressure", "some avg10=none\n", "some avg10=none"),
        ("io.stat", "254 rbytes=1\n", "254 rbytes=1"),
        ("pids.current", "\n", "\\n"),
    ] {
        let stand = Stand::new("v2-strange", &[(file, text)]);
        let text = metrics(Some(&stand.0), 0).unwrap_err().to_string();
        assert!(text.contains(&format!("{file}: \"{found}\"")), "{text}");
    }
}
