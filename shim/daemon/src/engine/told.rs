//! Tells a guest which engine runs it, because the pod's owner sees no log of the node, and containerd alone makes the CRI's
//! answers about a container.

use catamaran_cache::engine::Engine;

/// The variable in the guest's environment with the engine's name, unless the spec has a variable of this name.
pub(super) const VARIABLE: &str = "CATAMARAN_ENGINE";

/// Adds the variable to an environment.
pub(crate) fn tell(env: &mut Vec<(String, String)>, engine: Engine) {
    if !env.iter().any(|(name, _)| name == VARIABLE) {
        env.push((VARIABLE.to_owned(), engine.word().to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_of_the_spec_stays() {
        let variable = |value: &str| (VARIABLE.to_owned(), value.to_owned());
        for (mut env, expected) in [(vec![], "wasmer"), (vec![variable("mine")], "mine"), (vec![variable("")], "")] {
            tell(&mut env, Engine::Wasmer);
            assert_eq!(env, [variable(expected)]);
        }
    }
}
