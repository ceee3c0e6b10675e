//! Completes an Update by the kernel's present values, so that a limit that it does not name stays: some of v2's files hold two
//! keys of the specification.

use oci_spec::runtime::{LinuxCpu, LinuxMemory, LinuxResources};

use super::super::limits::{Limit, refused};
use crate::error::Result;

/// Adds the other key of each such file. `now` reads a file of the cgroup, of v2.
pub(crate) fn complete(resources: &mut LinuxResources, now: &dyn Fn(&str) -> Option<String>) -> Result<()> {
    if let Some(memory) = resources.memory_mut() {
        complete_memory(memory, now)?;
    }
    if let Some(cpu) = resources.cpu_mut() {
        complete_cpu(cpu, now);
    }
    Ok(())
}

/// Completes memory and swap. `memory.swap` is both together, v2's limit is swap alone. The sum stays if one of them is not
/// named, as it does on v1, where the kernel has it in a file; but no swap stays no swap.
fn complete_memory(memory: &mut LinuxMemory, now: &dyn Fn(&str) -> Option<String>) -> Result<()> {
    let limit = Limit::parse("memory.limit", memory.limit())?;
    let swap = Limit::parse("memory.swap", memory.swap())?;
    let bytes = |file: &str| now(file).and_then(|text| text.trim().parse::<u64>().ok());
    match (limit, swap) {
        (Some(Limit::Of(new)), None) => {
            let (Some(old), Some(swap @ 1..)) = (bytes("memory.max"), bytes("memory.swap.max")) else { return Ok(()) };
            let both = old.saturating_add(swap);
            if new > both {
                let expected = format!(
                    "{both} or less, which memory and swap together are limited to, or memory.swap beside it, for both"
                );
                return Err(refused("memory.limit", new.to_string(), expected));
            }
            memory.set_swap(i64::try_from(both).ok());
        }
        (None, Some(Limit::Of(_))) => {
            let unlimited = now("memory.max").is_some_and(|text| text.trim() == "max");
            let limit = if unlimited { Some(-1) } else { bytes("memory.max").and_then(|n| i64::try_from(n).ok()) };
            memory.set_limit(limit);
        }
        _ => {}
    }
    Ok(())
}

/// Completes quota and period, which are both in `cpu.max`.
fn complete_cpu(cpu: &mut LinuxCpu, now: &dyn Fn(&str) -> Option<String>) {
    let (quota, period) = (cpu.quota().unwrap_or(0), cpu.period().unwrap_or(0));
    if (quota == 0) == (period == 0) {
        return;
    }
    let Some(text) = now("cpu.max") else { return };
    let mut words = text.split_whitespace();
    let (old_quota, old_period) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    if quota == 0 {
        cpu.set_quota(Some(old_quota.parse().unwrap_or(-1)));
    } else {
        cpu.set_period(old_period.parse().ok());
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::limits::{resources, written};
    use super::super::super::v2;
    use super::*;
    use serde_json::{Value, json};

    const MEMORY: [(&str, &str); 2] = [("memory.max", "64\n"), ("memory.swap.max", "32\n")];

    fn try_table(files: &[(&str, &str)], update: Value) -> Result<Vec<String>> {
        let now = |file: &str| files.iter().find(|(name, _)| *name == file).map(|(_, text)| (*text).to_owned());
        let mut update = resources(update);
        complete(&mut update, &now)?;
        Ok(written(&v2::settings(&update)?))
    }

    fn table(files: &[(&str, &str)], update: Value) -> Vec<String> {
        try_table(files, update).unwrap()
    }

    #[test]
    fn a_new_memory_limit_keeps_the_sum_of_memory_and_swap() {
        let limit = |n: i64| json!({"memory": {"limit": n}});
        assert_eq!(table(&MEMORY, limit(40)), ["memory.swap.max=56", "memory.max=40"]);
        assert_eq!(table(&MEMORY, limit(96)), ["memory.swap.max=0 (or nothing)", "memory.max=96"]);
        let text = try_table(&MEMORY, limit(97)).unwrap_err().to_string();
        assert!(text.contains("memory.limit: 97: 96 or less") && text.contains("memory.swap beside it"), "{text}");
        // No sum to keep: no swap, unlimited swap, no accounting of swap.
        let none: [&[_]; 3] =
            [&[MEMORY[0], ("memory.swap.max", "0\n")], &[MEMORY[0], ("memory.swap.max", "max\n")], &[MEMORY[0]]];
        for files in none {
            assert_eq!(table(files, limit(97)), ["memory.max=97"], "{files:?}");
        }
        let all = ["memory.swap.max=max (or nothing)", "memory.max=max (or nothing)"];
        assert_eq!(table(&MEMORY, limit(-1)), all);
    }

    #[test]
    fn a_new_swap_limit_is_counted_with_the_present_memory_limit() {
        let swap = json!({"memory": {"swap": 100}});
        assert_eq!(table(&MEMORY, swap.clone()), ["memory.swap.max=36", "memory.max=64"]);
        let unlimited = [("memory.max", "max\n"), ("memory.swap.max", "max\n")];
        assert_eq!(table(&unlimited, swap), ["memory.swap.max=100", "memory.max=max (or nothing)"]);
        assert_eq!(table(&MEMORY, json!({"memory": {"swap": -1}})), ["memory.swap.max=max (or nothing)"]);
        assert!(try_table(&[], json!({"memory": {"swap": 100}})).unwrap_err().to_string().contains("memory.swap: 100"));
    }

    #[test]
    fn an_unnamed_quota_or_period_is_kept() {
        let limited = [("cpu.max", "5000 20000\n")];
        assert_eq!(table(&limited, json!({"cpu": {"quota": 7000}})), ["cpu.max=7000 20000"]);
        assert_eq!(table(&limited, json!({"cpu": {"quota": -1}})), ["cpu.max=max 20000 (or nothing)"]);
        assert_eq!(table(&limited, json!({"cpu": {"period": 10000}})), ["cpu.max=5000 10000"]);
        let free = [("cpu.max", "max 100000\n")];
        assert_eq!(table(&free, json!({"cpu": {"period": 10000}})), ["cpu.max=max 10000 (or nothing)"]);
        assert_eq!(table(&limited, json!({"cpu": {"shares": 1024}})), ["cpu.weight=100 (or nothing)"]);
        assert_eq!(table(&[], json!({"cpu": {"quota": 7000}})), ["cpu.max=7000 100000"]);
    }
}
