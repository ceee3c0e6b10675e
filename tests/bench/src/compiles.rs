//! The node's cache of compiled modules: emptying it, and counting its compiles. Only our shim's: another shim's cache, if it has one, is
//! out of reach, so its first start may find compiled code.

use std::fs;
use std::io::ErrorKind;

use catamaran_harness::Node;

/// Waits until no compile runs for this node, and empties the cache.
pub(crate) fn empty_the_cache(node: &Node) {
    node.await_compiles();
    let cache = node.catamaran_root().join("cache");
    match fs::remove_dir_all(&cache) {
        Err(error) if error.kind() != ErrorKind::NotFound => panic!("cannot empty {}: {error}", cache.display()),
        _ => {}
    }
}

/// The number of compile processes so far.
pub(crate) fn count(node: &Node) -> u64 {
    let text = fs::read_to_string(node.catamaran_root().join("counters")).unwrap_or_default();
    text.lines().find_map(|line| line.strip_prefix("compiles ")?.trim().parse().ok()).unwrap_or(0)
}
