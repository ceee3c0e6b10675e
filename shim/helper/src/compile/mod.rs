//! The compile driver: one process for an order, which handles the cache's files, the compiler's queue and the compile process. Also the
//! actions for the command `catamaran`: `inspect` (would an engine run a module?), `entries` (list, prune and verify the cache) and `warm`
//! (compile ahead of time).

mod asker;
pub(crate) mod driver;
pub(crate) mod entries;
mod evict;
mod given;
pub(crate) mod inspect;
mod lane;
mod locks;
mod look;
mod make;
mod outcome;
mod process;
mod queue;
mod served;
mod shares;
pub(crate) mod warm;
