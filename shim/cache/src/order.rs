//! The messages between the shim and the compile driver, on a socket, with descriptors beside them: one order, its answer, and a
//! second answer if better code is made later.

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
    /// The targets to try, in this order (`target::Untried`).
    pub targets: Vec<Target>,
    /// The tier that the start waits for; if None, the module's size decides ([`awaited`]).
    pub tier: Option<Tier>,
    /// The container's tenant.
    pub tenant: String,
    /// The module's name, for messages.
    pub name: String,
    /// The file's sha256 as the shim saw it; empty for an image.
    pub digest: String,
    /// Which artifact is wanted.
    pub wish: Wish,
    /// The largest module that is compiled.
    pub largest: Largest,
    /// The image that has the module as a layer. If None, the order carries the module's file.
    pub image: Option<Image>,
    /// The programs whose descriptors come with the order, before the module's: their names and where they were installed.
    pub programs: Vec<(String, PathBuf)>,
    /// The image's layer, once the driver has found it.
    pub layer: Option<Chosen>,
}

/// Which artifact is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wish {
    /// Any artifact, as soon as possible.
    Any,
    /// A new artifact, because the present one does not fit its engine.
    Again,
    /// The best artifact, for later starts. No start waits for the answer.
    Best,
}

/// The answer to an order.
#[derive(Debug, Serialize, Deserialize)]
pub enum Answer {
    /// Carries the artifact's file.
    Made {
        /// The module's name.
        module: String,
        /// The target that it is made for.
        target: Target,
        /// sha256 of the module that this is the machine code of.
        digest: String,
        /// The layer of the order's image that is the module.
        layer: Option<Chosen>,
        /// The tier of the compiler that made it.
        tier: Tier,
        /// Where it came from.
        origin: Origin,
        /// Whether an [`Answer::Improved`] follows, once better code was made or could not be.
        later: bool,
        /// Whether the artifact is in memory alone. The driver counts that memory until the socket is closed.
        uncached: bool,
        /// What the node's administrator should know.
        warnings: Vec<String>,
    },
    /// Answers [`Wish::Best`], or follows [`Answer::Made`].
    Improved {
        /// As in [`Answer::Made`].
        warnings: Vec<String>,
    },
    /// The module is at fault.
    Refused {
        /// The module's name.
        module: String,
        /// The reason, for the user.
        reason: String,
    },
    /// No target of the order runs the module; another engine might.
    Declined {
        /// The module's name.
        module: String,
        /// The reasons, by engine.
        declined: Declined,
    },
    /// The image has no layer to run, for this reason.
    NoLayer(String),
    /// The compiler or the node is at fault.
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

impl Origin {
    /// Returns its word in the log.
    pub fn word(self) -> &'static str {
        match self {
            Origin::Hit => "hit",
            Origin::Shared => "shared",
            Origin::Compiled(_) => "compiled",
        }
    }
}

/// The purpose that a cache is opened for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Purpose {
    /// The targets to try, in this order.
    pub targets: Vec<Target>,
    /// The tier to wait for, if the pod says one.
    pub tier: Option<Tier>,
    /// The container's tenant.
    pub tenant: String,
    /// The largest module that is compiled.
    pub largest: Largest,
}

/// A command of fewer bytes is compiled by the optimiser at once, because that takes less than a tenth of a second.
pub const COMMANDS_WORTH_TWO: u64 = 512 << 10;
/// A server of more bytes starts on fast code. A server waits longer than a command for the best code, some seconds for the
/// interpreters of scripting languages, because it runs longer on the code that it started with.
pub const SERVERS_WORTH_TWO: u64 = 32 << 20;

/// Returns the tier that a start waits for: `asked`, or else the one that suits a module of so many bytes.
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
