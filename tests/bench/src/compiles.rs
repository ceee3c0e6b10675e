//! The node's cache of compiled modules: emptied, and what was compiled for it. Ours alone: another shim's cache, if it has one,
//! is out of sight, and where that is so its first start is just one more of its starts.

use std::fs;
use std::io::ErrorKind;
use std::time::Duration;

use catamaran_harness::{Node, wait_until};

/// A large module's optimiser may take as long behind the start that asked.
const LAST: Duration = Duration::from_secs(300);

/// Waits until nobody compiles for this node, and forgets what was compiled.
pub(crate) fn empty_the_cache(node: &Node) {
    settle(node);
    let cache = node.catamaran_root().join("cache");
    match fs::remove_dir_all(&cache) {
        Err(error) if error.kind() != ErrorKind::NotFound => panic!("cannot empty {}: {error}", cache.display()),
        _ => {}
    }
}

/// Waits until nobody compiles for this node.
///
/// # Panics
/// When somebody still does after five minutes.
pub(crate) fn settle(node: &Node) {
    let root = node.catamaran_root().display().to_string();
    let compiles = |pid: &str| {
        let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        words.ends_with(b"\0compile\0") && String::from_utf8_lossy(&environment).contains(&root)
    };
    wait_until(LAST, "the last compile", || {
        let names = fs::read_dir("/proc").expect("no /proc").flatten().map(|entry| entry.file_name());
        (!names.into_iter().any(|name| compiles(&name.to_string_lossy()))).then_some(())
    });
}

/// How many compile processes there were so far.
pub(crate) fn count(node: &Node) -> u64 {
    let text = fs::read_to_string(node.catamaran_root().join("counters")).unwrap_or_default();
    text.lines().find_map(|line| line.strip_prefix("compiles ")?.trim().parse().ok()).unwrap_or(0)
}
