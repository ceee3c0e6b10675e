//! Makes JSON schemas from the document in which a Kubernetes describes its objects (`api/openapi-spec/swagger.json`), and from the
//! definition of a custom kind.
//!
//! The schemas are strict: they refuse a key that the document does not describe, about which an API server only warns.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

const DEFINITIONS: &str = "#/definitions/";

/// A schema for one kind, with everything that it refers to; None if this Kubernetes does not have the kind.
///
/// # Panics
/// When the document refers to a missing definition.
pub fn schema(openapi: &Value, group: &str, version: &str, kind: &str) -> Option<Value> {
    let wanted = json!({"group": group, "version": version, "kind": kind});
    let all = openapi["definitions"].as_object()?;
    let (name, _) = all.iter().find(|(_, definition)| {
        let kinds = definition.get("x-kubernetes-group-version-kind").and_then(Value::as_array);
        kinds.is_some_and(|kinds| kinds.contains(&wanted))
    })?;
    let mut reached: BTreeMap<String, Value> = BTreeMap::new();
    let mut todo = vec![name.clone()];
    while let Some(name) = todo.pop() {
        if reached.contains_key(&name) {
            continue;
        }
        let definition = all.get(&name).unwrap_or_else(|| panic!("{name} is not defined"));
        let made = strict(definition, &name);
        references(&made, &mut todo);
        reached.insert(name, made);
    }
    Some(json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$ref": format!("{DEFINITIONS}{name}"),
        "definitions": reached,
    }))
}

/// A schema from a CustomResourceDefinition's first version.
pub fn of_definition(definition: &Value) -> Value {
    strict(&definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"], "")
}

fn references(schema: &Value, found: &mut Vec<String>) {
    match schema {
        Value::Object(pairs) => {
            if let Some(name) = pairs.get("$ref").and_then(Value::as_str).and_then(|at| at.strip_prefix(DEFINITIONS)) {
                found.push(name.to_owned());
            }
            pairs.values().for_each(|value| references(value, found));
        }
        Value::Array(values) => values.iter().for_each(|value| references(value, found)),
        _ => (),
    }
}

/// Makes a schema refuse keys that it does not describe.
fn strict(schema: &Value, name: &str) -> Value {
    // The document calls these two types strings, but numbers are accepted too.
    if name.ends_with(".IntOrString") || name.ends_with(".Quantity") {
        return json!({"type": ["string", "number"]});
    }
    let Value::Object(pairs) = schema else { return schema.clone() };
    let mut made = Map::new();
    for (key, value) in pairs {
        let value = match (key.as_str(), value) {
            ("properties", Value::Object(fields)) => {
                fields.iter().map(|(key, field)| (key.clone(), strict(field, ""))).collect()
            }
            ("items" | "additionalProperties", value) => strict(value, ""),
            ("description", _) => continue,
            (_, value) => value.clone(),
        };
        made.insert(key.clone(), value);
    }
    let open = pairs.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true));
    if pairs.contains_key("properties") && !pairs.contains_key("additionalProperties") && !open {
        made.insert("additionalProperties".to_owned(), Value::Bool(false));
    }
    Value::Object(made)
}
