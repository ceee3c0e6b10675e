//! Reads the options of the handler, which the node's administrator writes into containerd's configuration.
//!
//! containerd sends them with every Create in its message `runtimeoptions.v1.Options`: the text itself, or the path of a file. The text is
//! TOML. An unknown key in it is refused.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use catamaran_cache::engine::{Engine, quoted};
use containerd_shim_protos::protobuf::CodedInputStream;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use nix::libc;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::error::{Doing, Error, Result};

/// The message that `ctr` and the CRI send for a handler that is not runc.
const OURS: &str = "runtimeoptions.v1.Options";
/// The message of clients that take every handler for runc. It is ignored, because it has nothing for a Wasm container.
const RUNCS: &str = "containerd.runc.v1.Options";
/// The only value that `TypeUrl` may have.
const TYPE: &str = "io.containerd.catamaran.v1.options";
/// The default runtime of native containers.
const RUNC: &str = "runc";
/// The default limit of a module's size. The largest modules that people build have about 50 MB.
const LARGEST_MODULE: u64 = 128 << 20;
/// The highest limit of a module's size. To compile a module of this size takes tens of gigabytes of memory.
const LARGEST_OF_ALL: u64 = 512 << 20;
/// The largest file of options, far larger than an administrator writes.
const LARGEST: u64 = 64 << 10;
/// Every option: its key, and the form of its value for an error.
const OPTIONS: [(&str, &str); 7] = [
    (ALLOWED_ENGINES, "a list, such as [\"wasmtime\", \"wasmer\"]"),
    (DEFAULT_ENGINE, "one of them"),
    ("native_containers", "true or false"),
    (NATIVE_RUNTIME, "such as \"runc\""),
    (MAX_MODULE_BYTES, "a number"),
    ("wasi_p3", "true or false"),
    ("link_local_requests", "true or false"),
];
const ALLOWED_ENGINES: &str = "allowed_engines";
const DEFAULT_ENGINE: &str = "default_engine";
const NATIVE_RUNTIME: &str = "native_runtime";
const MAX_MODULE_BYTES: &str = "max_module_bytes";
/// The expected values of `native_runtime`.
const RUNTIMES: &str = "a program's name, which is looked for in containerd's PATH, or its absolute path";

/// The choices that the node allows its pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Policy {
    /// `allowed_engines`: no choice goes beyond these. The default is the engine in the program's name, else all.
    pub(crate) allowed: Vec<Engine>,
    /// `default_engine`. Its default is the engine in the program's name, else the first allowed one.
    pub(crate) default: Engine,
    /// Whether the default engine comes from the options or the program's name.
    pub(crate) said: bool,
    /// `native_containers`: whether runc runs programs that are not Wasm.
    pub(crate) native: bool,
    /// `native_runtime`: runc's name in containerd's PATH, or its absolute path.
    pub(crate) runtime: String,
    /// `max_module_bytes`: a larger module is refused.
    pub(crate) largest: u64,
    /// `wasi_p3`: whether components of WASI 0.3 run. The authors of the code for 0.3 make no release for a fault of that code alone. The
    /// default is true all the same, because the kernel confines every worker, and only such components reach that code.
    pub(crate) wasi_p3: bool,
    /// `link_local_requests`: whether a server's requests may go to link-local addresses and metadata services. The default is
    /// false, because those addresses hand out the node's credentials.
    pub(crate) link_local_requests: bool,
    /// The source of the policy: a file, or containerd's configuration.
    pub(crate) place: String,
}

/// The options as the administrator wrote them.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    allowed_engines: Option<Vec<String>>,
    default_engine: Option<String>,
    native_containers: Option<bool>,
    native_runtime: Option<String>,
    max_module_bytes: Option<u64>,
    wasi_p3: Option<bool>,
    link_local_requests: Option<bool>,
    /// containerd's own key, which it leaves in the text that it sends.
    #[serde(rename = "TypeUrl")]
    type_url: Option<String>,
    /// k3s and rke2 write this key and the next for every handler (see `alias`). Only runc uses them.
    #[serde(rename = "BinaryName")]
    binary_name: Option<IgnoredAny>,
    #[serde(rename = "SystemdCgroup")]
    systemd_cgroup: Option<IgnoredAny>,
}

