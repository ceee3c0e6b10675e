//! The arguments of every part of a run.

use catamaran_harness::Node;

use crate::account::Account;
use crate::contender::Contender;
use crate::plan::Plan;

/// A run on one node.
pub(crate) struct Run<'a> {
    pub(crate) node: &'a Node,
    pub(crate) account: &'a Account<'a>,
    pub(crate) contenders: &'a [Contender],
    pub(crate) plan: &'a Plan,
}
