//! The compile driver: one process for an order, which handles the cache's files, the compiler's queue and the compile process.
//! And the administrator's actions: `inspect`, what the engines say of a module, `entries`, what is in the cache, and `warm`, which
//! compiles beforehand.

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
