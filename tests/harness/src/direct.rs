//! A shim that is driven without containerd between: call by call, also those that containerd would never send.

mod calls;
mod shim;

pub use calls::{Answer, Call};
pub use shim::{Case, Shim, Standing};
