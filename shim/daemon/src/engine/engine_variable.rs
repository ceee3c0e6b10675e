//! Tells a guest its engine by a variable: the pod's owner sees neither the node's log nor anything of ours in the CRI's answers, which
//! containerd makes alone.

use catamaran_cache::engine::Engine;

/// The variable in the guest's environment that holds the engine's name. A variable of this name in the spec stays.
pub(super) const VARIABLE: &str = "CATAMARAN_ENGINE";

/// Adds the variable to an environment.
pub(crate) fn add_to(env: &mut Vec<(String, String)>, engine: Engine) {
    if !env.iter().any(|(name, _)| name == VARIABLE) {
        env.push((VARIABLE.to_owned(), engine.word().to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spec_that_sets_the_engine_variable_keeps_its_value() {
        let variable = |value: &str| (VARIABLE.to_owned(), value.to_owned());
        for (mut env, expected) in [(vec![], "wasmer"), (vec![variable("mine")], "mine"), (vec![variable("")], "")] {
            add_to(&mut env, Engine::Wasmer);
            assert_eq!(env, [variable(expected)]);
        }
    }
}
