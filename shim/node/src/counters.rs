//! Reads the files that shims and compile processes leave: their counters, and the folders of the cache.
//!
//! The names are those of `shim/cache/src/counters.rs`, `shim/cache/src/store.rs` and `shim/helper/src/compile/shares.rs`. This program
//! links none of them, and may read another version's files.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::host::Host;
use crate::state;

/// Each counter by its name. Lines that are not counters are left out.
pub(crate) fn read(host: &Host) -> BTreeMap<String, u64> {
    let text = host.text(&state::home().join("counters")).unwrap_or_default();
    let lines = text.lines().filter_map(|line| line.split_once(' '));
    lines.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?))).collect()
}

/// Starts of servers, by the origin of the code that each runs until it ends; None if no server was started.
pub(crate) fn servers(counters: &BTreeMap<String, u64>) -> Option<String> {
    let started = |origin: &str| -> u64 {
        let of_servers = |name: &str| name.starts_with("starts.") && name.ends_with(&format!(".http.{origin}"));
        counters.iter().filter(|(name, _)| of_servers(name)).map(|(_, value)| value).sum()
    };
    let [best, fast, uncached] = ["best", "fast", "uncached"].map(started);
    (best + fast + uncached > 0)
        .then(|| format!("{best} started on the best code, {fast} on fast code, {uncached} on code outside the cache"))
}

/// The content of the cache.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Size {
    /// The number of artifacts.
    pub(crate) entries: u64,
    /// The space on the disk, including the files beside the artifacts.
    pub(crate) bytes: u64,
}

impl Size {
    pub(crate) fn read(host: &Host) -> Self {
        let mut size = Self::default();
        let folders = fs::read_dir(host.at(&state::home().join("cache"))).into_iter().flatten().flatten();
        for file in folders.flat_map(|folder| fs::read_dir(folder.path()).into_iter().flatten().flatten()) {
            // An artifact that is evicted meanwhile does not count.
            let Ok(data) = file.metadata() else { continue };
            size.bytes += data.blocks() * 512;
            size.entries += u64::from(is_artifact(&file.file_name().to_string_lossy()));
        }
        size
    }
}

/// Artifacts are `SHA256` or `SHA256.fast`, with `.own-TENANT` behind it if they are for one tenant; beside them lie sums, marks,
/// functions, refusals, and what is not complete yet.
fn is_artifact(name: &str) -> bool {
    let hexadecimal = |text: &str, length| text.len() == length && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let shared = match name.split_once(".own-") {
        Some((shared, tenant)) if hexadecimal(tenant, 16) => shared,
        _ => name,
    };
    hexadecimal(shared.strip_suffix(".fast").unwrap_or(shared), 64)
}

/// How many starts wait for an artifact, including those whose module is being compiled: files `orders/PID.N-AMOUNT-TENANT` of compile
/// drivers that still run.
pub(crate) fn queue(host: &Host) -> u64 {
    let entries = fs::read_dir(host.at(&state::home().join("orders"))).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let pids = names.filter_map(|name| name.split_once('.')?.0.parse::<u32>().ok());
    pids.filter(|pid| host.exists(&Path::new("/proc").join(pid.to_string()))).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Tree;

    #[test]
    fn starts_of_servers_are_summed_over_engines() {
        let counted =
            [("starts.wasmtime.http.best", 4), ("starts.newer.http.best", 1), ("starts.wasmtime.http.fast", 2)];
        let others = [("starts.wasmtime.command.fast", 8), ("compiled.wasmtime.fast", 16), ("hits", 32)];
        let all = counted.into_iter().chain(others).map(|(name, value)| (name.to_owned(), value)).collect();
        let told = "5 started on the best code, 2 on fast code, 0 on code outside the cache";
        assert_eq!(servers(&all).as_deref(), Some(told));
    }

    #[test]
    fn metrics_count_the_files_of_other_processes_and_ignore_foreign_ones() {
        let mut tree = Tree::new();
        let host = tree.host();
        assert_eq!((read(&host).len(), Size::read(&host), queue(&host)), (0, Size::default(), 0));
        let home = "var/lib/catamaran";
        tree.file(
            &format!("{home}/counters"),
            "hits 3\nhits.wasmtime 3\nnewer.thing a lot\nstarts.wasmer.command.best 7\n\n",
        );
        let (digest, folder) = ("0123456789abcdef".repeat(4), format!("{home}/cache/wasmtime-48-x"));
        let tenant = "0011223344556677";
        let artifacts = ["", ".fast", &format!(".own-{tenant}"), &format!(".fast.own-{tenant}")].map(str::to_owned);
        let others = [".sum", ".fast.sum", ".refused"].map(str::to_owned);
        let marks = [".of-", ".functions-", ".fast.functions-"].map(|kind| format!("{kind}{tenant}"));
        let beside = [format!(".own-{tenant}.sum"), format!(".own-{tenant}.of-{tenant}")];
        for name in artifacts.iter().chain(&others).chain(&marks).chain(&beside) {
            tree.file(&format!("{folder}/{digest}{name}"), &"x".repeat(5000));
        }
        tree.file(&format!("{folder}/new-12.3-0"), "half");
        tree.process(77, &["catamaran-helper", "compile"]);
        for name in ["77.0-1-aa", "77.1-1-bb", "4194305.0-1-aa", "junk"] {
            tree.file(&format!("{home}/orders/{name}"), "");
        }
        let read = read(&host);
        assert_eq!(read.keys().collect::<Vec<_>>(), ["hits", "hits.wasmtime", "starts.wasmer.command.best"]);
        assert_eq!(read["starts.wasmer.command.best"], 7);
        assert_eq!(servers(&read), None, "a command was started");
        let size = Size::read(&host);
        assert_eq!((size.entries, size.bytes >= 60_000, queue(&host)), (4, true, 2), "{size:?}");
    }
}
