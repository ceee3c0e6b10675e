//! The parsers of untrusted input alone, for `tests/fuzz`. Each returns an error as the text that the client gets (`rpc/status.rs`).

use catamaran_cache::engine::Engine;
use catamaran_files::mount_options;
use catamaran_worker::job::{Profile, Server};
use catamaran_worker::quote::shortened;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use oci_spec::runtime::LinuxSeccomp;

use crate::engine::annotations::Annotations;
use crate::engine::choice::Choice;
use crate::engine::http::Http;
use crate::engine::options::Policy;
use crate::error::{Error, printable};
use crate::spec::bundle::{self, Bundle};
use crate::spec::oci::Spec;
use crate::spec::seccomp;

/// Reads config.json.
///
/// # Errors
/// A refusal's text.
pub fn config(text: &[u8]) -> Result<(), String> {
    let bundle = Bundle::load("/bundle".as_ref(), text, "fuzz", "/default".to_owned()).map_err(refusal)?;
    for mount in bundle.spec.mounts().iter().flatten() {
        let options = mount.options().as_deref().unwrap_or_default();
        mount_options::Options::parse(options).map_err(|e| e.expected.to_owned())?;
    }
    Ok(())
}

/// Reads the resources of an Update.
///
/// # Errors
/// A refusal's text.
pub fn resources(text: &[u8]) -> Result<(), String> {
    bundle::resources(text).map(drop).map_err(malformed)
}

/// Reads from the annotations of a config.json how a server with the environment `env` is to serve.
///
/// # Errors
/// A refusal's text.
pub fn server(text: &[u8], env: &[(String, String)]) -> Result<Server, String> {
    let spec: Spec = serde_json::from_slice(text).map_err(malformed)?;
    Http::new(&Annotations::new(&spec)).and_then(|http| http.server(env, None)).map_err(refusal)
}

/// Reads the choice of engine and world from the annotations of a config.json. Returns the number of targets to try.
///
/// # Errors
/// A refusal's text, also for an engine that is not installed.
pub fn choice(text: &[u8]) -> Result<usize, String> {
    let spec: Spec = serde_json::from_slice(text).map_err(malformed)?;
    let policy = Policy::parse(&Any::default(), None).map_err(refusal)?;
    Choice::new(&spec, policy).map(|choice| choice.targets().len()).map_err(refusal)
}

/// Reads `linux.seccomp`.
///
/// # Errors
/// A refusal's text.
pub fn seccomp(text: &[u8]) -> Result<Profile, String> {
    let profile: LinuxSeccomp = serde_json::from_slice(text).map_err(malformed)?;
    seccomp::compile(&profile).map_err(refusal)
}

/// Reads the options of a handler: the engines that are allowed, and the default. `alias` is the engine of the program's name.
///
/// # Errors
/// A refusal's text.
pub fn options(type_url: &str, value: &[u8], alias: Option<Engine>) -> Result<(Vec<Engine>, Engine), String> {
    let options = Any { type_url: type_url.to_owned(), value: value.to_vec(), ..Any::default() };
    Policy::parse(&options, alias).map(|policy| (policy.allowed, policy.default)).map_err(refusal)
}

fn refusal(e: Error) -> String {
    printable(&shortened(&e.to_string()))
}

fn malformed(e: serde_json::Error) -> String {
    printable(&shortened(&e.to_string()))
}
