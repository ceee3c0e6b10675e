//! The messages between the shim and a worker: the job, and the reports of a worker that was broken into; and a module's first bytes.

use catamaran_worker::control::Report;
use catamaran_worker::job::Job;
use catamaran_worker::{form, version};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Taken, told};

/// A message after its version, or a whole one.
pub(crate) fn target(input: &[u8]) -> Taken {
    let message = [version::VERSION.as_bytes(), b"\n", input].concat();
    let _ = version::read::<Job>(input).map(drop);
    let module = form::parse(input);
    if let Err(text) = &module {
        told::printable(text);
    }
    let job = again::<Job>(&message);
    again::<Report>(&message) || job || module.is_ok()
}

/// Whether the message is valid; a valid one must be the same when it is written again.
fn again<T: Serialize + DeserializeOwned>(message: &[u8]) -> bool {
    let Ok(value) = version::read::<T>(message) else { return false };
    let Ok(written) = version::write(&value) else { return false };
    let read = version::read::<T>(&written)
        .map_err(|e| e.to_string())
        .and_then(|value| version::write(&value).map_err(|e| e.to_string()));
    assert_eq!(
        read.map(|text| String::from_utf8_lossy(&text).into_owned()),
        Ok(String::from_utf8_lossy(&written).into_owned())
    );
    true
}
