//! The compile driver: one process for an order, which has the cache's files, the queue of the compiler and the compile process.
//! And what an administrator asks by the command `catamaran`: `inspect`, what the engines say of a module, and `entries`, what is in
//! the cache.

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
