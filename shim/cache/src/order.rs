//! What the shim and the compile driver say to each other: one order, its answer, and one more when
//! better code was made, on a socket, with descriptors beside them.

use std::path::PathBuf;

use catamaran_worker::compiler::Tier;
use serde::{Deserialize, Serialize};

use super::module::Largest;
use crate::error::Declined;
use crate::image::{Chosen, Image};
use crate::target::Target;

/// An artifact that the shim wants.
#[derive(Debug, Serialize, Deserialize)]
pub struct Order {
    /// What it may be made for, in the order in which that is to be tried (`target::Untried`).
    pub targets: Vec<Target>,
    /// The code that is waited for; without, what the module's size tells ([`awaited`]).
    pub tier: Option<Tier>,
    /// Whose the container is.
    pub tenant: String,
    /// The module's, for messages.
    pub name: String,
    /// The file's sha256 as the shim saw it; empty for an image.
    pub digest: String,
    /// Which artifact is wanted.
    pub wish: Wish,
    /// The largest module that is compiled.
    pub largest: Largest,
    /// Whose layer the module is. Without, the order carries the module's file.
    pub image: Option<Image>,
    /// The programs whose descriptors come with the order, before the module's: their names and where they were installed.
    pub programs: Vec<(String, PathBuf)>,
    /// The image's layer, once the driver has found it.
    pub layer: Option<Chosen>,
}

/// Which artifact is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wish {
    /// Any artifact, as soon as can be.
    Any,
    /// A new one: the one that there is does not fit its engine.
    Again,
    /// The best one, for later starts. Nobody waits for the answer.
    Best,
}

/// What came of an order.
#[derive(Debug, Serialize, Deserialize)]
pub enum Answer {
    /// Carries the artifact's file.
    Made {
        /// What the module is called.
        module: String,
        /// What it is made for.
        target: Target,
        /// sha256 of the bytes that this is machine code of.
        digest: String,
        /// Which layer of the order's image they are.
        layer: Option<Chosen>,
        /// Which of the compilers made it.
        tier: Tier,
        /// Where it came from.
        origin: Origin,
        /// Whether an [`Answer::Improved`] comes when better code was made.
        later: bool,
        /// Whether the artifact is in memory alone, which the driver counts until the socket is closed.
        uncached: bool,
        /// What the node's administrator should know.
        warnings: Vec<String>,
    },
    /// To [`Wish::Best`], and behind [`Answer::Made`].
    Improved {
        /// As in [`Answer::Made`].
        warnings: Vec<String>,
    },
    /// The module is at fault: what it is called, and the reason, for the user.
    Refused {
        /// What the module is called.
        module: String,
        /// For its user.
        reason: String,
    },
    /// No target of the order takes it, another engine might: why, by engine.
    Declined {
        /// What the module is called.
        module: String,
        /// Why, by engine.
        declined: Declined,
    },
    /// The image has no layer to run: why.
    NoLayer(String),
    /// The compiler is, or the node.
    Failed(String),
}

/// Where an artifact came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Origin {
    /// The cache.
    Hit,
    /// Another start's compile, for which this one waited.
    Shared,
    /// A compile of its own, in milliseconds.
    Compiled(u64),
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Origin::Hit => f.write_str("hit"),
            Origin::Shared => f.write_str("shared"),
            Origin::Compiled(milliseconds) => write!(f, "compiled compile_milliseconds={milliseconds}"),
        }
    }
}

/// What a cache is opened for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Purpose {
    /// What its code may be made for, in the order in which that is tried.
    pub targets: Vec<Target>,
    /// The code that it waits for, where the pod says so.
    pub tier: Option<Tier>,
    /// Whose the container is.
    pub tenant: String,
    /// The largest module that is compiled.
    pub largest: Largest,
}

/// A command of fewer bytes is compiled by the optimiser at once: that takes less than a tenth of a second.
const COMMANDS_WORTH_TWO: u64 = 512 << 10;
/// A server of more bytes starts on fast code. It runs longer than a command, on the code that it started with, so that it
/// waits longer for the best: some seconds for the interpreters of scripting languages.
const SERVERS_WORTH_TWO: u64 = 32 << 20;

/// The code that a start waits for: what `asked` says, or what suits a module of so many bytes.
pub fn awaited(asked: Option<Tier>, target: Target, bytes: u64) -> Tier {
    let fast = match target.is_server() {
        true => bytes > SERVERS_WORTH_TWO,
        false => bytes >= COMMANDS_WORTH_TWO,
    };
    asked.unwrap_or(if fast { Tier::Fast } else { Tier::Best })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_names_the_sizes_from_which_on_fast_code_is_enough() {
        let document = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/annotations.md");
        let (commands, servers) = (COMMANDS_WORTH_TWO >> 10, SERVERS_WORTH_TWO >> 20);
        let said = format!("commands from {commands} KiB on start on fast code, servers only beyond {servers} MiB");
        assert!(std::fs::read_to_string(document).unwrap().contains(&said), "{said}");
    }

    #[test]
    fn a_large_module_starts_on_fast_code_and_a_server_only_when_it_is_very_large() {
        let servers = [Target::WasmtimeHttp, Target::WasmtimeHttpUninterrupted];
        for (targets, bytes, tier) in [
            (&[Target::Wasmtime, Target::Wasmer][..], (512 << 10) - 1, Tier::Best),
            (&[Target::Wasmtime, Target::Wasmer], 512 << 10, Tier::Fast),
            (&servers, 512 << 10, Tier::Best),
            (&servers, 32 << 20, Tier::Best),
            (&servers, (32 << 20) + 1, Tier::Fast),
        ] {
            for target in targets {
                assert_eq!(awaited(None, *target, bytes), tier, "{target}, {bytes}");
                for asked in [Tier::Fast, Tier::Best] {
                    assert_eq!(awaited(Some(asked), *target, bytes), asked);
                }
            }
        }
    }
}
