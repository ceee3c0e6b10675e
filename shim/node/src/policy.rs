//! Reads which engines the handler's options allow, as the shim does (docs/node.md, "Options of the handler").

use std::fs;
use std::path::Path;

use serde::Serialize;

use crate::error::{On, Result};
use crate::handler::{ENGINES, Options};
use crate::host::Host;
use crate::layout::Place;
use crate::state::Installed;

/// The limit if the options give no number.
const LARGEST_MODULE: u64 = 128 << 20;

/// The meaning of the options.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Policy {
    /// The allowed engines, in the order in which they are tried if no annotation names one.
    pub(crate) engines: Vec<String>,
    /// Whether the options name a `default_engine`.
    pub(crate) said: bool,
    /// Whether programs that are not Wasm run, by runc.
    pub(crate) native: bool,
    /// The largest module, in bytes.
    pub(crate) largest: u64,
}

impl Policy {
    pub(crate) fn new(options: &Options) -> Self {
        let default = options.value("default_engine").and_then(|value| value.as_str().map(str::to_owned));
        let said = default.is_some();
        let allowed = options.engines();
        let first = default.or_else(|| allowed.first().cloned());
        // The others follow in the shim's own order.
        let others =
            ENGINES.map(str::to_owned).into_iter().filter(|one| Some(one) != first.as_ref() && allowed.contains(one));
        Self {
            engines: first.iter().cloned().chain(others).collect(),
            said,
            native: options.value("native_containers").and_then(|value| value.as_bool()).unwrap_or(true),
            largest: options
                .value("max_module_bytes")
                .and_then(|value| u64::try_from(value.as_integer()?).ok())
                .unwrap_or(LARGEST_MODULE),
        }
    }

    /// Why this engine is chosen, if no annotation names one.
    pub(crate) fn reason(&self, engine: &str) -> &'static str {
        match () {
            () if self.engines.first().is_none_or(|first| first != engine) => "the module needs it",
            () if self.engines.len() == 1 => "the handler's options allow no other",
            () if self.said => "default_engine of the handler's options",
            () => "the default",
        }
    }
}

/// The options in that file; without a file those of the installed handler, or none.
pub(crate) fn options(host: &Host, installed: Option<&Installed>, file: Option<&Path>) -> Result<Options> {
    if let Some(file) = file {
        let text = fs::read_to_string(file).on("reading", file)?;
        return Options::parse(&file.display().to_string(), &text);
    }
    let Some(installed) = installed else { return Ok(Options::default()) };
    let (Place::DropIn { file } | Place::Import { file } | Place::Block { template: file, .. }) = &installed.place;
    let written = host.text(file).and_then(|text| Options::of_handler(&text, &installed.handler));
    Ok(written.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engines_are_tried_in_the_shims_order() {
        for (options, engines, reason) in [
            ("{}", &["wasmtime", "wasmer"][..], "the default"),
            (r#"{"default_engine": "wasmer"}"#, &["wasmer", "wasmtime"], "default_engine of the handler's options"),
            (r#"{"allowed_engines": ["wasmer", "wasmtime"]}"#, &["wasmer", "wasmtime"], "the default"),
            (r#"{"allowed_engines": ["wasmer"]}"#, &["wasmer"], "the handler's options allow no other"),
        ] {
            let policy = Policy::new(&Options::parse("x", options).unwrap());
            assert_eq!(policy.engines, engines);
            assert_eq!(policy.reason(engines[0]), reason);
            assert_eq!(policy.reason("another"), "the module needs it");
        }
        let policy =
            Policy::new(&Options::parse("x", r#"{"native_containers": false, "max_module_bytes": 7}"#).unwrap());
        assert_eq!((policy.native, policy.largest), (false, 7));
    }
}
