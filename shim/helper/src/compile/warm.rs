//! Compiles a module ahead of its first start, for the command `catamaran cache warm`. Gives a driver the same order as a shim does for a
//! start, so that the same turns, shares and locks apply.

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::AsFd;

use catamaran_cache::engine::Engine;
use catamaran_cache::module::{Largest, Module};
use catamaran_cache::order::{Answer, Order, Origin, Wish};
use catamaran_cache::places::environment;
use catamaran_cache::target::Target;
use catamaran_host::errand::{self, Conversation};
use catamaran_host::{child, programs};
use catamaran_worker::control;
use serde::{Deserialize, Serialize};

use crate::error::{Doing, Error, Result};

/// The request, as JSON on the command line. The module is standard input.
#[derive(Deserialize)]
struct Asked {
    name: String,
    /// The engines to try, in this order.
    engines: Vec<Engine>,
    /// The Kubernetes namespace to whose share of the cache the entry counts.
    tenant: String,
    largest: u64,
}

/// The result, as JSON on standard output.
#[derive(Debug, Serialize)]
struct Warmed {
    digest: String,
    engine: Engine,
    /// The target of the machine code.
    target: Target,
    /// The tier of the code in the cache now.
    tier: &'static str,
    /// Whether the code was in the cache before.
    hit: bool,
    warnings: Vec<String>,
}

/// The `warm` action.
pub(crate) fn run(arguments: &[OsString]) -> Result<()> {
    let asked = arguments.first().and_then(|text| serde_json::from_str::<Asked>(text.to_str()?).ok());
    let Some(asked) = asked else {
        return Err(Error::refused(
            "command line",
            "warm",
            "only the command `catamaran cache warm` starts this action, with a request as JSON",
        ));
    };
    let file = std::io::stdin().as_fd().try_clone_to_owned().doing(|| format!("reading {}", asked.name))?;
    let module = Module::hashed(asked.name.clone(), File::from(file), Largest(asked.largest))?;
    crate::answer(&warm(&asked, &module)?)
}

fn warm(asked: &Asked, module: &Module) -> Result<Warmed> {
    let doing = || format!("ordering the compilation of {}", asked.name);
    let Conversation { control, pidfd, .. } = errand::converse(programs::COMPILE, environment(), doing)?;
    let order = Order {
        // A server gets the code for requests with a time limit, which they have unless the pod says otherwise.
        targets: Target::any(&asked.engines),
        tier: None,
        tenant: asked.tenant.clone(),
        name: asked.name.clone(),
        digest: module.digest.clone(),
        wish: Wish::Any,
        largest: Largest(asked.largest),
        image: None,
        programs: Vec::new(),
        layer: None,
    };
    control::send_with(control.as_fd(), &order, &[module.file.as_fd()]).doing(doing)?;
    let receive = || control::receive_with::<Answer>(control.as_fd()).map(|(answer, _)| answer).doing(doing);
    let warmed = match receive()? {
        Answer::Made { target, digest, tier, origin, later, warnings, .. } => {
            let hit = !matches!(origin, Origin::Compiled(_));
            let mut warmed = Warmed { digest, engine: target.engine(), target, tier: tier.word(), hit, warnings };
            if later && let Answer::Improved { warnings } = receive()? {
                if warnings.is_empty() {
                    warmed.tier = "best";
                }
                warmed.warnings.extend(warnings);
            }
            Ok(warmed)
        }
        Answer::Refused { module, reason } => Err(Error::Module { module, reason }),
        Answer::Declined { module, declined } => Err(Error::Declined { module, declined }),
        Answer::Failed(reason) | Answer::NoLayer(reason) => Err(Error::Compiler { module: asked.name.clone(), reason }),
        Answer::Improved { .. } => Err(Error::Compiler {
            module: asked.name.clone(),
            reason: "the compile driver sent no artifact".to_owned(),
        }),
    };
    drop(control);
    let _ = child::wait_blocking(&pidfd);
    warmed
}
