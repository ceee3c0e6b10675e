//! Turns limits into properties for systemd. It writes a scope's files itself, for example at `daemon-reload`, and would undo a value that
//! is in the files alone.

use super::limits::Setting;
use super::request::{Property, Value};
use super::scope::Scope;

const MICROSECONDS: u64 = 1_000_000;
/// systemd keeps a quota in whole percents of a processor.
const PERCENT: u64 = MICROSECONDS / 100;

/// Returns the properties of a scope for the process `pid` (systemd.scope(5), systemd.resource-control(5)): those that runc sets.
pub(crate) fn list(scope: &Scope, pid: u32, settings: &[Setting]) -> Vec<Property> {
    let text = |name: &str, value: &str| Property(name.to_owned(), Value::Text(value.to_owned()));
    let mut all = vec![
        text("Description", &format!("Catamaran container {}", scope.unit.trim_end_matches(".scope"))),
        text("Slice", &scope.slice),
        Property("PIDs".to_owned(), Value::Pids(vec![pid])),
        Property("Delegate".to_owned(), Value::Flag(true)),
        Property("DefaultDependencies".to_owned(), Value::Flag(false)),
        // Have systemd forget a failed scope too, so that its name is free.
        text("CollectMode", "inactive-or-failed"),
    ];
    for setting in settings {
        for property in limit(setting) {
            // The last value counts, as it does for the files.
            all.retain(|known| known.0 != property.0);
            all.push(property);
        }
    }
    all
}

/// Returns the properties of one limit. A value that systemd would not take is left to the file, whose error names the key.
pub(crate) fn limit(setting: &Setting) -> Vec<Property> {
    let number = |name: &str| {
        let value = setting.value.trim();
        let value = if value == "max" { Some(u64::MAX) } else { value.parse().ok() };
        value.map(|n| vec![Property(name.to_owned(), Value::Number(n))]).unwrap_or_default()
    };
    let bits = |name: &str| {
        bitmap(&setting.value).map(|bits| vec![Property(name.to_owned(), Value::Bytes(bits))]).unwrap_or_default()
    };
    match setting.file.as_str() {
        "memory.max" => number("MemoryMax"),
        "memory.high" => number("MemoryHigh"),
        "memory.low" => number("MemoryLow"),
        "memory.min" => number("MemoryMin"),
        "memory.swap.max" => number("MemorySwapMax"),
        "cpu.weight" => number("CPUWeight"),
        // systemd takes no value below 1; the file is written after it.
        "pids.max" if setting.value.trim() == "0" => vec![Property("TasksMax".to_owned(), Value::Number(1))],
        "pids.max" => number("TasksMax"),
        "cpuset.cpus" => bits("AllowedCPUs"),
        "cpuset.mems" => bits("AllowedMemoryNodes"),
        "cpu.max" => quota(&setting.value),
        "memory.oom.group" => match setting.value.trim() {
            "0" => vec![Property("OOMPolicy".to_owned(), Value::Text("continue".to_owned()))],
            "1" => vec![Property("OOMPolicy".to_owned(), Value::Text("kill".to_owned()))],
            _ => Vec::new(),
        },
        _ => Vec::new(),
    }
}

/// Rounds a limit to the value that systemd keeps, and writes whenever it likes: a quota to the next whole percent, as runc does.
/// With any other value systemd would change the file behind the shim's back.
pub(crate) fn kept(mut setting: Setting) -> Setting {
    let words: Vec<_> = setting.value.split_whitespace().collect();
    if let ("cpu.max", [Ok(quota), Ok(period @ 1..)]) =
        (setting.file.as_str(), &words.iter().map(|word| word.parse::<u64>()).collect::<Vec<_>>()[..])
    {
        let a_second = a_second(*quota, *period);
        setting.value = format!("{} {period}", u128::from(a_second) * u128::from(*period) / u128::from(MICROSECONDS));
    }
    setting
}

/// Returns the microseconds on a processor in a second, rounded up to whole percents.
fn a_second(quota: u64, period: u64) -> u64 {
    (quota.saturating_mul(MICROSECONDS) / period).div_ceil(PERCENT).saturating_mul(PERCENT)
}

/// Turns `QUOTA PERIOD` into time on a processor in a second, rounded up.
fn quota(value: &str) -> Vec<Property> {
    let mut words = value.split_whitespace();
    let (quota, period) = (words.next(), words.next().map_or(Some(100_000), |word| word.parse::<u64>().ok()));
    let (Some(quota), Some(period @ 1..)) = (quota, period) else { return Vec::new() };
    let a_second = match quota.parse::<u64>() {
        Ok(quota) => a_second(quota, period),
        Err(_) if quota == "max" => u64::MAX,
        Err(_) => return Vec::new(),
    };
    vec![
        Property("CPUQuotaPeriodUSec".to_owned(), Value::Number(period)),
        Property("CPUQuotaPerSecUSec".to_owned(), Value::Number(a_second)),
    ]
}

