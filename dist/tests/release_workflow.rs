//! Checks the release workflow as far as possible without running it: everything that it names exists, and it asks for no unneeded right.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn text() -> String {
    fs::read_to_string(source().join(".github/workflows/release.yml")).unwrap()
}

fn workflow() -> Value {
    serde_saphyr::from_str(&text()).unwrap()
}

/// A workflow's faults, one line each.
fn faults(workflow: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    let triggers = workflow["on"].as_object().cloned().unwrap_or_default();
    if triggers.keys().ne(["push"])
        || workflow["on"]["push"].get("tags").is_none()
        || workflow["on"]["push"].get("branches").is_some()
    {
        faults.push(format!("on: {}: a release is made of tags alone", workflow["on"]));
    }
    if workflow["permissions"] != serde_json::json!({}) {
        faults.push(format!("permissions: {}: none by default", workflow["permissions"]));
    }
    for (name, job) in workflow["jobs"].as_object().into_iter().flatten() {
        faults.extend(job_faults(job).into_iter().map(|fault| format!("{name}: {fault}")));
    }
    faults
}

fn job_faults(job: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    let runs: Vec<&str> = steps(job).filter_map(|step| step["run"].as_str()).collect();
    let uses: Vec<&str> = steps(job).filter_map(|step| step["uses"].as_str()).collect();
    let has = |word: &str| runs.iter().chain(&uses).any(|text| text.contains(word));
    // The use of a right: a right that nothing in the job needs is one too many.
    let reason = |right: &str| match right {
        "contents: read" => has("actions/checkout"),
        "contents: write" => has("gh release create"),
        "packages: write" => has("skopeo copy") || has("helm push"),
        "id-token: write" => has("cosign sign") || has("attest-build-provenance"),
        "attestations: write" => has("attest-build-provenance"),
        _ => false,
    };
    match job["permissions"].as_object() {
        None => faults.push(format!("permissions: {}, expected a list", job["permissions"])),
        Some(rights) => {
            let rights = rights.iter().map(|(name, value)| format!("{name}: {}", value.as_str().unwrap_or_default()));
            faults.extend(
                rights.filter(|right| !reason(right)).map(|right| format!("asks for {right} and does not use it")),
            );
        }
    }
    if job["timeout-minutes"].as_u64().is_none() {
        faults.push("has no time limit".into());
    }
    faults.extend(uses.iter().filter(|action| !is_pinned(action)).map(|action| format!("{action} is not pinned")));
    // An expression is inserted into a script before a shell reads it, so only expressions that this file itself defines are allowed.
    for run in runs {
        for (at, _) in run.match_indices("${{") {
            let expression = run[at + 3..].split("}}").next().unwrap_or_default().trim();
            if !expression.starts_with("matrix.") {
                faults.push(format!("a script takes {expression}: give it as a variable of the environment"));
            }
        }
    }
    faults
}

fn steps(job: &Value) -> impl Iterator<Item = &Value> {
    job["steps"].as_array().into_iter().flatten()
}

/// Whether an action is pinned to a commit or a version tag, not to a branch.
fn is_pinned(action: &str) -> bool {
    let Some((_, version)) = action.split_once('@') else { return false };
    let is_commit = version.len() == 40 && version.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_tag = version.strip_prefix('v').is_some_and(|number| number.starts_with(|c: char| c.is_ascii_digit()));
    is_commit || is_tag
}

#[test]
fn the_workflow_asks_for_no_right_too_many() {
    let workflow = workflow();
    assert_eq!(workflow["jobs"].as_object().unwrap().len(), 4);
    assert_eq!(faults(&workflow), Vec::<String>::new());
}

#[test]
fn faults_are_found() {
    let change = |path: &str, value: Value| {
        let mut workflow = workflow();
        *workflow.pointer_mut(path).unwrap_or_else(|| panic!("{path}")) = value;
        faults(&workflow)
    };
    for (path, value, expected) in [
        ("/on", serde_json::json!({"pull_request_target": {}}), "on:"),
        ("/permissions", "write-all".into(), "permissions:"),
        ("/jobs/build/permissions", "write-all".into(), "build: permissions:"),
        ("/jobs/build/permissions", serde_json::json!({"packages": "write"}), "build: asks for packages: write"),
        ("/jobs/build/timeout-minutes", Value::Null, "build: has no time limit"),
        ("/jobs/build/steps/1/uses", "actions/checkout@main".into(), "build: actions/checkout@main is not pinned"),
        ("/jobs/build/steps/0/run", "echo ${{ github.ref_name }}".into(), "build: a script takes github.ref_name"),
    ] {
        let found = change(path, value);
        assert!(found.iter().any(|fault| fault.starts_with(expected)), "{expected}: {found:?}");
    }
}

#[test]
fn every_target_of_make_that_it_calls_exists() {
    let workflow = workflow();
    let mut called = BTreeSet::new();
    for job in workflow["jobs"].as_object().unwrap().values() {
        for line in steps(job).filter_map(|step| step["run"].as_str()).flat_map(str::lines) {
            let Some(words) = line.trim().strip_prefix("make ") else { continue };
            called.extend(words.split(' ').take_while(|word| !word.contains('=') && *word != "\\").map(str::to_owned));
        }
    }
    assert_eq!(called.iter().map(String::as_str).collect::<Vec<_>>(), ["checksums", "dist", "image", "index"]);
    for target in called {
        // `make -n` prints the commands, and fails for a missing target.
        let output = Command::new("make").args(["-n", &target]).current_dir(source()).output().unwrap();
        assert!(output.status.success(), "make {target}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn every_file_that_it_names_exists() {
    let text = text();
    let is_path = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    let words: BTreeSet<&str> = text.split(|c| !is_path(c)).map(|word| word.trim_end_matches('.')).collect();
    let folders = ["shim/", "tests/", "dist/tests", "docs/", "charts/"];
    let named: Vec<_> =
        words.into_iter().filter(|word| folders.iter().any(|folder| word.starts_with(folder))).collect();
    assert!(named.contains(&"dist/tests/release_workflow.rs"), "{named:?}");
    for path in named {
        assert!(source().join(path).exists(), "release.yml names {path}, which is not there");
    }
}

#[test]
fn archives_are_looked_for_where_they_are_written() {
    use catamaran_dist::elf::Architecture;
    use catamaran_dist::images::Kind;
    let text = text();
    for (kind, image) in [(Kind::Installer, "catamaran-installer"), (Kind::Labeller, "catamaran-labeller")] {
        assert!(text.contains(&format!("for image in {image}")) || text.contains(&format!(" {image}; do")), "{image}");
        for architecture in Architecture::ALL {
            let archive = kind.archive("$version", Some(architecture));
            assert_eq!(archive, format!("{image}-$version-linux-{}.tar", architecture.name()));
        }
    }
    // The folders are those of the jobs of the matrix.
    assert!(text.contains("name: dist-${{ matrix.arch }}"));
    assert!(text.contains(r#""parts/dist-"*"/$image-$version-linux-"*.tar"#));
    assert!(text.contains("parts/dist-amd64/catamaran-example-*-\"$version\".tar"));
    assert_eq!(Kind::Example("*".into()).archive("\"$version\"", None), "catamaran-example-*-\"$version\".tar");
}
