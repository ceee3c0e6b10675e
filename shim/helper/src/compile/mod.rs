//! The compile driver: one process for an order, which has the cache's files, the queue of the compiler and the compile process.

mod asker;
pub(crate) mod driver;
mod evict;
mod given;
mod locks;
mod look;
mod make;
mod outcome;
mod process;
mod queue;
mod served;
mod shares;
