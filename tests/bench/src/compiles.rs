//! The node's cache of compiled modules: emptied, and what was compiled for it. Ours alone: another shim's cache, if it has one,
//! is out of sight, and where that is so its first start is just one more of its starts.

use std::fs;
use std::io::ErrorKind;

use catamaran_harness::Node;

/// Waits until nobody compiles for this node, and forgets what was compiled.
pub(crate) fn empty_the_cache(node: &Node) {
    node.await_compiles();
    let cache = node.catamaran_root().join("cache");
    match fs::remove_dir_all(&cache) {
        Err(error) if error.kind() != ErrorKind::NotFound => panic!("cannot empty {}: {error}", cache.display()),
        _ => {}
    }
}

/// How many compile processes there were so far.
pub(crate) fn count(node: &Node) -> u64 {
    let text = fs::read_to_string(node.catamaran_root().join("counters")).unwrap_or_default();
    text.lines().find_map(|line| line.strip_prefix("compiles ")?.trim().parse().ok()).unwrap_or(0)
}
