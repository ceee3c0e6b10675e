//! The lanes of the compiler's queue, by how long compiles take. A compile waits only for compiles of its lane.
//!
//! ```text
//! slots/short     a module of less than 512 KiB, whichever code: what a probe or a hook runs    0.1 s
//! slots/fast      the fast code of a larger one: a command                                      seconds
//! slots/best      the optimiser's code of a larger one, which a start waits for: a server       up to minutes on a busy machine
//! slots/later     the optimiser's code of a larger one, which nobody waits for
//! ```
//!
//! With one lane for all starts, an exec of a module of a kilobyte waited for the servers before it: 8 and 10 s behind those of
//! `examples/http-js` and `http-python`, 49 and 40 s beside four busy processes (two processors, development build). In a lane of its own
//! it takes 0.1 and 0.2 s.
//!
//! All lanes run in the two cgroups of [`catamaran_cgroup::Compilers`]. More compiles at a time take no more processor time from pods,
//! because the weight of these cgroups bounds it.

use std::path::{Path, PathBuf};

use catamaran_cache::order;
use catamaran_cache::target::Target;
use catamaran_worker::compiler::Tier;

/// A lane. The order is that of the compiles' duration; no start waits for the last lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Lane {
    Short,
    Fast,
    Best,
    Later,
}

impl Lane {
    /// Returns the lane of a start that waits for code of this tier, for a module of `bytes` bytes.
    pub(super) fn awaited(tier: Tier, bytes: u64) -> Self {
        // A module is short if even a command of its size starts on optimised code.
        let is_short = order::awaited(None, Target::Wasmtime, bytes) == Tier::Best;
        match tier {
            _ if is_short => Lane::Short,
            Tier::Fast => Lane::Fast,
            Tier::Best => Lane::Best,
        }
    }

    /// Returns the lane's folder below `slots`.
    pub(super) fn folder(self, slots: &Path) -> PathBuf {
        slots.join(match self {
            Lane::Short => "short",
            Lane::Fast => "fast",
            Lane::Best => "best",
            Lane::Later => "later",
        })
    }

    /// Returns how many compiles run at a time: one for each two processors, because a compile uses all that it gets and pods need the
    /// rest; one in the lane that no start waits for.
    pub(super) fn slots(self) -> usize {
        match self {
            Lane::Short | Lane::Fast | Lane::Best => {
                std::thread::available_parallelism().map_or(1, |n| (n.get() / 2).max(1))
            }
            Lane::Later => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use catamaran_cache::order::awaited;

    use super::*;

    const SHORT: u64 = 512 << 10;

    #[test]
    fn small_modules_commands_and_servers_have_separate_lanes() {
        for (target, bytes, expected) in [
            (Target::Wasmtime, SHORT - 1, Lane::Short),
            (Target::Wasmer, SHORT, Lane::Fast),
            (Target::Wasmtime, SHORT, Lane::Fast),
            (Target::WasmtimeHttp, SHORT - 1, Lane::Short),
            (Target::WasmtimeHttp, SHORT, Lane::Best),
            (Target::WasmtimeHttpUninterrupted, 32 << 20, Lane::Best),
            (Target::WasmtimeHttp, (32 << 20) + 1, Lane::Fast),
        ] {
            assert_eq!(Lane::awaited(awaited(None, target, bytes), bytes), expected, "{target}, {bytes}");
        }
        assert_eq!(
            Lane::awaited(Tier::Fast, 1),
            Lane::Short,
            "a small module is short even if the pod asks for fast code"
        );
        let folders = [Lane::Short, Lane::Fast, Lane::Best, Lane::Later].map(|lane| lane.folder(Path::new("s")));
        assert_eq!(folders.map(|folder| folder.display().to_string()), ["s/short", "s/fast", "s/best", "s/later"]);
    }
}
