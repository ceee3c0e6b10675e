//! A shim that is driven without containerd: call by call, including calls that containerd would never send.

mod calls;
mod shim;

pub use calls::{Answer, Call};
pub use shim::{Case, Shim, Standing};