/// Turns a list such as `0-3,7` into bits, the first in the lowest bit of the first byte.
fn bitmap(list: &str) -> Option<Vec<u8>> {
    /// More than any kernel has processors (NR_CPUS is 8192 at the most).
    const MOST: usize = 65536;
    let mut bits = Vec::new();
    for range in list.trim().split(',').map(str::trim).filter(|range| !range.is_empty()) {
        let (from, to) = range.split_once('-').unwrap_or((range, range));
        let (from, to): (usize, usize) = (from.trim().parse().ok()?, to.trim().parse().ok()?);
        if from > to || to >= MOST {
            return None;
        }
        for bit in from..=to {
            if bits.len() <= bit / 8 {
                bits.resize(bit / 8 + 1, 0);
            }
            bits[bit / 8] |= 1 << (bit % 8);
        }
    }
    (!bits.is_empty()).then_some(bits)
}

#[cfg(test)]
mod tests {
    use super::super::limits::resources;
    use super::super::v2;
    use super::*;
    use serde_json::json;

    fn shown(properties: &[Property]) -> Vec<String> {
        properties.iter().map(|Property(name, value)| format!("{name}={value:?}")).collect()
    }

    #[test]
    fn a_scope_has_the_properties_that_runc_gives_one() {
        let scope = Scope::parse("kubepods.slice:cri-containerd:abc").unwrap().unwrap();
        let spec = resources(json!({
            "memory": {"limit": 64, "swap": 96, "reservation": -1}, "pids": {"limit": 7},
            "cpu": {"shares": 512, "quota": 12345, "period": 100000, "cpus": "0-3,9", "mems": "0"},
            "hugepageLimits": [{"pageSize": "2MB", "limit": 0}],
            "unified": {"memory.oom.group": "1", "memory.high": "60", "pids.max": "max", "io.weight": "7"},
        }));
        let expected = [
            "Description=Text(\"Catamaran container cri-containerd-abc\")",
            "Slice=Text(\"kubepods.slice\")",
            "PIDs=Pids([77])",
            "Delegate=Flag(true)",
            "DefaultDependencies=Flag(false)",
            "CollectMode=Text(\"inactive-or-failed\")",
            "MemorySwapMax=Number(32)",
            "MemoryMax=Number(64)",
            "MemoryLow=Number(18446744073709551615)",
            "CPUWeight=Number(59)",
            "CPUQuotaPeriodUSec=Number(100000)",
            "CPUQuotaPerSecUSec=Number(130000)",
            "AllowedCPUs=Bytes([15, 2])",
            "AllowedMemoryNodes=Bytes([1])",
            "MemoryHigh=Number(60)",
            "OOMPolicy=Text(\"kill\")",
            "TasksMax=Number(18446744073709551615)",
        ];
        assert_eq!(shown(&list(&scope, 77, &v2::settings(&spec).unwrap())), expected);
    }

    #[test]
    fn a_limit_is_kept_as_systemd_writes_it() {
        let value = |file: &str, value: &str| {
            let (key, file, value) = (String::new(), file.to_owned(), value.to_owned());
            kept(Setting { key, file, value, missing: super::super::limits::Missing::Refused }).value
        };
        for (quota, expected) in [
            ("50000 100000", "50000 100000"),
            ("12345 100000", "13000 100000"),
            ("1 1000000", "10000 1000000"),
            ("150000 100000", "150000 100000"),
            ("max 100000", "max 100000"),
            ("5 0", "5 0"),
            ("max", "max"),
        ] {
            assert_eq!(value("cpu.max", quota), expected);
        }
        assert_eq!(value("memory.max", "12345"), "12345");
    }

    #[test]
    fn a_value_that_is_no_number_is_left_to_the_cgroup_file() {
        for bad in ["", "x", "3-1", "0-99999", "-1"] {
            assert_eq!(bitmap(bad), None, "{bad:?}");
        }
        assert_eq!(bitmap("0,8 , 9-10"), Some(vec![1, 7]));
        for bad in ["", "x 1", "5 0", "5 x"] {
            assert!(quota(bad).is_empty(), "{bad:?}");
        }
        let unlimited = ["CPUQuotaPeriodUSec=Number(100000)", "CPUQuotaPerSecUSec=Number(18446744073709551615)"];
        assert_eq!(shown(&quota("max")), unlimited);
    }
}
