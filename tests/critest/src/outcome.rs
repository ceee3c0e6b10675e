//! The outcomes of specs, from ginkgo's report, and the differences between two runs.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;

/// The outcomes of the specs that ran, by their names: None, or the reason of a failure.
pub type Outcomes = BTreeMap<String, Option<String>>;

/// Reads the report that `--ginkgo.json-report` names.
///
/// # Panics
/// When there is none, because the suite broke off.
pub fn read(report: &Path) -> Outcomes {
    let text = fs::read(report).unwrap_or_else(|error| panic!("the suite left no {}: {error}", report.display()));
    let suites: Value = serde_json::from_slice(&text).expect("the report is no JSON");
    let suites = suites.as_array().expect("a list of suites");
    suites.iter().flat_map(|suite| suite["SpecReports"].as_array().into_iter().flatten()).filter_map(one).collect()
}

fn one(spec: &Value) -> Option<(String, Option<String>)> {
    // Set-up nodes of the suite are no specs.
    if spec["LeafNodeType"] != "It" {
        return None;
    }
    let above = spec["ContainerHierarchyTexts"].as_array().into_iter().flatten();
    let words: Vec<&str> = above.chain([&spec["LeafNodeText"]]).filter_map(Value::as_str).collect();
    match spec["State"].as_str()? {
        "passed" => Some((words.join(" "), None)),
        // Skipped by the list of specs that cannot run here, or by themselves.
        "skipped" | "pending" => None,
        state => {
            let why = spec["Failure"]["Message"].as_str().unwrap_or("no reason");
            Some((words.join(" "), Some(format!("{state}: {why}"))))
        }
    }
}

/// Prints the differences; returns whether they are as expected. `file` is the file of the expected differences.
pub fn compare(on_runc: &Outcomes, on_ours: &Outcomes, expected: &BTreeMap<String, String>, file: &str) -> bool {
    let mut good = true;
    for (name, of_runc) in on_runc {
        let of_ours = on_ours.get(name).cloned().unwrap_or(Some("it did not run".to_owned()));
        let (title, text) = match (of_runc, of_ours, expected.get(name)) {
            (None, None, None) => continue,
            (None, Some(_), Some(reason)) => ("expected", reason.clone()),
            (None, Some(why), None) => {
                good = false;
                ("DIFFERENCE", why)
            }
            (None, None, Some(_)) => {
                good = false;
                ("STALE", format!("it passes: remove it from {file}"))
            }
            (Some(why), of_ours, _) => {
                (if of_ours.is_none() { "fails on runc alone" } else { "fails on both" }, why.clone())
            }
        };
        println!("\n{title}: {name}");
        text.lines().for_each(|line| println!("    {line}"));
    }
    good
}
