//! `values.yaml` by its lines: the comments that begin with `# --` describe the key below them.

use serde_json::Value;

use crate::documents;

/// The table's place in README.md.
const BEGIN: &str = "<!-- values: begin -->\n";
const END: &str = "<!-- values: end -->\n";

/// A value that has a description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// Its path, such as `image.hello.tag`.
    pub path: String,
    /// Its description.
    pub text: String,
}

/// The values that have a description, in their order.
pub fn described(text: &str) -> Vec<Described> {
    let mut found = Vec::new();
    let mut above: Vec<(usize, String)> = Vec::new();
    let mut said: Option<String> = None;
    for line in text.lines() {
        let trimmed = line.trim_start();
        let depth = line.len() - trimmed.len();
        if let Some(comment) = trimmed.strip_prefix('#') {
            match (comment.strip_prefix(" -- "), &mut said) {
                (Some(begin), _) => said = Some(begin.to_owned()),
                (None, Some(said)) => *said = format!("{said} {}", comment.trim()),
                (None, None) => (),
            }
            continue;
        }
        let Some((key, _)) = trimmed.split_once(':').filter(|(key, _)| !key.starts_with('-')) else {
            said = None;
            continue;
        };
        above.retain(|(other, _)| *other < depth);
        above.push((depth, key.to_owned()));
        if let Some(text) = said.take() {
            let names: Vec<&str> = above.iter().map(|(_, name)| name.as_str()).collect();
            found.push(Described { path: names.join("."), text });
        }
    }
    found
}

/// The value at a path.
pub fn at<'v>(values: &'v Value, path: &str) -> Option<&'v Value> {
    path.split('.').try_fold(values, |value, key| value.get(key))
}

/// Collects the keys that lead to every value except non-empty mappings.
pub fn leaves(value: &Value, above: &[String], found: &mut Vec<Vec<String>>) {
    match value {
        Value::Object(pairs) if !pairs.is_empty() => {
            for (key, value) in pairs {
                leaves(value, &[above, std::slice::from_ref(key)].concat(), found);
            }
        }
        _ => found.push(above.to_owned()),
    }
}

/// README.md with the table of these values.
///
/// # Panics
/// When it has no place for the table.
pub fn with_table(readme: &str, values: &str) -> String {
    let parsed = documents::parse(values).remove(0);
    let mut table = "| value | default | |\n|---|---|---|\n".to_owned();
    for Described { path, text } in described(values) {
        let default = at(&parsed, &path).unwrap_or_else(|| panic!("{path} is not read as it is written"));
        table.push_str(&format!("| `{path}` | `{default}` | {text} |\n"));
    }
    let (before, rest) = readme.split_once(BEGIN).expect("README.md has no line <!-- values: begin -->");
    let (_, after) = rest.split_once(END).expect("README.md has no line <!-- values: end -->");
    format!("{before}{BEGIN}{table}{END}{after}")
}
