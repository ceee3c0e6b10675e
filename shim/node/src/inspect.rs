//! `catamaran inspect`: reports what a module is, which engine would run it and why, and what would be refused.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::Answer;
use crate::cli::{InspectArgs, NodeArgs, OK, UNWELL};
use crate::error::Result;
use crate::helper::Build;
use crate::host::Host;
use crate::image::{self, Fetched};
use crate::policy::{self, Policy};

/// Two compiles of the largest module, each with the compiler's full time limit.
const LIMIT: Duration = Duration::from_secs(660);
/// The number of one interface's names that the text shows; JSON has all.
const NAMES: usize = 8;

/// The helper's answer.
#[derive(Debug, Serialize, Deserialize)]
struct Inspected {
    kind: String,
    /// A text that says what the file is, if it is not Wasm.
    instead: Option<String>,
    bytes: u64,
    digest: String,
    imports: Vec<Import>,
    exports: Vec<String>,
    left_out: u64,
    broken: Option<String>,
    engines: Vec<OfEngine>,
    chosen: Option<String>,
    target: Option<String>,
    refused: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Import {
    interface: String,
    name: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct OfEngine {
    engine: String,
    target: String,
    verdict: String,
    reason: Option<String>,
    cached: Option<String>,
}

/// Runs the command.
pub(crate) fn run(host: &Host, node: &NodeArgs, args: &InspectArgs) -> Result<Answer> {
    let build = Build::find(host)?;
    let options = policy::options(host, build.installed.as_ref(), args.options_file.as_deref())?;
    let policy = Policy::new(&options);
    let fetched = match image::is_file(&args.what) {
        true => Fetched::file(Path::new(&args.what))?,
        false => image::fetch(&build, &image::socket(node, &build), &args.namespace, &args.what, policy.largest)?,
    };
    let asked = json!({"name": args.what, "engines": policy.engines, "largest": policy.largest});
    let inspected: Inspected = build.ask("inspect", &asked, Some(fetched.file), LIMIT)?;
    Ok(answer(&args.what, &policy, &inspected))
}

fn answer(name: &str, policy: &Policy, inspected: &Inspected) -> Answer {
    let mut value = serde_json::to_value(inspected).unwrap_or_default();
    let world = world(inspected);
    let native = matches!(inspected.kind.as_str(), "elf" | "script");
    let refused = refused(policy, inspected);
    value["name"] = name.into();
    value["world"] = world.clone().into();
    value["reason"] = inspected.chosen.as_deref().map(|engine| policy.reason(engine)).into();
    value["refused"] = refused.clone().into();
    value["native"] = (native && refused.is_none()).into();
    let mut text =
        format!("{name}: {}, {} bytes, sha256:{}\n", words(&inspected.kind), inspected.bytes, inspected.digest);
    let mut line = |key: &str, words: &str| {
        let _ = writeln!(text, "  {key:<10} {words}");
    };
    if let Some(world) = &world {
        line("world", world);
    }
    for (interface, names) in grouped(&inspected.imports) {
        let colon = if names.is_empty() { "" } else { ": " };
        line("import", &format!("{interface}{colon}{}", listed(&names)));
    }
    if !inspected.exports.is_empty() {
        line("export", &listed(&inspected.exports.iter().map(String::as_str).collect::<Vec<_>>()));
    }
    if inspected.left_out > 0 {
        line("", &format!("and {} further imports and exports", inspected.left_out));
    }
    if let Some(broken) = &inspected.broken {
        line("broken", broken);
    }
    for of in &inspected.engines {
        let words = match (&of.reason, &of.cached) {
            (Some(reason), _) => format!("{}: {reason}", of.verdict),
            (None, Some(tier)) => format!("{}, and its machine code is in the cache ({tier})", of.verdict),
            (None, None) => of.verdict.clone(),
        };
        line(&of.engine, &words);
    }
    if let Some(engine) = &inspected.chosen {
        line("chosen", &format!("{engine}: {}", policy.reason(engine)));
        // A command's target has the engine's name, so it is left out.
        if let Some(target) = inspected.target.as_ref().filter(|target| *target != engine) {
            line("target", target);
        }
    }
    if native && refused.is_none() {
        line("chosen", "no engine: it runs as a native container, by runc");
    }
    if let Some(refused) = &refused {
        line("refused", refused);
    }
    (text, value, if refused.is_some() { UNWELL } else { OK })
}

/// Why a container of this file would be refused, in the words of Create.
fn refused(policy: &Policy, inspected: &Inspected) -> Option<String> {
    match (inspected.kind.as_str(), &inspected.instead) {
        ("elf", _) | ("script", _) if policy.native => None,
        ("elf", _) | ("script", _) => Some(format!(
            "the handler's options: native_containers is false, and it is {}: use a Wasm module, or a pod of another runtime class; \
             only the node's administrator can allow native containers in this one (native_containers = true)",
            words(&inspected.kind)
        )),
        (_, Some(instead)) => Some(instead.clone()),
        _ => inspected.refused.clone(),
    }
}

fn words(kind: &str) -> &str {
    match kind {
        "module" => "a module",
        "component" => "a component",
        "precompiled" => "machine code of an engine",
        "elf" => "an ELF file",
        "script" => "a script",
        _ => "no Wasm",
    }
}

/// The world that the module is made for, by its imports and exports; None if it is not Wasm. For a component, also how it is called, and
/// the exports that show this.
fn world(inspected: &Inspected) -> Option<String> {
    let exports = |prefix: &str| inspected.exports.iter().find(|name| name.starts_with(prefix));
    let imports =
        |prefix: &str| inspected.imports.iter().map(|import| &import.interface).find(|name| name.starts_with(prefix));
    Some(match inspected.kind.as_str() {
        "component" => {
            let handlers = ["wasi:http/incoming-handler", "wasi:http/handler"];
            let found: Vec<_> = handlers.into_iter().filter_map(exports).map(String::as_str).collect();
            match (exports("wasi:cli/run"), found.is_empty()) {
                (Some(run), true) => format!("command ({run})"),
                (Some(run), false) => {
                    format!("command ({run}); http by the annotation catamaran.wasm/world ({})", found.join(", "))
                }
                (None, false) => format!("http ({})", found.join(", ")),
                (None, true) => "none that is known".to_owned(),
            }
        }
        "module" => {
            let threads = inspected.imports.iter().any(|import| import.interface == "env" && import.name == "memory");
            match () {
                () if imports("wasix_").is_some() => "WASIX".to_owned(),
                () if threads => "WASIX (a shared memory)".to_owned(),
                () if imports("wasi_snapshot_preview1").is_some() => "WASI preview 1".to_owned(),
                () if imports("wasi_").is_some() => "WASI before preview 1".to_owned(),
                () => "none: it imports nothing of WASI".to_owned(),
            }
        }
        _ => return None,
    })
}

/// The imported names of each interface.
fn grouped(imports: &[Import]) -> BTreeMap<&str, Vec<&str>> {
    let mut all = BTreeMap::<&str, Vec<&str>>::new();
    for import in imports {
        let names = all.entry(&import.interface).or_default();
        if !import.name.is_empty() {
            names.push(&import.name);
        }
    }
    all
}

fn listed(names: &[&str]) -> String {
    match names.get(..NAMES) {
        Some(first) if names.len() > NAMES => format!("{} and {} more", first.join(", "), names.len() - NAMES),
        _ => names.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handler::Options;

    fn inspected(kind: &str, imports: &[(&str, &str)], exports: &[&str]) -> Inspected {
        let imports =
            imports.iter().map(|(interface, name)| Import { interface: (*interface).into(), name: (*name).into() });
        Inspected {
            kind: kind.into(),
            instead: None,
            bytes: 7,
            digest: "d".into(),
            imports: imports.collect(),
            exports: exports.iter().map(|name| (*name).to_owned()).collect(),
            left_out: 0,
            broken: None,
            engines: Vec::new(),
            chosen: None,
            target: None,
            refused: None,
        }
    }

    fn policy(options: &str) -> Policy {
        Policy::new(&Options::parse("x", options).unwrap())
    }

    #[test]
    fn each_world_is_recognized() {
        let preview1 = ("wasi_snapshot_preview1", "proc_exit");
        for (kind, imports, exports, expected) in [
            ("module", &[preview1][..], &["_start"][..], Some("WASI preview 1")),
            ("module", &[preview1, ("wasix_32v1", "proc_fork")], &[], Some("WASIX")),
            ("module", &[("env", "memory")], &[], Some("WASIX (a shared memory)")),
            ("module", &[("wasi_unstable", "fd_write")], &[], Some("WASI before preview 1")),
            ("module", &[("env", "f")], &[], Some("none: it imports nothing of WASI")),
            ("component", &[("wasi:io/poll@0.2.0", "")], &["wasi:cli/run@0.2.3"], Some("command (wasi:cli/run@0.2.3)")),
            ("component", &[], &["wasi:http/incoming-handler@0.2.0"], Some("http (wasi:http/incoming-handler@0.2.0)")),
            ("component", &[], &["wasi:http/handler@0.3.2"], Some("http (wasi:http/handler@0.3.2)")),
            (
                "component",
                &[],
                &["wasi:http/incoming-handler@0.2.0", "wasi:cli/run@0.2.3"],
                Some(
                    "command (wasi:cli/run@0.2.3); http by the annotation catamaran.wasm/world \
                     (wasi:http/incoming-handler@0.2.0)",
                ),
            ),
            ("component", &[], &["other"], Some("none that is known")),
            ("elf", &[], &[], None),
        ] {
            assert_eq!(world(&inspected(kind, imports, exports)).as_deref(), expected);
        }
    }

    #[test]
    fn the_text_says_what_is_imported_which_engine_runs_it_and_why() {
        let names: Vec<String> = (0..12).map(|number| format!("f{number:02}")).collect();
        let imports: Vec<_> = names.iter().map(|name| ("wasi_snapshot_preview1", name.as_str())).collect();
        let mut found = inspected("module", &imports, &["_start", "memory"]);
        let of = |engine: &str, verdict: &str, reason: Option<&str>, cached: Option<&str>| OfEngine {
            engine: engine.into(),
            target: engine.into(),
            verdict: verdict.into(),
            reason: reason.map(Into::into),
            cached: cached.map(Into::into),
        };
        found.engines =
            vec![of("wasmtime", "other-engine", Some("threads"), None), of("wasmer", "runs", None, Some("best"))];
        found.chosen = Some("wasmer".into());
        let (text, value, code) = answer("m.wasm", &policy("{}"), &found);
        for words in [
            "m.wasm: a module, 7 bytes, sha256:d\n",
            "wasi_snapshot_preview1: f00, f01, f02, f03, f04, f05, f06, f07 and 4 more\n",
            "export     _start, memory\n",
            "wasmtime   other-engine: threads\n",
            "wasmer     runs, and its machine code is in the cache (best)\n",
            "chosen     wasmer: the module needs it\n",
        ] {
            assert!(text.contains(words), "{words:?} is missing in:\n{text}");
        }
        assert_eq!(
            (code, &value["world"], &value["imports"][11]["name"]),
            (OK, &"WASI preview 1".into(), &"f11".into())
        );
        assert_eq!((&value["reason"], &value["refused"]), (&"the module needs it".into(), &serde_json::Value::Null));
    }

    #[test]
    fn the_text_of_a_server_says_its_world_and_its_target() {
        let mut found = inspected("component", &[("wasi:http/types@0.2.0", "")], &["wasi:http/incoming-handler@0.2.0"]);
        let verdict = |engine: &str, target: &str, verdict: &str| OfEngine {
            engine: engine.into(),
            target: target.into(),
            verdict: verdict.into(),
            reason: None,
            cached: None,
        };
        found.engines = vec![verdict("wasmtime", "wasmtime-http", "runs"), verdict("wasmer", "wasmer", "other-engine")];
        (found.chosen, found.target) = (Some("wasmtime".into()), Some("wasmtime-http".into()));
        let (text, value, code) = answer("s.wasm", &policy("{}"), &found);
        for words in [
            "world      http (wasi:http/incoming-handler@0.2.0)\n",
            "wasmtime   runs\n",
            "chosen     wasmtime: the default\n",
            "target     wasmtime-http\n",
        ] {
            assert!(text.contains(words), "{words:?} is missing in:\n{text}");
        }
        assert_eq!((&value["target"], code), (&"wasmtime-http".into(), OK));
    }

    #[test]
    fn a_module_that_would_be_refused_has_an_exit_code() {
        let mut found = inspected("elf", &[], &[]);
        found.instead = Some("an ELF file: native code is never run as Wasm".into());
        let (text, value, code) = answer("m", &policy("{}"), &found);
        assert!(text.contains("no engine: it runs as a native container") && value["native"] == true && code == OK);
        let (text, _, code) = answer("m", &policy(r#"{"native_containers": false}"#), &found);
        assert!(
            text.contains("refused    the handler's options: native_containers is false") && code == UNWELL,
            "{text}"
        );
        found.kind = "other".into();
        let (text, value, code) = answer("m", &policy("{}"), &found);
        assert!(text.contains("refused    an ELF file") && value["native"] == false && code == UNWELL, "{text}");
        let mut found = inspected("module", &[], &[]);
        found.refused = Some("why, and what to do".into());
        assert!(answer("m", &policy("{}"), &found).0.contains("refused    why, and what to do\n"));
    }
}
