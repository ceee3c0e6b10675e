//! The lanes of the queue for the compiler. A compile waits for those that take about as long as it does, and for no longer ones.
//!
//! ```text
//! slots/short     a module of less than 512 KiB, whichever code: what a probe or a hook runs    0.1 s
//! slots/fast      the fast code of a larger one: a command                                      seconds
//! slots/best      the optimiser's code of a larger one, which a start waits for: a server       up to minutes on a busy machine
//! slots/later     the optimiser's code of a larger one, which nobody waits for
//! ```
//!
//! With one lane for all that starts wait for, an exec of a module of a kilobyte waited for the servers before it, on two processors
//! and in a development build: 8 and 10 s behind those of `examples/http-js` and `http-python`, 49 and 40 s beside four busy
//! processes. In a lane of its own it takes 0.1 and 0.2 s.
//!
//! All lanes are in the two cgroups of [`catamaran_cgroup::Compilers`], whose weight is what running pods feel: more compiles at a time
//! take no more of the processors.

use std::path::{Path, PathBuf};

use catamaran_cache::order;
use catamaran_cache::target::Target;
use catamaran_worker::compiler::Tier;

/// A lane. Those that a start waits for are in the order of how long their compiles take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Lane {
    Short,
    Fast,
    Best,
    Later,
}

impl Lane {
    /// Returns the lane of a start that waits for code of this tier, of a module of so many bytes.
    pub(super) fn awaited(tier: Tier, bytes: u64) -> Self {
        // The optimiser takes so little time that no command of that size starts on fast code.
        let is_short = order::awaited(None, Target::Wasmtime, bytes) == Tier::Best;
        match tier {
            _ if is_short => Lane::Short,
            Tier::Fast => Lane::Fast,
            Tier::Best => Lane::Best,
        }
    }

    /// Returns its folder below that of all slots.
    pub(super) fn folder(self, slots: &Path) -> PathBuf {
        slots.join(match self {
            Lane::Short => "short",
            Lane::Fast => "fast",
            Lane::Best => "best",
            Lane::Later => "later",
        })
    }

    /// Returns how many compile at a time. Leaves half of the processors to the pods, because a compile uses all that it gets; one where
    /// nobody waits.
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
    fn a_small_module_waits_behind_no_large_one_and_a_command_behind_no_server() {
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
        assert_eq!(Lane::awaited(Tier::Fast, 1), Lane::Short, "whatever a pod asks for");
        let folders = [Lane::Short, Lane::Fast, Lane::Best, Lane::Later].map(|lane| lane.folder(Path::new("s")));
        assert_eq!(folders.map(|folder| folder.display().to_string()), ["s/short", "s/fast", "s/best", "s/later"]);
    }
}
