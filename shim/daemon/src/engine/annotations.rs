//! This shim's annotations: their keys, and which of them counts for a container.
//!
//! ```text
//! catamaran.wasm/<key>.<container>  >  catamaran.wasm/<key>
//! ```
//!
//! `choice` and `http` know the meaning of the values, `values` knows their form.

use std::collections::HashMap;

use catamaran_worker::listener;
use log::warn;

use crate::engine::values;
use crate::error::{Error, Result};
use crate::spec::oci::Spec;

/// The prefix of all annotations of this shim.
const PREFIX: &str = "catamaran.wasm/";
/// The annotation with the container's name, from containerd's CRI.
pub(super) const CONTAINER: &str = "io.kubernetes.cri.container-name";
/// The most bytes of a wrong value that are quoted.
const LONGEST_QUOTE: usize = 80;
/// The most characters that may follow the `/` of an annotation's key.
const LONGEST_KEY: usize = 63;

/// The key of an annotation for all containers of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Key(&'static str);

#[rustfmt::skip]
impl Key {
    pub(crate) const ENGINE: Self = Self("catamaran.wasm/engine");
    pub(crate) const WORLD: Self = Self("catamaran.wasm/world");
    pub(crate) const COMPILE: Self = Self("catamaran.wasm/compile");
    pub(crate) const LISTEN: Self = Self(listener::ANNOTATION);
    pub(crate) const MOST_REQUESTS: Self = Self("catamaran.wasm/http-max-concurrent-requests");
    pub(crate) const REQUEST_TIMEOUT: Self = Self("catamaran.wasm/http-request-timeout");
    pub(crate) const INSTANCE_REUSE: Self = Self("catamaran.wasm/http-instance-reuse");
    pub(crate) const INSTANCE_MEMORY: Self = Self("catamaran.wasm/http-instance-memory");
    pub(crate) const MOST_BODY: Self = Self("catamaran.wasm/http-max-request-body");
    pub(crate) const LAME_DUCK: Self = Self("catamaran.wasm/http-lame-duck");
    pub(crate) const TLS: Self = Self("catamaran.wasm/http-tls");

    pub(crate) const ALL: [Self; 11] = [
        Self::ENGINE, Self::WORLD, Self::COMPILE, Self::LISTEN, Self::MOST_REQUESTS, Self::REQUEST_TIMEOUT,
        Self::INSTANCE_REUSE, Self::INSTANCE_MEMORY, Self::MOST_BODY, Self::LAME_DUCK, Self::TLS,
    ];
}

impl Key {
    /// Returns the key for one container alone.
    pub(crate) fn of(self, container: &str) -> String {
        format!("{self}.{container}")
    }

    /// Whether `text` is this key, for all containers or for one.
    fn is(self, text: &str) -> bool {
        text.strip_prefix(self.0).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    }

    /// Returns how long a container's name may be to fit into the key for that container.
    fn longest_name(self) -> usize {
        LONGEST_KEY - (self.0.len() - PREFIX.len()) - 1
    }

    /// Returns the end of an advice: the key for the container alone, or why its name is too long for one.
    pub(crate) fn advice_for_one(self, container: Option<&str>) -> String {
        let (longest, has) = (self.longest_name(), container.map_or(0, |name| name.chars().count()));
        match container {
            Some(_) if has > longest => format!(
                "; a key of its own ({self}.<container>) takes a container's name of up to {longest} characters, and this one's \
                 has {has}: give it a shorter name"
            ),
            Some(name) => format!("; for this container alone: {}", self.of(name)),
            None => String::new(),
        }
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

/// A key, and the form of its value.
pub(crate) struct Annotation<T> {
    pub(crate) key: Key,
    pub(crate) form: values::Form<T>,
}

/// The annotations of one container's pod.
pub(crate) struct Annotations<'a> {
    all: Option<&'a HashMap<String, String>>,
    container: Option<&'a str>,
}

impl<'a> Annotations<'a> {
    pub(crate) fn new(spec: &'a Spec) -> Self {
        let all = spec.annotations().as_ref();
        let container = all.and_then(|all| all.get(CONTAINER)).map(String::as_str);
        Self { all, container }
    }

    /// Returns the container's name, if it has one.
    pub(crate) fn container(&self) -> Option<&'a str> {
        self.container
    }

    /// Reads the annotation that counts for the container.
    pub(crate) fn read<T>(&self, wanted: &Annotation<T>) -> Result<Option<T>> {
        self.get(wanted.key).map(|written| written.read(&wanted.form)).transpose()
    }