/// `runtimeoptions.v1.Options` (containerd api/types/runtimeoptions/v1/api.proto).
#[derive(Debug, Default)]
struct Sent {
    type_url: String,
    config_path: String,
    config_body: Vec<u8>,
}

impl Policy {
    /// Reads the policy from the options of a Create. `alias` is the engine that the program's name asks for.
    pub(crate) fn parse(options: &Any, alias: Option<Engine>) -> Result<Self> {
        match options.type_url.rsplit('/').next().unwrap_or_default() {
            "" if options.value.is_empty() => Self::read("the handler's options", "", alias),
            RUNCS => Self::read("the handler's options", "", alias),
            OURS => {
                let sent = Sent::parse(&options.value)
                    .map_err(|e| Error::refused("the request's options", e, format!("a message {OURS}")))?;
                sent.policy(alias)
            }
            other => {
                let expected = format!("none, or a message {OURS} with TOML in config_body or config_path");
                Err(Error::refused("the request's options", format!("of type {other:?}"), expected))
            }
        }
    }

    /// Reads the policy from the text at `place`.
    fn read(place: &str, text: &str, alias: Option<Engine>) -> Result<Self> {
        let written: Written = toml::from_str(text).map_err(|e| unreadable(place, text, &e))?;
        let at = |key: &str| format!("{place}: {key}");
        check_type(&at("TypeUrl"), written.type_url.as_deref().unwrap_or_default())?;
        for (key, value) in [("BinaryName", &written.binary_name), ("SystemdCgroup", &written.systemd_cgroup)] {
            if value.is_some() && alias.is_none() {
                return Err(Error::refused(at(key), "an option of runc's", format!("{}; remove this one", keys())));
            }
        }
        let engine = |key: &str, text: &str| {
            let expected = format!("{}, the engines that there are", quoted(&Engine::ALL));
            Engine::parse(text).ok_or_else(|| Error::refused(at(key), format!("{text:?}"), expected))
        };
        let mut allowed = Vec::new();
        for text in written.allowed_engines.iter().flatten() {
            let one = engine(ALLOWED_ENGINES, text)?;
            if allowed.contains(&one) {
                return Err(Error::refused(at(ALLOWED_ENGINES), format!("{text:?} twice"), "each engine once"));
            }
            allowed.push(one);
        }
        match written.allowed_engines {
            // The name promises that engine alone, and must not allow more than the node's other handler.
            None => allowed.extend(Engine::ALL.into_iter().filter(|engine| alias.is_none_or(|alias| alias == *engine))),
            Some(_) if allowed.is_empty() => {
                let expected =
                    format!("one engine at least, of {}; leave the key out to allow all", quoted(&Engine::ALL));
                return Err(Error::refused(at(ALLOWED_ENGINES), "an empty list", expected));
            }
            Some(_) => {}
        }
        let said = written.default_engine.map(|text| engine(DEFAULT_ENGINE, &text)).transpose()?;
        let named = alias.filter(|engine| allowed.contains(engine));
        let default = said.or(named).or(allowed.first().copied()).unwrap_or(Engine::Wasmtime);
        if !allowed.contains(&default) {
            let expected = format!("{}, as allowed_engines says", quoted(&allowed));
            return Err(Error::refused(at(DEFAULT_ENGINE), format!("{:?}", default.word()), expected));
        }
        let native = written.native_containers.unwrap_or(true);
        let runtime = written.native_runtime.unwrap_or_else(|| RUNC.to_owned());
        if runtime.is_empty() || runtime.contains('/') && !runtime.starts_with('/') {
            return Err(Error::refused(at(NATIVE_RUNTIME), format!("{runtime:?}"), RUNTIMES));
        }
        let largest = written.max_module_bytes.unwrap_or(LARGEST_MODULE);
        if !(1..=LARGEST_OF_ALL).contains(&largest) {
            let expected = format!("{}; without it {LARGEST_MODULE}", sizes());
            return Err(Error::refused(at(MAX_MODULE_BYTES), largest.to_string(), expected));
        }
        let wasi_p3 = written.wasi_p3.unwrap_or(true);
        let link_local_requests = written.link_local_requests.unwrap_or(false);
        let place = match alias {
            Some(engine) => format!("{place}, for a shim that is started by the name of {engine}"),
            None => place.to_owned(),
        };
        Ok(Self {
            allowed,
            default,
            said: said.or(named).is_some(),
            native,
            runtime,
            largest,
            wasi_p3,
            link_local_requests,
            place,
        })
    }
}

