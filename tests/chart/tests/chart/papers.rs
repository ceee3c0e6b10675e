use std::collections::BTreeSet;

use catamaran_chart_tests::documents::{self, one, pod, word, words};
use catamaran_chart_tests::helm::Release;
use catamaran_chart_tests::{chart, matches_file, repository, text, values};
use serde_json::Value;

use crate::{CASES, DASHBOARD, DEFAULTS, objects};

/// The installer's metrics at /metrics.
const METRICS: [&str; 20] = [
    "catamaran_build_info",
    "catamaran_node_ready",
    "catamaran_installs_total",
    "catamaran_reconciles_total",
    "catamaran_uninstalls_total",
    "catamaran_starts_total",
    "catamaran_refusals_total",
    "catamaran_compiles_total",
    "catamaran_compile_seconds_total",
    "catamaran_compile_failures_total",
    "catamaran_compile_queue",
    "catamaran_modules_refused_total",
    "catamaran_cache_bytes",
    "catamaran_cache_entries",
    "catamaran_cache_hits_total",
    "catamaran_cache_misses_total",
    "catamaran_cache_evictions_total",
    "catamaran_traps_total",
    "catamaran_oom_kills_total",
    "catamaran_shim_deaths_total",
];

fn schema() -> Value {
    serde_json::from_str(&text("values.schema.json")).unwrap()
}

/// The part of the schema that a reference points to.
fn resolved<'s>(schema: &'s Value, part: &'s Value) -> &'s Value {
    match part["$ref"].as_str() {
        Some(at) => schema.pointer(at.trim_start_matches('#')).unwrap_or_else(|| panic!("{at} is not defined")),
        None => part,
    }
}

#[test]
fn the_readmes_table_is_that_of_the_values() {
    matches_file(&chart().join("README.md"), &values::with_table(&text("README.md"), &text("values.yaml")));
}

#[test]
fn every_value_is_described_known_to_the_schema_and_tried() {
    let parsed = documents::parse(&text("values.yaml")).remove(0);
    let described: Vec<String> = values::described(&text("values.yaml")).into_iter().map(|value| value.path).collect();
    let schema = schema();
    let mut tried = BTreeSet::new();
    for (name, values) in CASES.iter().filter(|(name, _)| *name != "defaults") {
        let parsed = documents::parse(values).remove(0);
        tried.extend(described.iter().filter(|path| values::at(&parsed, path).is_some()).cloned());
        assert!(!tried.is_empty(), "{name}");
    }
    let mut leaves = Vec::new();
    values::leaves(&parsed, &[], &mut leaves);
    for keys in leaves {
        let leaf = keys.join(".");
        let above = |path: &String| leaf == *path || leaf.starts_with(&format!("{path}."));
        assert!(described.iter().any(above), "{leaf} has no comment that begins with # --");
        let known = keys.iter().try_fold(&schema, |part, key| {
            let part = resolved(&schema, part);
            part["properties"].get(key).or_else(|| part.get("additionalProperties").filter(|more| more.is_object()))
        });
        assert!(known.is_some(), "{leaf} is not in values.schema.json");
    }
    // The tag counts only without a digest: the schema's tests cover it.
    let untried: Vec<&String> =
        described.iter().filter(|path| !tried.contains(*path) && !path.ends_with(".tag")).collect();
    assert!(untried.is_empty(), "no file in tests/chart/values sets {untried:?}");
}

/// Checks that a schema that describes keys refuses all others, in every part of it.
fn closed(part: &Value, path: &str, count: &mut usize) {
    match part {
        Value::Object(pairs) => {
            if pairs.get("properties").is_some_and(Value::is_object) && pairs.contains_key("type") {
                assert_eq!(pairs.get("additionalProperties"), Some(&Value::Bool(false)), "{path}");
                *count += 1;
            }
            pairs.iter().for_each(|(key, value)| closed(value, &format!("{path}/{key}"), count));
        }
        Value::Array(values) => values.iter().for_each(|value| closed(value, path, count)),
        _ => (),
    }
}

#[test]
fn the_schema_refuses_unknown_keys_everywhere() {
    let mut count = 0;
    closed(&schema(), "", &mut count);
    assert!(count > 20, "{count}");
}

