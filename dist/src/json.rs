//! JSON with its keys in one order. Other crates' types keep annotations in hash maps, whose order changes from run to run.

use serde::Serialize;
use serde_json::Value;

use crate::error::{Error, Result};

/// Compact JSON with sorted keys.
pub(crate) fn sorted(value: &impl Serialize) -> Result<Vec<u8>> {
    write(value, serde_json::to_vec)
}

/// Readable JSON with sorted keys, with a line feed at the end.
pub(crate) fn pretty(value: &impl Serialize) -> Result<Vec<u8>> {
    let mut text = write(value, serde_json::to_vec_pretty)?;
    text.push(b'\n');
    Ok(text)
}

fn write(value: &impl Serialize, by: fn(&Value) -> serde_json::Result<Vec<u8>>) -> Result<Vec<u8>> {
    let mut value = serde_json::to_value(value).map_err(failed)?;
    // Another crate of the same build may have enabled serde_json's order of insertion for objects.
    value.sort_all_objects();
    by(&value).map_err(failed)
}

#[expect(clippy::needless_pass_by_value, reason = "map_err passes it so")]
fn failed(error: serde_json::Error) -> Error {
    Error::new(format!("writing JSON: {error}"), "this is a fault of catamaran-dist: report it")
}
