//! The chart's output, for each set of values in `tests/chart/values`.
//!
//! - [`golden`]: the documents as they were reviewed, and the same from both Helms
//! - [`refusals`]: good values, and bad values with the words that refuse them
//! - [`kubernetes`]: every object is one of Kubernetes 1.30 to 1.37
//! - [`rights`]: the rights of each pod and account, and no more
//! - [`wiring`]: names, labels, selectors and arguments match
//! - [`papers`]: README.md, values.yaml, the schema, Chart.yaml and the dashboard agree

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

mod golden;
mod kubernetes;
mod papers;
mod refusals;
mod rights;
mod wiring;

use catamaran_chart_tests::documents;
use catamaran_chart_tests::helm::{Release, Tools};
use serde_json::Value;

const DEFAULTS: &str = include_str!("../../values/defaults.yaml");
const EVERYTHING: &str = include_str!("../../values/everything.yaml");
const LITTLE: &str = include_str!("../../values/little.yaml");
const DASHBOARD: &str = include_str!("../../values/dashboard.yaml");

/// All sets, by their names.
const CASES: [(&str, &str); 4] =
    [("defaults", DEFAULTS), ("everything", EVERYTHING), ("little", LITTLE), ("dashboard", DASHBOARD)];

/// The objects of a release, by Helm 4.
fn objects(release: Release<'_>) -> Vec<Value> {
    documents::parse(&rendered(release))
}

fn rendered(release: Release<'_>) -> String {
    let helm = &Tools::provide().helms[0];
    helm.template(release).unwrap_or_else(|e| panic!("helm {}: {e}", helm.line))
}