#[test]
fn the_options_are_those_of_the_shim_in_schema_and_readme() {
    let shim = std::fs::read_to_string(repository().join("shim/daemon/src/engine/options.rs")).unwrap();
    let (_, body) = shim.split_once("struct Written {\n").unwrap();
    let (body, _) = body.split_once("\n}").unwrap();
    let fields = body.lines().filter_map(|line| line.trim().split_once(": Option<"));
    // A field of `IgnoredAny` is accepted and not documented.
    let meant = fields.filter(|(key, kind)| *key != "type_url" && !kind.starts_with("IgnoredAny"));
    let expected: BTreeSet<&str> = meant.map(|(key, _)| key).collect();
    assert_eq!(expected.len(), 7, "{expected:?}");
    let schema = schema();
    let known: BTreeSet<&str> =
        schema["properties"]["options"]["properties"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(known, expected);
    let readme = text("README.md");
    for key in expected {
        assert!(readme.contains(&format!("\n| `{key}` |")), "README.md has no row for {key}");
    }
    let number = |name: &str| -> u64 {
        let (_, rest) = shim.split_once(&format!("const {name}: u64 = ")).unwrap();
        rest.split(" <<").next().unwrap().trim().parse::<u64>().unwrap() << 20
    };
    let largest = number("LARGEST_OF_ALL").to_string();
    assert!(readme.contains(&largest) && text("templates/_validate.tpl").contains(&format!("(int64 .) {largest}")));
    assert!(readme.contains(&format!("`{}`", number("LARGEST_MODULE"))));
}

#[test]
fn the_readme_says_what_each_capability_is_for() {
    let objects = objects(Release::with(DEFAULTS));
    let added =
        words(pod(one(&objects, "DaemonSet", "")).unwrap(), "/spec/containers/0/securityContext/capabilities/add");
    let readme = text("README.md");
    for capability in added {
        assert!(readme.contains(&format!("\n| `{capability}` | ")), "{capability}");
    }
}

#[test]
fn the_chart_is_of_this_version_and_names_its_images() {
    let chart = documents::parse(&text("Chart.yaml")).remove(0);
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!((word(&chart, "/version"), word(&chart, "/appVersion")), (version, version));
    let objects = objects(Release::with(DEFAULTS));
    let pods = objects.iter().filter_map(pod);
    let used: BTreeSet<&str> = pods.map(|pod| word(pod, "/spec/containers/0/image")).collect();
    let listed = documents::parse(chart["annotations"]["artifacthub.io/images"].as_str().unwrap()).remove(0);
    let listed: BTreeSet<&str> = listed.as_array().unwrap().iter().map(|image| word(image, "/image")).collect();
    assert_eq!(used, listed);
}

/// The measured overhead is in the RuntimeClass for installation by hand too.
#[test]
fn both_runtime_classes_have_one_overhead() {
    let by_hand = std::fs::read_to_string(repository().join("runtimeclass/runtimeclass.yaml")).unwrap();
    let objects = objects(Release::with(DEFAULTS));
    assert_eq!(documents::parse(&by_hand)[0]["overhead"], one(&objects, "RuntimeClass", "")["overhead"]);
}

#[test]
fn the_dashboard_uses_every_metric_and_no_unknown_one() {
    let kept: Value = serde_json::from_str(&text("dashboards/catamaran.json")).unwrap();
    let objects = objects(Release::with(DASHBOARD));
    let map = one(&objects, "ConfigMap", "-dashboard");
    assert_eq!(map["metadata"]["labels"]["grafana_dashboard"], "1");
    let made: Value = serde_json::from_str(map["data"]["catamaran.json"].as_str().unwrap()).unwrap();
    assert_eq!(made, kept);

    let panels = kept["panels"].as_array().unwrap();
    let ids: BTreeSet<String> = panels.iter().map(|panel| panel["id"].to_string()).collect();
    assert_eq!(ids.len(), panels.len(), "each panel has an id of its own");
    let mut asked = BTreeSet::new();
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        let targets = panel["targets"].as_array().unwrap();
        assert!(!targets.is_empty(), "{}", panel["title"]);
        for expression in targets.iter().map(|target| target["expr"].as_str().unwrap()) {
            let is_of_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
            let names = expression.split(|letter| !is_of_name(letter)).filter(|name| name.starts_with("catamaran_"));
            asked.extend(names.map(str::to_owned));
            let depth =
                expression.chars().fold(0, |depth, letter| depth + i32::from(letter == '(') - i32::from(letter == ')'));
            assert_eq!(depth, 0, "{expression}");
        }
    }
    assert_eq!(asked, METRICS.map(str::to_owned).into());
}

#[test]
fn a_values_description_may_span_lines_and_belongs_to_the_key_below() {
    let text = "# not this\n# -- One,\n# two.\na:\n  b: 1\n  # -- Three.\n  c: [x: y]\n# -- Lost.\n\nd: 2\n";
    let found = values::described(text);
    let found: Vec<(&str, &str)> = found.iter().map(|value| (value.path.as_str(), value.text.as_str())).collect();
    assert_eq!(found, [("a", "One, two."), ("a.c", "Three.")]);
}
