use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use catamaran_chart_tests::documents::{self, word};
use catamaran_chart_tests::helm::{Release, Tools};
use catamaran_chart_tests::openapi;
use serde_json::Value;

use crate::{CASES, EVERYTHING, objects, rendered};

/// The versions of Kubernetes that the chart claims to support.
const LINES: [&str; 8] = ["1.30", "1.31", "1.32", "1.33", "1.34", "1.35", "1.36", "1.37"];

/// Schemas of one Kubernetes for kubeconform, and a folder for the documents.
struct Conform {
    folder: PathBuf,
    version: String,
}

impl Drop for Conform {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Conform {
    /// Writes the schemas of the kinds of these objects.
    fn new(line: &str, objects: &[Value]) -> Self {
        let tools = Tools::provide();
        let prefix = format!("v{line}.");
        let files =
            fs::read_dir(&tools.openapi).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let file =
            files.into_iter().find(|name| name.starts_with(&prefix)).unwrap_or_else(|| panic!("{line} is not there"));
        let version = file.trim_start_matches('v').trim_end_matches(".json").to_owned();
        let folder = std::env::temp_dir().join(format!("catamaran-conform-{line}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let read = |path: &Path| -> Value { serde_json::from_slice(&fs::read(path).unwrap()).unwrap() };
        let all = read(&tools.openapi.join(&file));
        let podmonitor = openapi::of_definition(&read(&tools.podmonitor));
        for object in objects {
            let (api, kind) = (word(object, "/apiVersion"), word(object, "/kind"));
            let (group, of_group) = api.split_once('/').unwrap_or(("", api));
            let schema = match kind {
                "PodMonitor" => podmonitor.clone(),
                _ => openapi::schema(&all, group, of_group, kind)
                    .unwrap_or_else(|| panic!("Kubernetes {version} has no {api} {kind}")),
            };
            // The group's first word, as in kubeconform's KindSuffix.
            let suffix = match group.split('.').next() {
                None | Some("") => of_group.to_owned(),
                Some(first) => format!("{first}-{of_group}"),
            };
            let name = format!("{kind}-{suffix}.json").to_lowercase();
            fs::write(folder.join(name), schema.to_string()).unwrap();
        }
        Self { folder, version }
    }

    /// kubeconform's judgement of a text of documents.
    fn judge(&self, name: &str, text: &str) -> Result<String, String> {
        let file = self.folder.join(format!("{name}.yaml"));
        fs::write(&file, text).unwrap();
        let schemas = format!("{}/{{{{ .ResourceKind }}}}{{{{ .KindSuffix }}}}.json", self.folder.display());
        let mut command = Command::new(&Tools::provide().kubeconform);
        command.args(["-strict", "-summary", "-kubernetes-version", &self.version, "-schema-location", &schemas]);
        let output = command.arg(&file).output().unwrap();
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        if output.status.success() { Ok(said) } else { Err(said) }
    }
}

/// The pod in the notes, for a user to paste.
fn pasted(values: &str) -> String {
    let notes = Tools::provide().helms[0].notes(Release::with(values));
    let (_, rest) = notes.split_once("<<EOF\n").unwrap();
    rest.split_once("\nEOF\n").unwrap().0.to_owned()
}

#[test]
fn every_supported_kubernetes_accepts_every_object() {
    let all: Vec<Value> = CASES.iter().flat_map(|(_, values)| objects(Release::with(values))).collect();
    for line in LINES {
        let conform = Conform::new(line, &all);
        for (name, values) in CASES {
            let text = rendered(Release::with(values));
            let count = documents::parse(&text).len();
            let said = conform.judge(name, &text).unwrap_or_else(|e| panic!("{}: {name}: {e}", conform.version));
            assert!(said.contains(&format!("Valid: {count}, Invalid: 0, Errors: 0, Skipped: 0")), "{said}");
            conform.judge("pasted", &pasted(values)).unwrap_or_else(|e| panic!("{}: {name}: {e}", conform.version));
        }
        println!("Kubernetes {}: valid", conform.version);
    }
}

/// Shows that the schemas refuse mistakes: each of these changes makes one object wrong.
#[test]
fn a_misspelt_key_a_wrong_type_and_a_lacking_field_are_found() {
    let text = rendered(Release::with(EVERYTHING));
    let conform = Conform::new("1.30", &documents::parse(&text));
    let changes = [
        ("hostPath:", "hostPth:", "hostPth"),
        ("mountPropagation:", "mountpropagation:", "mountpropagation"),
        ("containerPort: 9000", "containerPort: http", "containerPort"),
        ("automountServiceAccountToken: false", "automountServiceAccountToken: 'no'", "automountServiceAccountToken"),
        ("roleRef:", "roleref:", "roleref"),
        ("\nhandler: wasm", "\nHandler: wasm", "Handler"),
        ("podMetricsEndpoints:", "podMetricEndpoints:", "podMetricEndpoints"),
    ];
    for (from, to, word) in changes {
        assert!(text.contains(from), "{from}");
        let said = conform.judge("wrong", &text.replacen(from, to, 1)).expect_err(to);
        assert!(said.contains(word), "{to}: {said}");
    }
}
