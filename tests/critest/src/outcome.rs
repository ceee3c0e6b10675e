//! What critest says of its specs, in ginkgo's report.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;

/// What became of the specs that ran, by their names: nothing, or why one failed.
pub(crate) type Outcomes = BTreeMap<String, Option<String>>;

/// Reads the report that `--ginkgo.json-report` names.
///
/// # Panics
/// When there is none, which is when critest broke off.
pub(crate) fn read(report: &Path) -> Outcomes {
    let text = fs::read(report).unwrap_or_else(|error| panic!("critest left no {}: {error}", report.display()));
    let suites: Value = serde_json::from_slice(&text).expect("the report is no JSON");
    let suites = suites.as_array().expect("a list of suites");
    suites.iter().flat_map(|suite| suite["SpecReports"].as_array().into_iter().flatten()).filter_map(one).collect()
}

fn one(spec: &Value) -> Option<(String, Option<String>)> {
    // What prepares all of them is not one of them.
    if spec["LeafNodeType"] != "It" {
        return None;
    }
    let above = spec["ContainerHierarchyTexts"].as_array().into_iter().flatten();
    let words: Vec<&str> = above.chain([&spec["LeafNodeText"]]).filter_map(Value::as_str).collect();
    match spec["State"].as_str()? {
        "passed" => Some((words.join(" "), None)),
        // By the list of those that cannot run here, or by themselves.
        "skipped" | "pending" => None,
        state => {
            let why = spec["Failure"]["Message"].as_str().unwrap_or("no reason");
            Some((words.join(" "), Some(format!("{state}: {why}"))))
        }
    }
}
