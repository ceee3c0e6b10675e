//! Tests of the archives in a real containerd: imported, listed, run. Needs root.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use std::path::{Path, PathBuf};
use std::process::Command;

use catamaran_harness::{Node, Runtime, shim_folder};
use serde_json::{Value, json};

const VERSION: &str = env!("CARGO_PKG_VERSION");

fn processor() -> &'static str {
    if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }
}

/// Packs an image, and returns its archive.
fn packed(node: &Node, image: &str, archive: &str) -> PathBuf {
    let out = node.folder("archives");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut command = Command::new(env!("CARGO_BIN_EXE_catamaran-dist"));
    command
        .args(["--revision", "abc", "image", image])
        .arg("--source")
        .arg(source)
        .arg("--programs")
        .arg(shim_folder());
    let output = command.arg("--out").arg(&out).env("SOURCE_DATE_EPOCH", "1790000000").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    out.join(archive)
}

fn import(node: &Node, flags: &[&str], archive: &Path) {
    let mut args = vec!["images", "import"];
    args.extend(flags);
    node.ctr_ok(args.into_iter().chain([archive.to_str().unwrap()]));
}

/// The target's digest and the platforms of an image, as containerd lists it.
fn listed(node: &Node, name: &str) -> (String, String) {
    let list = node.ctr_ok(["images", "ls"]);
    let line = list
        .lines()
        .find(|line| line.starts_with(&format!("{name} ")))
        .unwrap_or_else(|| panic!("{name} is not in {list}"));
    let words: Vec<&str> = line.split_whitespace().collect();
    (words[2].to_owned(), words[words.len() - 2].to_owned())
}

fn blob(node: &Node, digest: &Value) -> Value {
    serde_json::from_str(&node.ctr_ok(["content", "get", digest.as_str().unwrap()])).unwrap()
}

#[test]
fn the_installer_s_image_is_imported_and_runs() {
    let node = Node::start();
    let archive = packed(&node, "installer", &format!("catamaran-installer-{VERSION}-linux-{}.tar", processor()));
    import(&node, &[], &archive);
    let name = format!("ghcr.io/catamaran-wasm/catamaran-installer:{VERSION}");
    let (digest, platforms) = listed(&node, &name);
    assert_eq!(platforms, format!("linux/{}", processor()));
    let manifest = blob(&node, &json!(digest));
    assert_eq!(manifest["annotations"]["org.opencontainers.image.version"], VERSION);
    let config = blob(&node, &manifest["config"]["digest"]);
    assert_eq!(config["config"]["Entrypoint"], json!(["/catamaran/catamaran"]));
    assert_eq!((&config["config"]["User"], &config["os"]), (&Value::Null, &json!("linux")));

    // The container has only the image's own files: the program is static, and finds the other programs beside it.
    let output = node
        .container("installer")
        .runtime(Runtime::Runc)
        .image_name(&name)
        .args(["/catamaran/catamaran", "--version"])
        .run();
    assert_eq!((output.code, output.stdout.trim()), (0, &*format!("catamaran {VERSION}")), "{output:#?}");
    node.finish();
}

#[test]
fn an_example_s_image_is_for_every_processor_and_runs_on_catamaran() {
    let node = Node::start();
    let archive = packed(&node, "examples/hello", &format!("catamaran-example-hello-{VERSION}.tar"));
    // As `kind load image-archive` does it, with the content of all platforms.
    import(&node, &["--all-platforms"], &archive);
    let name = format!("ghcr.io/catamaran-wasm/examples/hello:{VERSION}");
    let (digest, platforms) = listed(&node, &name);
    assert_eq!(platforms, "linux/amd64,linux/arm64");
    let index = blob(&node, &json!(digest));
    assert_eq!(index["annotations"]["org.opencontainers.image.licenses"], "Apache-2.0");
    for manifest in index["manifests"].as_array().unwrap() {
        let config = blob(&node, &blob(&node, &manifest["digest"])["config"]["digest"]);
        assert_eq!(config["architecture"], manifest["platform"]["architecture"]);
        assert_eq!(config["config"]["Entrypoint"], json!(["/hello.wasm"]));
    }
    let output = node.container("hello").image_name(&name).run();
    assert_eq!(output.code, 0, "{output:#?}");
    assert!(!output.stdout.is_empty(), "{output:#?}");
    node.finish();
}
