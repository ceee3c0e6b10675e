//! Which engine runs a container: what its pod asks for, within what the node allows, else what the module needs.
//!
//! ```text
//! allowed_engines (a ceiling) > catamaran.wasm/engine.<container> > catamaran.wasm/engine > the module > default_engine
//! ```
//!
//! What a module needs is found out by compile processes alone: one refuses a module that is the other engine's, which the
//! cache remembers. So there is a list of engines, to be tried in its order; it has one engine where somebody chose.

use std::collections::HashMap;

use catamaran_cache::advice::{advice, said};
use catamaran_cache::engine::{Engine, quoted};
use log::warn;

use crate::engine::options::Policy;
use crate::error::{Error, Result};
use crate::spec::oci::Spec;

/// What all annotations of this shim begin with.
const PREFIX: &str = "catamaran.wasm/";
/// The annotation that names the engine of a pod, and with `.<container>` behind it of one container.
const KEY: &str = "catamaran.wasm/engine";
/// The container's name, as containerd's CRI says it.
const CONTAINER: &str = "io.kubernetes.cri.container-name";
/// As many bytes of a strange value are quoted.
const LONGEST_QUOTE: usize = 80;
/// So long may a container's name be in a key: what stands behind an annotation's «/» has 63 characters at most.
const LONGEST_NAME: usize = 56;

/// What counts in the choice of one container's engine.
pub(crate) struct Choice {
    policy: Policy,
    asked: Option<Asked>,
    /// The container's name, where it has one.
    name: Option<String>,
}

/// An engine that an annotation asks for.
struct Asked {
    engine: Engine,
    key: String,
}

/// What decided, for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    Container,
    Pod,
    Module,
    Option,
    Default,
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Reason::Container => "container-annotation",
            Reason::Pod => "pod-annotation",
            Reason::Module => "module",
            Reason::Option => "options",
            Reason::Default => "default",
        })
    }
}

impl Choice {
    /// What the annotations of the spec ask for, checked against the policy and what is installed.
    pub(crate) fn new(spec: &Spec, policy: Policy) -> Result<Self> {
        let none = HashMap::new();
        let annotations = spec.annotations().as_ref().unwrap_or(&none);
        let ours = |key: &str| key == KEY || key.strip_prefix(KEY).is_some_and(|rest| rest.starts_with('.'));
        let mut strange = annotations.keys().filter(|key| key.starts_with(PREFIX) && !ours(key));
        // One line, however many there are.
        if let Some(key) = strange.next() {
            let more = strange.count();
            warn!("annotation {} and {more} more are passed over: {KEY} and {KEY}.<container> are read", cut(key));
        }
        let name = annotations.get(CONTAINER).cloned();
        let own = name.as_ref().map(|name| format!("{KEY}.{name}")).filter(|key| annotations.contains_key(key));
        let key = own.unwrap_or_else(|| KEY.to_owned());
        let mut choice = Self { policy, asked: None, name };
        if let Some(value) = annotations.get(&key) {
            let Some(engine) = Engine::parse(value) else {
                let expected = format!("{}{}", quoted(&choice.policy.allowed), choice.limits());
                return Err(Error::refused(format!("annotation {key}"), format!("{:?}", cut(value)), expected));
            };
            choice.asked = Some(Asked { engine, key });
            if !choice.policy.allowed.contains(&engine) {
                return Err(choice.forbidden());
            }
        }
        choice.check_installed()?;
        Ok(choice)
    }

    /// What is to be tried, in this order.
    pub(crate) fn engines(&self) -> Vec<Engine> {
        if let Some(asked) = &self.asked {
            return vec![asked.engine];
        }
        let default = self.policy.default;
        let others = Engine::ALL.into_iter().filter(|other| *other != default && self.policy.allowed.contains(other));
        [default].into_iter().chain(others).collect()
    }

    /// What decided for `engine`, which is one of [`Choice::engines`].
    pub(crate) fn reason(&self, engine: Engine) -> Reason {
        match &self.asked {
            Some(asked) if asked.key == KEY => Reason::Pod,
            Some(_) => Reason::Container,
            None if engine != self.policy.default => Reason::Module,
            None if self.policy.said || self.policy.allowed.len() == 1 => Reason::Option,
            None => Reason::Default,
        }
    }