impl Sent {
    fn parse(bytes: &[u8]) -> std::result::Result<Self, String> {
        const STRING: u32 = 2;
        let mut sent = Self::default();
        let mut input = CodedInputStream::from_bytes(bytes);
        let mut read = || {
            while let Some(tag) = input.read_raw_tag_or_eof()? {
                match (tag >> 3, tag & 7) {
                    (1, STRING) => sent.type_url = input.read_string()?,
                    (2, STRING) => sent.config_path = input.read_string()?,
                    (3, STRING) => sent.config_body = input.read_bytes()?,
                    (field, wire) => {
                        return Ok(Err(format!("a field {field} of wire type {wire}")));
                    }
                }
            }
            Ok(Ok(()))
        };
        read().map_err(|e: containerd_shim_protos::protobuf::Error| e.to_string())??;
        Ok(sent)
    }

    fn policy(&self, alias: Option<Engine>) -> Result<Policy> {
        check_type("the handler's option TypeUrl", &self.type_url)?;
        let (place, bytes) = match self.config_path.as_str() {
            path if self.config_body.is_empty() && !path.is_empty() => (path, file(Path::new(path))?),
            _ => ("the handler's options (config_body)", self.config_body.clone()),
        };
        let text = String::from_utf8(bytes).map_err(|e| Error::refused(place, e.to_string(), "UTF-8, as TOML is"))?;
        Policy::read(place, &text, alias)
    }
}

fn check_type(place: &str, said: &str) -> Result<()> {
    match said {
        "" | TYPE => Ok(()),
        other => Err(Error::refused(place, format!("{other:?}"), format!("{TYPE:?}, or no such key"))),
    }
}

/// Reads the file of options. Does not wait if the path is a FIFO's or a device's, because that would hold up the pod.
fn file(path: &Path) -> Result<Vec<u8>> {
    let place = || path.display().to_string();
    if !path.is_absolute() {
        let expected = "an absolute path, because a shim does not work in containerd's folder";
        return Err(Error::refused("the handler's option ConfigPath", format!("{:?}", place()), expected));
    }
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path);
    let file = file.map_err(|e| match e.kind() {
        ErrorKind::NotFound => {
            Error::refused("the handler's option ConfigPath", place(), "a file that exists: there is none of this name")
        }
        _ => catamaran_host::Error::File { path: path.to_owned(), source: e }.into(),
    })?;
    let meta = file.metadata().on(path)?;
    if !meta.is_file() || meta.len() > LARGEST {
        let expected = format!("a file of TOML with at most {LARGEST} bytes");
        return Err(Error::refused("the handler's option ConfigPath", place(), expected));
    }
    let mut bytes = Vec::new();
    file.take(LARGEST).read_to_end(&mut bytes).on(path)?;
    Ok(bytes)
}

/// Returns the expected values of `max_module_bytes`.
fn sizes() -> String {
    format!("a number of bytes from 1 to {LARGEST_OF_ALL}")
}

/// Names every option, for an error.
fn keys() -> String {
    let [others @ .., last] = OPTIONS.map(|(key, form)| format!("{key} ({form})"));
    format!("TOML with the keys {} and {last}", others.join(", "))
}

/// Returns the parser's error with the line that it is about.
fn unreadable(place: &str, text: &str, e: &toml::de::Error) -> Error {
    let line = e.span().map(|span| {
        let before = text.get(..span.start).unwrap_or_default();
        let number = before.matches('\n').count() + 1;
        format!("{place}: line {number}: {}", text.lines().nth(number - 1).unwrap_or_default().trim())
    });
    Error::refused(line.unwrap_or_else(|| place.to_owned()), e.message(), keys())
}

#[cfg(test)]
mod tests;
