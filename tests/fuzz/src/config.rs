//! config.json, by both of its readers: the search's outline, and the whole.

use catamaran_daemon::untrusted;
use catamaran_files::outline::Outline;

use crate::lines::widened;
use crate::{Taken, told};

/// A config.json, with `~` for a long text.
pub(crate) fn target(input: &[u8]) -> Taken {
    let text = widened(input);
    if let Ok(outline) = Outline::parse(&text) {
        let _ = (outline.root("/bundle".as_ref()), outline.cgroup().map(str::len), outline.has_own_pids());
        let _ = (outline.variable("PATH").map(str::len), outline.mounts.iter().filter_map(|m| m.bound()).count());
    }
    told::taken(untrusted::resources(&text));
    told::taken(untrusted::config(&text))
}
