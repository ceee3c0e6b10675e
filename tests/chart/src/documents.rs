//! Rendered objects.

use saphyr::{LoadableYamlNode, Scalar, Yaml};
use serde_json::{Map, Value};

/// Parses the documents of a text, in order, without empty ones. A duplicate key in a mapping is an error.
///
/// # Panics
/// When the text is not YAML, or has something that JSON cannot express.
pub fn parse(text: &str) -> Vec<Value> {
    let documents = Yaml::load_from_str(text).unwrap_or_else(|e| panic!("{e} in:\n{text}"));
    documents.into_iter().map(json).filter(|document| !document.is_null()).collect()
}

fn json(yaml: Yaml<'_>) -> Value {
    match yaml {
        Yaml::Value(Scalar::Null) => Value::Null,
        Yaml::Value(Scalar::Boolean(value)) => value.into(),
        Yaml::Value(Scalar::Integer(value)) => value.into(),
        Yaml::Value(Scalar::FloatingPoint(value)) => value.into_inner().into(),
        Yaml::Value(Scalar::String(value)) => value.into(),
        Yaml::Sequence(values) => values.into_iter().map(json).collect(),
        Yaml::Mapping(pairs) => {
            let pairs = pairs.into_iter().map(|(key, value)| match json(key) {
                Value::String(key) => (key, json(value)),
                other => panic!("the key {other} is no string"),
            });
            Value::Object(pairs.collect::<Map<_, _>>())
        }
        other => panic!("{other:?} is nothing that JSON has"),
    }
}

/// The text at a path of keys, such as `/metadata/name`; empty if there is none.
pub fn word<'v>(value: &'v Value, path: &str) -> &'v str {
    value.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

/// The items of a list at a path; empty if there is none.
pub fn list<'v>(value: &'v Value, path: &str) -> Vec<&'v Value> {
    value.pointer(path).and_then(Value::as_array).into_iter().flatten().collect()
}

/// The texts of a list at a path.
pub fn words(value: &Value, path: &str) -> Vec<String> {
    list(value, path).into_iter().map(|word| word.as_str().unwrap_or_default().to_owned()).collect()
}

/// `Kind NAME`, for messages.
pub fn title(object: &Value) -> String {
    format!("{} {}", word(object, "/kind"), word(object, "/metadata/name"))
}

/// The pod that an object makes, if any: an object with `metadata` and `spec`.
pub fn pod(object: &Value) -> Option<&Value> {
    match word(object, "/kind") {
        "Pod" => Some(object),
        "DaemonSet" | "Deployment" | "Job" => object.pointer("/spec/template"),
        _ => None,
    }
}

/// The one object of a kind whose name ends with `end`.
///
/// # Panics
/// When there is none, or more than one.
pub fn one<'d>(documents: &'d [Value], kind: &str, end: &str) -> &'d Value {
    let found: Vec<&Value> = documents
        .iter()
        .filter(|object| word(object, "/kind") == kind && word(object, "/metadata/name").ends_with(end))
        .collect();
    match found.as_slice() {
        [one] => one,
        _ => panic!("{} objects of the kind {kind} end with {end:?}", found.len()),
    }
}
