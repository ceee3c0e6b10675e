//! Compares the structures in `src/api` with the `.proto` files of Kubernetes and containerd: messages, fields, numbers, types, and the
//! values of enumerations.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

mod proto;
mod structures;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use catamaran_harness::provided_by;

/// What a `.proto` file or a file of structures declares.
#[derive(Debug, Default, PartialEq)]
struct Declared {
    /// By name: the fields by name, each with its number and type.
    messages: BTreeMap<String, BTreeMap<String, (u32, String)>>,
    /// By name: the values by number.
    enums: BTreeMap<String, BTreeMap<i32, String>>,
}

/// The modules below `src/api` with structures, and the files that declare these. `cri` is in Kubernetes' module, the others in
/// containerd's.
const MODULES: [(&str, &[&str]); 15] = [
    ("containers.rs", &["services/containers/v1/containers.proto"]),
    (
        "content.rs",
        &[
            "services/content/v1/content.proto",
            "services/images/v1/images.proto",
            "services/leases/v1/leases.proto",
            "types/descriptor.proto",
        ],
    ),
    ("cri/containers.rs", &["cri"]),
    ("cri/images.rs", &["cri"]),
    ("cri/pods.rs", &["cri"]),
    ("cri/records.rs", &["cri"]),
    ("cri/security.rs", &["cri"]),
    ("cri/stats.rs", &["cri"]),
    ("cri/streams.rs", &["cri"]),
    ("events.rs", &["services/events/v1/events.proto", "events/namespace.proto"]),
    (
        "processes.rs",
        &[
            "services/tasks/v1/tasks.proto",
            "types/metrics.proto",
            "types/runc/options/oci.proto",
            "types/task/task.proto",
        ],
    ),
    ("sandboxes.rs", &["services/sandbox/v1/sandbox.proto", "types/sandbox.proto"]),
    ("snapshots.rs", &["services/snapshots/v1/snapshots.proto", "types/mount.proto"]),
    ("tasks.rs", &["services/tasks/v1/tasks.proto", "types/task/task.proto"]),
    // protobuf's own types, which cannot change; neither module has their files.
    ("known.rs", &[]),
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/api")
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The differences of `ours` from `theirs`, which may have more messages, fields and values.
fn differences(ours: &Declared, theirs: &Declared) -> Vec<String> {
    let mut found = Vec::new();
    for (name, fields) in &ours.messages {
        let Some(message) = theirs.messages.get(name) else {
            found.push(format!("there is no message {name}"));
            continue;
        };
        for (field, ours) in fields {
            if message.get(field) != Some(ours) {
                found.push(format!("{name}.{field} is {ours:?} here and {:?} there", message.get(field)));
            }
        }
    }
    // `HostToContainer` stands for `PROPAGATION_HOST_TO_CONTAINER`.
    let plain = |name: &str| name.replace('_', "").to_lowercase();
    for (name, values) in &ours.enums {
        for (number, ours) in values {
            let value = theirs.enums.get(name).and_then(|values| values.get(number));
            if !value.is_some_and(|value| plain(value).ends_with(&plain(ours))) {
                found.push(format!("{name}::{ours} is {number} here, and {value:?} has this number there"));
            }
        }
    }
    found
}

#[test]
fn the_structures_of_messages_are_those_of_kubernetes_and_containerd() {
    let value = provided_by(&Path::new(env!("CARGO_MANIFEST_DIR")).join("provision-protos"));
    let (cri, containerd) = (PathBuf::from(value("cri")), PathBuf::from(value("containerd")));
    let mut messages = 0;
    for (module, files) in MODULES.iter().filter(|(_, files)| !files.is_empty()) {
        let ours = structures::read(&text(&folder().join(module)));
        assert!(!ours.messages.is_empty(), "no structures were found in {module}");
        messages += ours.messages.len();
        let mut theirs = Declared::default();
        for file in *files {
            let path = if *file == "cri" { cri.clone() } else { containerd.join(file) };
            let Declared { messages, enums } = proto::read(&text(&path));
            theirs.messages.extend(messages);
            theirs.enums.extend(enums);
        }
        assert_eq!(differences(&ours, &theirs), [""; 0], "{module}");
    }
    assert!(messages > 100, "only {messages} structures were found");
}

#[test]
fn every_module_of_messages_is_compared() {
    let files = |folder: PathBuf| {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.is_file()).collect::<Vec<_>>()
    };
    let mut found = [files(folder()), files(folder().join("cri"))].concat();
    // `cri.rs` declares the modules of its folder, and no structure.
    found.retain(|path| *path != folder().join("cri.rs"));
    let mut found: Vec<_> = found.iter().map(|path| path.strip_prefix(folder()).unwrap().to_str().unwrap()).collect();
    found.sort_unstable();
    let mut compared = MODULES.map(|(module, _)| module);
    compared.sort_unstable();
    assert_eq!(found, compared);
}

#[test]
fn a_wrong_name_number_or_type_is_found() {
    let theirs = proto::read(
        "/* message Comment { */ message Pod { // text\n string name = 1; repeated Port ports = 2 [deprecated=true];\n\
         map<string,string> labels = 3; enum State { STATE_READY = 0; STATE_GONE = 1; } State state = 4; }\n\
         message Port { .api.v1.Number port = 1; } service Pods { rpc Run(Pod) returns (Port) {} }",
    );
    let ours = "#[derive(Clone, PartialEq, Message)]\npub(crate) struct Pod {\n#[prost(string, tag = \"1\")]\n\
         pub(crate) name: String,\n#[prost(message, repeated, tag = \"2\")]\npub(crate) ports: Vec<Port>,\n\
         #[prost(btree_map = \"string, string\", tag = \"3\")]\npub(crate) labels: BTreeMap<String, String>,\n\
         #[prost(enumeration = \"State\", tag = \"4\")]\npub(crate) state: i32,\n}\n\
         pub(crate) struct Port {\n#[prost(message, optional, tag = \"1\")]\npub(crate) port: Option<Number>,\n}\n\
         pub enum State {\nReady = 0,\nGone = 1,\n}\n";
    assert_eq!(differences(&structures::read(ours), &theirs), [""; 0]);
    for (right, wrong, told) in [
        ("name: String", "title: String", "Pod.title"),
        ("tag = \"3\"", "tag = \"5\"", "Pod.labels"),
        ("#[prost(string, tag", "#[prost(uint32, tag", "Pod.name"),
        ("message, repeated", "message, optional", "Pod.ports"),
        ("Option<Number>", "Option<Name>", "Port.port"),
        ("Gone = 1", "Gone = 0", "State::Gone"),
        ("struct Port", "struct Door", "Door"),
    ] {
        let found = differences(&structures::read(&ours.replace(right, wrong)), &theirs);
        assert!(found.len() == 1 && found[0].contains(told), "{wrong}: {found:?}");
    }
}
