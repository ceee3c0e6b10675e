//! Bounds the amount of something that one tenant, and all tenants together, may have at a time. A locked file stands for each amount and
//! ends with its holder.
//!
//! ```text
//! FOLDER/PID.N-AMOUNT-TENANT
//! ```
//!
//! A process makes its file first and adds up afterwards, so that of two simultaneous requests both are refused rather than both accepted.
//! What a tenant has beyond its own bound does not count in the total, so it takes nothing from the others.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use catamaran_cache::tenant::name;

use super::locks::{self, Lock};
use crate::error::{Doing, Result};

/// The bounds on an amount.
pub(super) struct Bounds {
    /// The most that one tenant may have.
    pub(super) own: u64,
    /// The most that all tenants may have together.
    pub(super) total: u64,
    /// The amount that a tenant may have even if the total is used up.
    pub(super) least: u64,
}

/// The bound that a request exceeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    Own,
    Total,
}

/// The result of asking for a share.
pub(super) enum Share {
    /// The share is held until the lock is dropped.
    Taken(Lock),
    Full(Full),
}

/// Takes `amount` for `tenant`, until the returned lock is dropped. Grants any amount if nobody else has one.
pub(super) fn take(folder: &Path, tenant: &str, amount: u64, bounds: &Bounds) -> Result<Share> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let tenant = name(tenant);
    let path = folder.join(format!("{}.{number}-{amount}-{tenant}", std::process::id()));
    let held = locks::own(path)?;
    for last in [false, true] {
        let sums = sums(folder, last)?;
        match bounds.full(&sums, &tenant, amount) {
            None => return Ok(Share::Taken(held)),
            Some(full) if last => return Ok(Share::Full(full)),
            // Some files' holders may be dead: they are checked only now, in a second round.
            Some(_) => {}
        }
    }
    Ok(Share::Taken(held))
}

impl Bounds {
    /// Returns the exceeded bound. `sums` has each tenant's amount, the new `amount` included.
    fn full(&self, sums: &HashMap<String, u64>, tenant: &str, amount: u64) -> Option<Full> {
        let own = sums.get(tenant).copied().unwrap_or(amount);
        let total: u64 = sums.values().map(|sum| (*sum).min(self.own)).fold(0, u64::saturating_add);
        match () {
            () if sums.values().copied().fold(0, u64::saturating_add) <= amount => None,
            () if own > self.own => Some(Full::Own),
            () if total > self.total && own > self.least => Some(Full::Total),
            () => None,
        }
    }
}

/// Returns each tenant's amount. If `living` is true, removes the files of dead holders and does not count them.
fn sums(folder: &Path, living: bool) -> Result<HashMap<String, u64>> {
    let mut sums = HashMap::<String, u64>::new();
    for entry in fs::read_dir(folder).on(folder)?.flatten() {
        let file = entry.file_name();
        let words: Vec<_> = file.to_str().unwrap_or_default().split('-').collect();
        let [_, amount, tenant] = words[..] else { continue };
        let Ok(amount) = amount.parse::<u64>() else { continue };
        if living && locks::remove_dead(&entry.path())? {
            continue;
        }
        let sum = sums.entry(tenant.to_owned()).or_default();
        *sum = sum.saturating_add(amount);
    }
    Ok(sums)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_tenant_has_a_share_of_its_own() {
        let folder = std::env::temp_dir().join(format!("catamaran-shares-{}", std::process::id()));
        let bounds = Bounds { own: 3, total: 7, least: 1 };
        let take = |tenant: &str, amount: u64| match take(&folder, tenant, amount, &bounds).unwrap() {
            Share::Taken(held) => Ok(held),
            Share::Full(full) => Err(full),
        };
        let mut held: Vec<_> = (0..3).map(|_| take("a", 1).unwrap()).collect();
        assert_eq!(take("a", 1).map(drop), Err(Full::Own));
        held.push(take("b", 3).unwrap());
        assert_eq!(take("b", 1).map(drop), Err(Full::Own));
        held.push(take("c", 1).unwrap());
        assert_eq!(take("c", 1).map(drop), Err(Full::Total), "an eighth is too much");
        held.push(take("d", 1).unwrap());
        assert_eq!(
            take("d", 1).map(drop),
            Err(Full::Total),
            "a tenant with nothing gets its least amount, and no more"
        );
        // A killed process leaves a file without a lock.
        fs::write(folder.join("7.0-100-0123456789abcdef"), "").unwrap();
        assert_eq!(held.len(), fs::read_dir(&folder).unwrap().count() - 1);
        held.truncate(1);
        held.extend([take("b", 3).unwrap(), take("c", 2).unwrap()]);
        assert_eq!(held.len(), fs::read_dir(&folder).unwrap().count(), "the dead holder's file is removed");
        held.clear();
        let large = take("a", 100).unwrap();
        assert_eq!(
            take("b", 100).map(drop),
            Err(Full::Own),
            "an amount beyond the bound is granted only to a single holder"
        );
        drop(large);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
        fs::remove_dir_all(&folder).unwrap();
    }
}
