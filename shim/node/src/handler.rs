//! The handler's text in containerd's configuration.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::Value;
use toml_edit::{Array, DocumentMut, Item};

use crate::error::{Error, Result};

/// containerd's name of the runtime, which appears in events and labels. `runtime_path` says where the program is.
pub(crate) const RUNTIME: &str = "io.containerd.catamaran.v1";
pub(crate) const SHIM: &str = "containerd-shim-catamaran-v1";
/// Annotations that containerd hands on. Without this no pod could choose its engine.
const ANNOTATIONS: &str = "catamaran.wasm/*";

const BEGIN: &str = "# catamaran: begin. Written by `catamaran install`; `catamaran uninstall` removes it.\n";
const END: &str = "# catamaran: end\n";

/// The handler that is written, and the path of its shim.
#[derive(Debug, Clone)]
pub(crate) struct Handler {
    pub(crate) name: String,
    pub(crate) shim: PathBuf,
    pub(crate) options: Options,
}

/// The keys of the options. The shim reads them.
pub(crate) const KNOWN: [&str; 7] = [
    "allowed_engines",
    "default_engine",
    "native_containers",
    "native_runtime",
    "max_module_bytes",
    "wasi_p3",
    "link_local_requests",
];

/// The handler's options (docs/node.md, "Options of the handler"), each a key and its TOML value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Options(Vec<(String, String)>);

impl Options {
    /// Reads `{"default_engine": "wasmer", ...}`, the form of the chart's values. The shim checks the values.
    pub(crate) fn parse(place: &str, text: &str) -> Result<Self> {
        let read: serde_json::Map<String, Value> = serde_json::from_str(text).map_err(|e| {
            Error::refused(
                format!("{place} cannot be read: {e}"),
                "write a JSON object: {\"default_engine\": \"wasmer\"}",
            )
        })?;
        let mut options = Vec::new();
        for (key, value) in read {
            if !KNOWN.contains(&key.as_str()) {
                return Err(Error::refused(
                    format!("{place} has the key {key:?}, which is no option of the handler"),
                    format!("write one of these: {}", KNOWN.join(", ")),
                ));
            }
            let toml = toml(&value).ok_or_else(|| {
                Error::refused(
                    format!("{place}: {key} is {value}"),
                    "write a string, a number, true, false or a list of strings",
                )
            })?;
            options.push((key, toml.to_string().trim().to_owned()));
        }
        options.sort();
        Ok(Self(options))
    }

    /// The options of a handler in a file that this command wrote: a drop-in, or a block in a template.
    pub(crate) fn of_handler(text: &str, handler: &str) -> Option<Self> {
        let block = text.split_once(BEGIN).map(|(_, behind)| behind.split_once(END).map_or(behind, |(block, _)| block));
        let document: DocumentMut = block.unwrap_or(text).parse().ok()?;
        let mut plugins = document.get("plugins")?.as_table_like()?.iter();
        let table = plugins.find_map(|(_, plugin)| plugin.get("containerd")?.get("runtimes")?.get(handler))?;
        let options = table.get("options").and_then(Item::as_table_like);
        let pairs = options.into_iter().flat_map(|options| options.iter());
        Some(Self(pairs.map(|(key, value)| (key.to_owned(), value.to_string().trim().to_owned())).collect()))
    }

    /// The value of an option, if it is written.
    pub(crate) fn value(&self, key: &str) -> Option<toml_edit::Value> {
        self.0.iter().find(|(known, _)| known == key)?.1.parse().ok()
    }

    /// The options as the shim reads them: lines of TOML.
    pub(crate) fn body(&self) -> String {
        self.0.iter().fold(String::new(), |body, (key, value)| body + key + " = " + value + "\n")
    }

    /// The engines that pods may use.
    pub(crate) fn engines(&self) -> Vec<String> {
        let listed = self.body().parse::<DocumentMut>().ok().and_then(|document| {
            let array = document.get("allowed_engines")?.as_array()?.clone();
            Some(array.iter().filter_map(|value| value.as_str().map(str::to_owned)).collect::<Vec<_>>())
        });
        listed.unwrap_or_else(|| ENGINES.map(str::to_owned).to_vec())
    }
}