    /// Returns the annotation that counts for the container.
    pub(crate) fn get(&self, key: Key) -> Option<Written<'a>> {
        debug_assert!(Key::ALL.contains(&key), "{key} is read, and not in the list of the keys");
        let all = self.all?;
        let found = |written: String, own: bool| {
            let value = all.get(&written)?;
            Some(Written { key: written, kind: "annotation", own, value })
        };
        let own = self.container.and_then(|container| found(key.of(container), true));
        own.or_else(|| found(key.to_string(), false))
    }

    /// Logs one line if the pod has unknown keys of this shim.
    pub(crate) fn warn_of_unknown(&self) {
        let unknown = |key: &&String| key.starts_with(PREFIX) && !Key::ALL.iter().any(|known| known.is(key));
        let mut unknown = self.all.into_iter().flat_map(HashMap::keys).filter(unknown);
        if let Some(key) = unknown.next() {
            let others = match unknown.count() {
                0 => String::new(),
                more => format!(" (and {more} more)"),
            };
            let known: Vec<_> = Key::ALL.iter().map(|key| key.0.trim_start_matches(PREFIX)).collect();
            warn!(
                "unknown annotation {} is ignored{others}: after {PREFIX} comes one of {}, then .<container> for one container alone",
                cut(key),
                known.join(", ")
            );
        }
    }
}

/// An annotation, or a variable of the environment, as its author wrote it.
#[derive(Debug)]
pub(crate) struct Written<'a> {
    pub(crate) key: String,
    /// The word for an annotation or a variable, for an error.
    pub(crate) kind: &'static str,
    /// Whether the annotation or variable is for this container alone.
    pub(crate) own: bool,
    pub(crate) value: &'a str,
}

impl Written<'_> {
    /// Returns its kind and key, for an error.
    pub(crate) fn place(&self) -> String {
        format!("{} {}", self.kind, self.key)
    }

    /// Returns the error for an invalid value; `expected` says what to write instead.
    pub(crate) fn refused(&self, expected: impl Into<String>) -> Error {
        Error::refused(self.place(), format!("{:?}", cut(self.value)), expected)
    }

    /// Reads the value in the given form.
    pub(crate) fn read<T>(&self, form: &values::Form<T>) -> Result<T> {
        (form.parse)(self.value).ok_or_else(|| self.refused(format!("{}; without it {}", form.expected, form.without)))
    }
}

/// Returns as much of a pod author's text as a message may quote.
fn cut(text: &str) -> &str {
    let end = (0..=LONGEST_QUOTE.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or_default()]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec(annotations: serde_json::Value) -> Spec {
        serde_json::from_value(json!({"ociVersion": "1.2.0", "annotations": annotations})).unwrap()
    }

    #[test]
    fn a_containers_own_annotation_wins() {
        for key in Key::ALL {
            let (of_pod, own, other) = (key.to_string(), key.of("web"), key.of("other"));
            for (annotations, expected) in [
                (json!({}), None),
                (json!({&of_pod: "pod"}), Some(("pod", false))),
                (json!({CONTAINER: "web", &of_pod: "pod", &other: "other"}), Some(("pod", false))),
                (json!({CONTAINER: "web", &of_pod: "pod", &own: "own"}), Some(("own", true))),
                (json!({CONTAINER: "web", &own: ""}), Some(("", true))),
                // A container without a name has no key of its own.
                (json!({&own: "own"}), None),
            ] {
                let spec = spec(annotations);
                let found = Annotations::new(&spec).get(key);
                assert_eq!(found.as_ref().map(|written| (written.value, written.own)), expected, "{key}");
                if let Some(written) = found {
                    assert_eq!(written.key, if written.own { &own } else { &of_pod }.as_str());
                }
            }
        }
    }

    #[test]
    fn a_key_is_known_by_its_whole_name() {
        assert!(Key::ENGINE.is("catamaran.wasm/engine") && Key::ENGINE.is("catamaran.wasm/engine.web"));
        for other in ["catamaran.wasm/engines", "catamaran.wasm/engine-web", "catamaran.wasm/", "engine"] {
            assert!(!Key::ALL.iter().any(|key| key.is(other)), "{other}");
        }
    }

    #[test]
    fn advice_says_how_long_a_container_name_may_be_for_a_key_of_its_own() {
        for key in Key::ALL {
            let longest = "c".repeat(key.longest_name());
            assert_eq!(key.of(&longest).len() - PREFIX.len(), LONGEST_KEY);
            assert_eq!(key.advice_for_one(Some(&longest)), format!("; for this container alone: {key}.{longest}"));
            let said = key.advice_for_one(Some(&format!("{longest}c")));
            let (up_to, has) = (longest.len(), longest.len() + 1);
            assert!(said.contains(&format!("up to {up_to} characters, and this one's has {has}")), "{said}");
        }
        assert_eq!(Key::ENGINE.longest_name(), 56);
        assert_eq!(Key::WORLD.advice_for_one(None), "");
    }
}
