//! What is said of a module that no allowed engine runs, by the shim and by whoever inspects it beforehand.

use crate::engine::{Engine, quoted};
use crate::error::Declined;

/// What to do about a module that all engines left to others which a node allows; `place` is where it says which they are.
pub fn advice(allowed: &[Engine], place: &str) -> String {
    let forbidden: Vec<_> = Engine::ALL.into_iter().filter(|other| !allowed.contains(other)).collect();
    match forbidden.is_empty() {
        true => "no engine of this node runs it: build it as a module for wasm32-wasip1".to_owned(),
        false => format!(
            "this node does not allow {} (allowed_engines of {place}): have it allowed, or build the module for {}",
            quoted(&forbidden),
            quoted(allowed)
        ),
    }
}

/// Why each engine left a module to another one, in one text.
pub fn said(declined: Declined) -> String {
    let each = declined.into_iter().map(|(engine, why)| format!("not on {engine}: {why}"));
    each.collect::<Vec<_>>().join("; ")
}