pub(crate) const ENGINES: [&str; 2] = ["wasmtime", "wasmer"];

fn toml(value: &Value) -> Option<toml_edit::Value> {
    Some(match value {
        Value::Bool(value) => (*value).into(),
        Value::Number(number) => number.as_i64()?.into(),
        Value::String(text) => text.as_str().into(),
        Value::Array(values) => values.iter().map(toml).collect::<Option<Array>>()?.into(),
        Value::Null | Value::Object(_) => return None,
    })
}

impl Handler {
    /// Checks a handler's name: a RuntimeClass takes only DNS labels.
    pub(crate) fn check_name(name: &str) -> Result<()> {
        let label = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let good = !name.is_empty() && name.len() <= 63 && name.bytes().all(label);
        if !good || name.starts_with('-') || name.ends_with('-') || name == "runc" {
            return Err(Error::refused(
                format!("{name:?} cannot be the handler's name"),
                "write lower-case letters, digits and dashes, such as catamaran, and not runc",
            ));
        }
        Ok(())
    }

    /// The handler's table, in the form of a root file of that version.
    fn table(&self, version: u64) -> String {
        let plugin = if version == 2 { "io.containerd.grpc.v1.cri" } else { "io.containerd.cri.v1.runtime" };
        let table = format!("plugins.'{plugin}'.containerd.runtimes.{}", self.name);
        let shim = toml_edit::Value::from(self.shim.to_string_lossy().as_ref());
        let mut text = format!(
            "[{table}]\n  runtime_type = '{RUNTIME}'\n  runtime_path = {shim}\n  pod_annotations = ['{ANNOTATIONS}']\n  \
             container_annotations = ['{ANNOTATIONS}']\n"
        );
        if !self.options.0.is_empty() {
            let _ = writeln!(text, "  [{table}.options]");
            for (key, value) in &self.options.0 {
                let _ = writeln!(text, "    {key} = {value}");
            }
        }
        text
    }

    /// The content of a drop-in.
    pub(crate) fn drop_in(&self, version: u64) -> String {
        format!(
            "# Written by `catamaran install`, which overwrites it; `catamaran uninstall` removes it.\nversion = {version}\n\n{}",
            self.table(version)
        )
    }

    /// The block in somebody else's file.
    pub(crate) fn block(&self, version: u64) -> String {
        format!("{BEGIN}{}{END}", self.table(version))
    }

    /// Compares containerd's dump of this handler with what was written. Returns the first difference in words, or None.
    pub(crate) fn differs(&self, table: &Item) -> Option<String> {
        let text = |key: &str| table.get(key).and_then(Item::as_str).unwrap_or_default().to_owned();
        for (key, expected) in
            [("runtime_type", RUNTIME.to_owned()), ("runtime_path", self.shim.to_string_lossy().into_owned())]
        {
            if text(key) != expected {
                return Some(format!("{key} is {:?} and not {expected:?}", text(key)));
            }
        }
        for key in ["pod_annotations", "container_annotations"] {
            let array = table.get(key).and_then(Item::as_array);
            if !array.into_iter().flatten().any(|value| value.as_str() == Some(ANNOTATIONS)) {
                return Some(format!("{key} lacks {ANNOTATIONS:?}"));
            }
        }
        let wanted: DocumentMut = self.options.body().parse().unwrap_or_default();
        for (key, value) in wanted.iter() {
            let found = table.get("options").and_then(|options| options.get(key));
            if found.is_none_or(|found| plain(found) != plain(value)) {
                return Some(format!("options.{key} is not {}", value.to_string().trim()));
            }
        }
        None
    }
}

/// A value without its formatting.
pub(crate) fn plain(item: &Item) -> String {
    match item {
        Item::Value(toml_edit::Value::Array(array)) => {
            let values: Vec<String> = array.iter().map(|value| plain(&Item::Value(value.clone()))).collect();
            format!("[{}]", values.join(", "))
        }
        Item::Value(toml_edit::Value::String(text)) => format!("{:?}", text.value()),
        Item::Value(toml_edit::Value::Integer(number)) => number.value().to_string(),
        other => other.to_string().trim().to_owned(),
    }
}

