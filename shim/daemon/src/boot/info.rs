//! Answers `-v` and `-info`: version, engines, and the features of a spec that this shim knows.

use std::io::Write;

use catamaran_cache::engine::Engine;
use catamaran_cache::target::Target;
use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::types::introspection::{RuntimeInfo, RuntimeVersion};
use oci_spec::runtime::{
    ApparmorBuilder, CgroupBuilder, Features, FeaturesBuilder, LinuxFeatureBuilder, LinuxNamespaceType,
};

use crate::error::{Doing, Error, Result};

const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The name under which containerd knows this runtime, and from which it makes the executable's name (runtime v2 docs).
pub(crate) const RUNTIME: &str = "io.containerd.catamaran.v1";
/// `types.containerd.io/opencontainers/runtime-spec/1/features/Features`, as containerd's typeurl registers it.
const FEATURES_URL: &str = "types.containerd.io/opencontainers/runtime-spec/1/features/Features";

pub(crate) fn print_version() -> Result<()> {
    println!("containerd-shim-catamaran-v1:\n  Version:  {VERSION}");
    for (engine, version) in engines()? {
        println!("  {engine}:  {version}");
    }
    Ok(())
}

/// Prints a `containerd.types.RuntimeInfo` (containerd api/types/introspection.proto).
pub(crate) fn print_info() -> Result<()> {
    let features = serde_json::to_vec(&features()?).doing(|| "writing the OCI features".to_owned())?;
    let info = RuntimeInfo {
        name: RUNTIME.to_owned(),
        version: Some(RuntimeVersion { version: VERSION.to_owned(), ..Default::default() }).into(),
        features: Some(Any { type_url: FEATURES_URL.to_owned(), value: features, ..Default::default() }).into(),
        annotations: engines()?
            .into_iter()
            .map(|(engine, version)| (format!("catamaran.wasm/{engine}"), version))
            .collect(),
        ..Default::default()
    };
    let bytes = info.write_to_bytes().map_err(|e| Error::refused("runtime info", e.to_string(), "a message"))?;
    std::io::stdout().write_all(&bytes).doing(|| "writing the runtime info".to_owned())
}

/// Returns the engines that are installed beside this executable, with their versions.
fn engines() -> Result<Vec<(&'static str, String)>> {
    let mut installed = Vec::new();
    for engine in Engine::ALL {
        if Target::command(engine).missing()?.is_none() {
            installed.push((engine.word(), version_of(engine)?));
        }
    }
    Ok(installed)
}

fn version_of(engine: Engine) -> Result<String> {
    let program = Target::command(engine).worker()?;
    let answer = program.command().arg("--version").output().on(program.path())?;
    if !answer.status.success() {
        let found = format!("--version ended with {}", answer.status);
        return Err(Error::refused(program.path().display().to_string(), found, "the worker of this shim's version"));
    }
    Ok(String::from_utf8_lossy(&answer.stdout).trim().to_owned())
}

/// Returns the OCI features document (runtime-spec, features.md). It names what this shim knows, even if a node's kernel does not.
fn features() -> Result<Features> {
    let invalid = |e: oci_spec::OciSpecError| Error::refused("OCI features", e.to_string(), "a valid document");
    let linux = LinuxFeatureBuilder::default()
        .namespaces(vec![
            LinuxNamespaceType::Cgroup,
            LinuxNamespaceType::Ipc,
            LinuxNamespaceType::Mount,
            LinuxNamespaceType::Network,
            LinuxNamespaceType::Pid,
            LinuxNamespaceType::Uts,
        ])
        .cgroup(
            CgroupBuilder::default()
                .v1(true)
                .v2(true)
                .systemd(true)
                .systemd_user(false)
                .rdma(true)
                .build()
                .map_err(invalid)?,
        )
        .seccomp(crate::spec::seccomp::features().map_err(invalid)?)
        .apparmor(ApparmorBuilder::default().enabled(true).build().map_err(invalid)?)
        .build()
        .map_err(invalid)?;
    FeaturesBuilder::default()
        .oci_version_min("1.0.0")
        .oci_version_max("1.2.0")
        .hooks(["prestart", "createRuntime", "poststart", "poststop"].map(str::to_owned))
        .mount_options(catamaran_files::mount_options::understood())
        .linux(linux)
        .build()
        .map_err(invalid)
}
