//! Host names: a static C library still loads the image's libraries to look up a name (nss(5)), and a library is code.

use super::{Context, Row, also};
pub use crate::call::c_library;
use crate::call::{look_up, open};
use crate::outcome::Outcome;

/// The name of the service in the image's nsswitch.conf, and of its library.
pub const NSS: &str = "evil";

/// The file that the image's library writes when it is loaded.
const LOADED: &std::ffi::CStr = c"/tmp/loaded";

pub(super) fn rows() -> Vec<Row> {
    vec![Row::new("getaddrinfo: a library of the image by nsswitch.conf", also::LANDLOCK, looked_up)]
}

fn looked_up(context: &Context) -> Outcome {
    if context.text("NSS") != c_library() {
        return Outcome::Absent(format!("the image has no library of the C library {}", c_library()));
    }
    let failed = look_up(c"catamaran.invalid");
    match open(LOADED, libc::O_RDONLY) {
        Ok(_) => Outcome::Open("the library ran".to_owned()),
        Err(e) => Outcome::denied(format!("look-up failed ({failed}), no file of the library's: {e:?}")),
    }
}
