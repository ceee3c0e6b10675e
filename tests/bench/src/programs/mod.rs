//! The programs that bench and `catamaran-engines` both measure.

pub mod start;
pub mod work;
