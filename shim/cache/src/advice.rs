//! Texts about a module that no allowed engine runs, for the shim and for the command that inspects it beforehand.

use crate::engine::{Engine, quoted};
use crate::error::Declined;

/// Returns the advice for a module that all allowed engines declined; `place` is where the node says which engines it allows.
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

/// Returns the engines' reasons for declining a module, in one text.
pub fn said(declined: Declined) -> String {
    let each = declined.into_iter().map(|(engine, why)| format!("not on {engine}: {why}"));
    each.collect::<Vec<_>>().join("; ")
}
