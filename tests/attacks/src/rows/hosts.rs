//! Names: a static C library still loads the image's libraries to look a name up (nss(5)), and a library is code.

use super::{Context, Row, also};
pub use crate::call::c_library;
use crate::call::{look_up, open};
use crate::outcome::Outcome;

/// The name of the look-up's service in the image's nsswitch.conf, and of its library.
pub const NSS: &str = "evil";

/// What the library of the image writes when it is loaded.
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