/// A text without our blocks, however many were ever written into it.
pub(crate) fn without_blocks(text: &str) -> String {
    let mut rest = text;
    let mut kept = String::new();
    while let Some((before, after)) = rest.split_once(BEGIN) {
        kept.push_str(before);
        rest = after.split_once(END).map_or("", |(_, behind)| behind);
    }
    kept + rest
}

/// The name of runwasi's shim for that engine, which our link takes.
pub(crate) fn alias(engine: &str) -> String {
    format!("containerd-shim-{engine}-v1")
}

/// Whether a program is called by one of these names.
pub(crate) fn is_alias(program: &str) -> bool {
    let called = program.rsplit('/').next().unwrap_or_default();
    ENGINES.iter().any(|engine| called == alias(engine))
}

/// The path of the shim in a folder of programs.
pub(crate) fn shim_in(folder: &Path) -> PathBuf {
    folder.join(SHIM)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handler(options: &str) -> Handler {
        Handler { name: "catamaran".into(), shim: "/opt/c/shim".into(), options: Options::parse("x", options).unwrap() }
    }

    #[test]
    fn the_drop_in_has_the_form_of_the_root_files_version() {
        let two = handler("{}").drop_in(2);
        assert!(two.contains("version = 2\n") && two.contains("'io.containerd.grpc.v1.cri'"), "{two}");
        for version in [3, 4] {
            let text = handler("{}").drop_in(version);
            assert!(
                text.contains(&format!("version = {version}\n")) && text.contains("'io.containerd.cri.v1.runtime'"),
                "{text}"
            );
        }
    }

    #[test]
    fn options_are_written_as_toml_and_found_again() {
        let handler = handler(
            r#"{"default_engine": "wasmer", "allowed_engines": ["wasmer"], "native_containers": false, "max_module_bytes": 5,
                "wasi_p3": false, "link_local_requests": true}"#,
        );
        let document: DocumentMut = handler.drop_in(3).parse().unwrap();
        let table = &document["plugins"]["io.containerd.cri.v1.runtime"]["containerd"]["runtimes"]["catamaran"];
        assert_eq!(handler.differs(table), None);
        for text in [handler.drop_in(2), format!("{{{{ a template }}}}\n{}", handler.block(3))] {
            assert_eq!(Options::of_handler(&text, "catamaran").as_ref(), Some(&handler.options), "{text}");
            assert_eq!(Options::of_handler(&text, "other"), None);
        }
        assert_eq!(handler.options.value("max_module_bytes").unwrap().as_integer(), Some(5));
        assert_eq!(handler.options.value("wasi_p3").unwrap().as_bool(), Some(false));
        assert_eq!(handler.options.value("link_local_requests").unwrap().as_bool(), Some(true));
        assert_eq!(handler.options.engines(), ["wasmer"]);
        let mut other = document.clone();
        let table = &mut other["plugins"]["io.containerd.cri.v1.runtime"]["containerd"]["runtimes"]["catamaran"];
        table["options"]["native_containers"] = toml_edit::value(true);
        assert_eq!(handler.differs(table).unwrap(), "options.native_containers is not false");
    }

    #[test]
    fn options_that_the_shim_does_not_know_are_refused_by_name() {
        for (text, words) in
            [("[]", "cannot be read"), (r#"{"engine": 1}"#, "\"engine\""), (r#"{"default_engine": null}"#, "null")]
        {
            assert!(Options::parse("options.json", text).unwrap_err().to_string().contains(words));
        }
    }

    #[test]
    fn names_are_dns_labels() {
        assert!(Handler::check_name("wasm-2").is_ok());
        for name in ["", "runc", "a.b", "A", "-a", "a-", "a'", &"a".repeat(64)] {
            assert!(Handler::check_name(name).is_err(), "{name}");
        }
    }

    /// A public bug: text was appended in loops, and a second table of the same name stops containerd.
    #[test]
    fn writing_the_block_again_replaces_it() {
        let own = "{{ template \"base\" . }}\n# mine\n";
        let mut text = own.to_owned();
        for _ in 0..150 {
            text = without_blocks(&text) + &handler("{}").block(3);
        }
        assert_eq!(text.matches("[plugins.").count(), 1);
        assert_eq!(without_blocks(&text), own);
        assert_eq!(without_blocks(&format!("{own}{BEGIN}cut off")), own);
    }
}