    /// Says what to do about a module that all of [`Choice::engines`] left to another one.
    pub(crate) fn explain(&self, error: Error) -> Error {
        let Error::Declined { module, declined } = error else { return error };
        let tried = self.engines();
        let untried = |other: &Engine| !tried.contains(other) && self.policy.allowed.contains(other);
        let allowed: Vec<_> = Engine::ALL.into_iter().filter(untried).collect();
        let advice = match &self.asked {
            Some(asked) if !allowed.is_empty() => format!(
                "the annotation {} asks for {}: write {}, or leave it out{}",
                asked.key,
                asked.engine,
                quoted(&allowed),
                self.key_of_its_own(&asked.key)
            ),
            _ => advice(&self.policy.allowed, &self.policy.place),
        };
        Error::Module { module, reason: format!("{}; {advice}", said(declined)) }
    }

    /// How to ask for this container alone, where the pod's key was too much.
    fn key_of_its_own(&self, key: &str) -> String {
        match &self.name {
            Some(name) if key == KEY && name.chars().count() > LONGEST_NAME => format!(
                "; a key of its own ({KEY}.<container>) takes a container's name of up to {LONGEST_NAME} characters, and this \
                 one's has {}: give it a shorter name",
                name.chars().count()
            ),
            Some(name) if key == KEY => format!("; for this container alone: {KEY}.{name}"),
            _ => String::new(),
        }
    }

    fn forbidden(&self) -> Error {
        let (key, value) = self.asked.as_ref().map_or((KEY, ""), |asked| (&asked.key, asked.engine.word()));
        Error::unavailable(
            format!("annotation {key}"),
            format!("{value:?}, which this node does not allow"),
            format!("{}{}, or no annotation", quoted(&self.policy.allowed), self.limits()),
        )
    }

    /// Where the allowed engines come from, if it is not all.
    fn limits(&self) -> String {
        let all = Engine::ALL.iter().all(|engine| self.policy.allowed.contains(engine));
        if all { String::new() } else { format!(" (allowed_engines of {})", self.policy.place) }
    }

    /// An error where the engine that is to be tried first is not on the node.
    fn check_installed(&self) -> Result<()> {
        let (place, engine) = match &self.asked {
            Some(asked) => (format!("annotation {}", asked.key), asked.engine),
            None => (format!("{}: default_engine", self.policy.place), self.policy.default),
        };
        let Some(file) = engine.missing()? else { return Ok(()) };
        let mut others = Vec::new();
        for other in self.policy.allowed.iter().copied().filter(|other| *other != engine) {
            if other.missing()?.is_none() {
                others.push(other);
            }
        }
        let installed = match others.is_empty() {
            true => String::new(),
            false => format!(", or write {}", quoted(&others)),
        };
        Err(Error::unavailable(
            place,
            format!("{:?}, which is not installed", engine.word()),
            format!("the file {} of this shim's version: have it installed{installed}", file.display()),
        ))
    }
}

/// As much of a text that a pod's author wrote as belongs into a message.
fn cut(text: &str) -> &str {
    let end = (0..=LONGEST_QUOTE.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or_default()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn choice(annotations: serde_json::Value, allowed: &[Engine], default: Engine) -> Result<Choice> {
        let spec: Spec = serde_json::from_value(json!({"ociVersion": "1.2.0", "annotations": annotations})).unwrap();
        let policy = Policy {
            allowed: allowed.to_vec(),
            default,
            said: true,
            native: true,
            runtime: "runc".to_owned(),
            largest: 1 << 20,
            place: "conf".to_owned(),
        };
        Choice::new(&spec, policy)
    }

    const BOTH: &[Engine] = &Engine::ALL;

    #[test]
    fn a_wrong_annotation_is_refused_with_its_key() {
        let long = "c".repeat(57);
        for (annotations, allowed, words) in [
            (json!({KEY: "v8"}), BOTH, &["annotation catamaran.wasm/engine: \"v8\"", "«wasmtime» or «wasmer»"][..]),
            (json!({KEY: "é".repeat(100_000)}), BOTH, &["éé\": «wasmtime» or «wasmer»"]),
            (json!({KEY: ""}), BOTH, &["catamaran.wasm/engine: \"\""]),
            (json!({KEY: "Wasmer"}), &[Engine::Wasmer], &["\"Wasmer\"", "«wasmer» (allowed_engines of conf)"]),
            (
                json!({KEY: "wasmtime", CONTAINER: "a", "catamaran.wasm/engine.a": "v8"}),
                BOTH,
                &["annotation catamaran.wasm/engine.a: \"v8\""],
            ),
            (
                json!({KEY: "wasmer"}),
                &[Engine::Wasmtime],
                &[
                    "annotation catamaran.wasm/engine: \"wasmer\"",
                    "does not allow",
                    "«wasmtime» (allowed_engines of conf)",
                ],
            ),
            (
                json!({KEY: "wasmtime", CONTAINER: &long, format!("{KEY}.{long}"): "v8"}),
                BOTH,
                &["annotation catamaran.wasm/engine.ccc", "\"v8\""],
            ),
        ] {
            let said = choice(annotations, allowed, allowed[0]).map(drop).unwrap_err().to_string();
            for word in words {
                assert!(said.contains(word), "{word:?} is missing in: {said}");
            }
        }
    }

    fn made(asked: Option<(&str, Engine)>, allowed: &[Engine], name: Option<&str>) -> Choice {
        let policy = Policy {
            allowed: allowed.to_vec(),
            default: allowed[0],
            said: true,
            native: true,
            runtime: "runc".to_owned(),
            largest: 1 << 20,
            place: "conf".to_owned(),
        };
        let asked = asked.map(|(key, engine)| Asked { engine, key: key.to_owned() });
        Choice { policy, asked, name: name.map(str::to_owned) }
    }

    #[test]
    fn without_annotations_the_module_chooses_its_engine() {
        use Engine::{Wasmer, Wasmtime};
        assert_eq!(made(None, BOTH, None).engines(), [Wasmtime, Wasmer]);
        assert_eq!(made(None, &[Wasmer, Wasmtime], None).engines(), [Wasmer, Wasmtime]);
        assert_eq!(made(None, &[Wasmer], None).engines(), [Wasmer]);
        assert_eq!(made(Some((KEY, Wasmer)), BOTH, None).engines(), [Wasmer]);
        assert_eq!(made(None, BOTH, None).reason(Wasmer), Reason::Module);
        assert_eq!(made(None, BOTH, None).reason(Wasmtime), Reason::Option);
        assert_eq!(made(Some((KEY, Wasmer)), BOTH, None).reason(Wasmer), Reason::Pod);
        assert_eq!(made(Some(("catamaran.wasm/engine.a", Wasmer)), BOTH, None).reason(Wasmer), Reason::Container);
    }

    #[test]
    fn a_module_that_no_allowed_engine_runs_says_what_to_change() {
        let declined = |engines: &[Engine]| Error::Declined {
            module: "/m.wasm".to_owned(),
            declined: engines
                .iter()
                .map(|engine| (engine.word().to_owned(), "it needs the other".to_owned()))
                .collect(),
        };
        let (long, time) = ("c".repeat(57), Engine::Wasmtime);
        for (choice, tried, words) in [
            (
                made(Some((KEY, time)), BOTH, Some("a")),
                &[time][..],
                &[
                    "annotation catamaran.wasm/engine asks for wasmtime: write «wasmer»",
                    "alone: catamaran.wasm/engine.a",
                ][..],
            ),
            (made(Some((KEY, time)), BOTH, Some(&long)), &[time], &["up to 56 characters", "has 57"]),
            (made(Some(("catamaran.wasm/engine.a", time)), BOTH, Some("a")), &[time], &["engine.a asks for wasmtime"]),
            (made(None, &[time], None), &[time], &["does not allow «wasmer» (allowed_engines of conf)"]),
            (made(Some((KEY, time)), &[time], None), &[time], &["does not allow «wasmer»", "for «wasmtime»"]),
            (made(None, BOTH, None), BOTH, &["not on wasmtime", "not on wasmer", "no engine of this node runs it"]),
        ] {
            let said = choice.explain(declined(tried)).to_string();
            assert!(said.starts_with("/m.wasm: not on wasmtime: it needs the other"), "{said}");
            for word in words {
                assert!(said.contains(word), "{word:?} is missing in: {said}");
            }
        }
    }
}
