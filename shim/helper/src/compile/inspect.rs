//! Finds out what a file is and whether each engine would run it, for the command `catamaran inspect`.
//!
//! ```text
//! file -> sealed memory -> kind, by its first bytes -> imports and exports -> each engine's verdict
//!                                                     (a compile process)   (a compile process each)
//! ```
//!
//! The verdict and its words are those of Create, because the same processes give them. A verdict in the cache is not asked for again. If
//! an engine says that a component is a server or an extended command, it is asked once more, for that world. An import of another type
//! than the engine's is not found here: only the worker finds it, at Create.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use catamaran_cache::advice::{advice, said};
use catamaran_cache::engine::Engine;
use catamaran_cache::magic::{Bytes, FIRST, other_than_wasm};
use catamaran_cache::module::{self, Largest};
use catamaran_cache::places::{Installed, Part, Places};
use catamaran_cache::store::Known;
use catamaran_cache::target::Target;
use catamaran_cgroup::Compilers;
use catamaran_worker::compiler::{Tier, World};
use catamaran_worker::describe::LONGEST;
use catamaran_worker::form::{self, Form};
use rustix::fs::MemfdFlags;
use serde::{Deserialize, Serialize};

use super::process::{self, Task, Verdict};
use crate::error::{Doing, Error, Result};

/// No namespace has this name. The answer is about what all of them share.
const NO_TENANT: &str = "";

/// Returns the verdict "a component of this world", which leads to a second question and never reaches the answer.
fn verdict_of(world: World) -> &'static str {
    match world {
        World::ExtendedCommand => "extended",
        World::Command | World::Http | World::HttpUninterrupted => "server",
    }
}

/// The request, as JSON on the command line. The file is standard input.
#[derive(Deserialize)]
struct Asked {
    /// The file's name in messages.
    name: String,
    /// The engines that may run it.
    engines: Vec<Engine>,
    /// The largest module in bytes, as in the handler's option `max_module_bytes`.
    largest: u64,
}

/// The answer, as JSON on standard output.
#[derive(Debug, Serialize)]
struct Inspected {
    /// `module`, `component`, `precompiled`, `elf`, `script` or `other`.
    kind: &'static str,
    /// What the file is instead, if it is not Wasm.
    instead: Option<String>,
    bytes: u64,
    /// sha256 of the file, in hexadecimal.
    digest: String,
    imports: Vec<Import>,
    exports: Vec<String>,
    /// The number of imports and exports that are not listed.
    left_out: u64,
    /// Why some or all imports and exports are unknown.
    broken: Option<String>,
    engines: Vec<OfEngine>,
    /// The engine that would run the file, unless an annotation names another.
    chosen: Option<Engine>,
    /// The target of the machine code that would be made.
    target: Option<Target>,
    /// Why no engine would run the file, in the words of Create.
    refused: Option<String>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Import {
    interface: String,
    /// Empty if a whole interface is imported.
    name: String,
}

#[derive(Debug, Serialize)]
struct OfEngine {
    engine: Engine,
    /// The target of the last question.
    target: Target,
    /// `runs`, `other-engine`, `refused`, `missing` or `failed`.
    verdict: &'static str,
    /// The reason, in the words of Create; None if the engine runs the file.
    reason: Option<String>,
    /// The tier of the artifact in the cache, if there is one: `best` or `fast`.
    cached: Option<&'static str>,
}

/// The `inspect` action.
pub(crate) fn run(arguments: &[OsString]) -> Result<()> {
    let asked = arguments.first().and_then(|text| serde_json::from_str::<Asked>(text.to_str()?).ok());
    let Some(asked) = asked else {
        return Err(Error::refused(
            "command line",
            "inspect",
            "only the command `catamaran inspect` starts this action, with a request as JSON",
        ));
    };
    let doing = || format!("reading {}", asked.name);
    let mut file = File::from(std::io::stdin().as_fd().try_clone_to_owned().doing(doing)?);
    let (bytes, digest) = module::sealed(&asked.name, &mut file, Largest(asked.largest))?;
    let inspected = inspect(&asked, &bytes, digest)?;
    crate::answer(&inspected)
}

fn inspect(asked: &Asked, bytes: &File, digest: String) -> Result<Inspected> {
    let mut first = [0; FIRST];
    let length = bytes.read_at(&mut first, 0).doing(|| format!("reading {}", asked.name))?;
    let first = first.get(..length).unwrap_or_default();
    let size = bytes.metadata().doing(|| format!("reading {}", asked.name))?.len();
    let kind = kind(first);
    let mut inspected = Inspected {
        kind,
        instead: other_than_wasm(first),
        bytes: size,
        digest,
        imports: Vec::new(),
        exports: Vec::new(),
        left_out: 0,
        broken: None,
        engines: Vec::new(),
        chosen: None,
        target: None,
        refused: None,
    };
    if inspected.instead.is_some() {
        return Ok(inspected);
    }
    // Outside that cgroup the compiles have this process's own limits.
    let _ = Compilers::join();
    match describe(&asked.name, bytes)? {
        Ok(text) => parse(&text, &mut inspected),
        Err(reason) => inspected.broken = Some(reason),
    }
    for engine in &asked.engines {
        inspected.engines.push(ask_engine(*engine, asked, bytes, &inspected.digest)?);
    }
    match choose(&inspected.engines) {
        Ok(target) => (inspected.chosen, inspected.target) = (Some(target.engine()), Some(target)),
        Err(refused) => inspected.refused = Some(refused),
    }
    Ok(inspected)
}

/// Returns the target that a start would get by the engines' verdicts, or why none runs the file.
fn choose(engines: &[OfEngine]) -> std::result::Result<Target, String> {
    let mut declined = Vec::new();
    for OfEngine { engine, target, verdict, reason, .. } in engines {
        let reason = reason.clone().unwrap_or_default();
        match *verdict {
            "runs" => return Ok(*target),
            "other-engine" | "missing" => declined.push((engine.word().to_owned(), reason)),
            _ => return Err(reason),
        }
    }
    let allowed: Vec<Engine> = engines.iter().map(|of| of.engine).collect();
    Err(format!("{}; {}", said(declined), advice(&allowed, "the handler's options")))
}

fn kind(first: &[u8]) -> &'static str {
    match (Bytes::parse(first), form::parse(first)) {
        (Bytes::Wasm, Ok(Form::Component)) => "component",
        (Bytes::Wasm, _) => "module",
        (Bytes::Elf, _) => "elf",
        (Bytes::Script, _) => "script",
        (Bytes::Other, _) if first.starts_with(b"\x7fELF") || first.starts_with(b"wasmer-u") => "precompiled",
        (Bytes::Other, _) => "other",
    }
}

/// Returns the file's imports and exports, as a process without rights lists them. The inner error says why they are unknown.
fn describe(name: &str, bytes: &File) -> Result<std::result::Result<String, String>> {
    let doing = || format!("describing {name}");
    // Wasmtime's compiler describes modules for both engines.
    let compiler = match Target::Wasmtime.compiler() {
        Ok(compiler) => compiler,
        Err(e) => return Ok(Err(e.to_string())),
    };
    let mut output = File::from(rustix::fs::memfd_create("description", MemfdFlags::CLOEXEC).doing(doing)?);
    let verdict =
        process::run(&mut compiler.command(), compiler.path(), name, bytes, &output, Task::Description, |_| ())?;
    let (Verdict::Refused(reason)
    | Verdict::OtherEngine(reason)
    | Verdict::OtherWorld(_, reason)
    | Verdict::Limit(reason)
    | Verdict::Output(reason)
    | Verdict::Failed(reason)) = verdict
    else {
        let mut text = Vec::new();
        output.rewind().doing(doing)?;
        output.take(LONGEST as u64).read_to_end(&mut text).doing(doing)?;
        return Ok(Ok(String::from_utf8_lossy(&text).into_owned()));
    };
    Ok(Err(reason))
}

/// Reads a description. Skips lines of any other form, because the process that wrote them parsed hostile bytes.
fn parse(text: &str, inspected: &mut Inspected) {
    let plain = |word: &str| word.replace(char::is_control, " ");
    for line in text.lines() {
        match line.split('\t').collect::<Vec<_>>().as_slice() {
            ["import", interface, name] => {
                inspected.imports.push(Import { interface: plain(interface), name: plain(name) });
            }
            ["export", name] => inspected.exports.push(plain(name)),
            ["left-out", number] => inspected.left_out = number.parse().unwrap_or(0),
            ["broken", reason] => inspected.broken = Some(plain(reason)),
            _ => {}
        }
    }
}

/// Asks an engine about the module, first as a plain command, then as a server or an extended command if it is one.
fn ask_engine(engine: Engine, asked: &Asked, bytes: &File, digest: &str) -> Result<OfEngine> {
    let answer = ask(Target::command(engine), asked, bytes, digest)?;
    let others = [(World::Http, Target::server(engine, true)), (World::ExtendedCommand, Target::extended(engine))];
    match others.into_iter().find(|(world, _)| answer.verdict == verdict_of(*world)) {
        Some((_, Some(target))) => ask(target, asked, bytes, digest),
        _ => Ok(answer),
    }
}

/// Asks about the module for one target: returns the cache's answer, or else a compile process's. Puts nothing into the cache.
fn ask(target: Target, asked: &Asked, bytes: &File, digest: &str) -> Result<OfEngine> {
    let engine = target.engine();
    let answer = |verdict, reason, cached| OfEngine { engine, target, verdict, reason, cached };
    if let Some(file) = target.missing()? {
        let reason = format!("it is not installed on this node: there is no {}", file.display());
        return Ok(answer("missing", Some(reason), None));
    }
    let places = Places::find()?;
    // Does not make the cache's folders on a node that has none yet.
    if places.entries.is_dir()
        && let Installed::Part(part) = Part::open(&places, target, NO_TENANT, |_| ())?
    {
        match part.look_up(digest) {
            Known::Artifact(_, kind) | Known::Unverified(kind) => {
                return Ok(answer("runs", None, Some(kind.tier.word())));
            }
            Known::Refused(reason) => return Ok(answer("refused", Some(reason), None)),
            Known::OtherEngine(reason) => return Ok(answer("other-engine", Some(reason), None)),
            Known::OtherWorld(world, reason) => return Ok(answer(verdict_of(world), Some(reason), None)),
            Known::Nothing => {}
        }
    }
    let compiler = target.compiler()?;
    let doing = || format!("asking {engine} about {}", asked.name);
    let output = File::from(rustix::fs::memfd_create("artifact", MemfdFlags::CLOEXEC).doing(doing)?);
    let task = Task::Artifact(Tier::Fast, target.world(), None);
    let verdict = process::run(&mut compiler.command(), compiler.path(), &asked.name, bytes, &output, task, |_| ())?;
    Ok(match verdict {
        Verdict::Made => answer("runs", None, None),
        Verdict::OtherEngine(reason) => answer("other-engine", Some(reason), None),
        Verdict::OtherWorld(world, reason) => answer(verdict_of(world), Some(reason), None),
        Verdict::Refused(reason) | Verdict::Limit(reason) => answer("refused", Some(reason), None),
        Verdict::Output(reason) | Verdict::Failed(reason) => answer("failed", Some(reason), None),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inspect_recognizes_the_kinds_of_files_that_create_does() {
        for (first, expected) in [
            (&b"\0asm\x01\0\0\0"[..], "module"),
            (b"\0asm\x0d\0\x01\0", "component"),
            (b"\0asm\x02\0\0\0", "module"),
            (b"\x7fELF\x02\x01\x01\xc8", "precompiled"),
            (b"wasmer-u", "precompiled"),
            (b"\x7fELF\x02\x01\x01\0", "elf"),
            (b"#!/bin/s", "script"),
            (b"(module)", "other"),
            (b"", "other"),
        ] {
            assert_eq!(kind(first), expected, "{first:?}");
        }
    }

    #[test]
    fn the_first_engine_that_does_not_decline_a_module_is_chosen() {
        let of = |target: Target, verdict, reason: &str| OfEngine {
            engine: target.engine(),
            target,
            verdict,
            reason: Some(reason.to_owned()),
            cached: None,
        };
        let (time, mer) = (Target::Wasmtime, Target::Wasmer);
        assert_eq!(choose(&[of(time, "runs", ""), of(mer, "runs", "")]), Ok(time));
        assert_eq!(choose(&[of(time, "other-engine", "x"), of(mer, "runs", "")]), Ok(mer));
        assert_eq!(choose(&[of(Target::WasmtimeHttp, "runs", ""), of(mer, "runs", "")]), Ok(Target::WasmtimeHttp));
        // A fault of the module ends the search, as in Create.
        assert_eq!(choose(&[of(mer, "refused", "why"), of(time, "runs", "")]), Err("why".to_owned()));
        let none = choose(&[of(time, "other-engine", "x"), of(mer, "missing", "y")]).unwrap_err();
        assert_eq!(
            none,
            "not on wasmtime: x; not on wasmer: y; no engine of this node runs it: build it as a module for wasm32-wasip1"
        );
        let forbidden = choose(&[of(time, "other-engine", "x")]).unwrap_err();
        assert!(
            forbidden.contains("does not allow \"wasmer\" (allowed_engines of the handler's options)"),
            "{forbidden}"
        );
    }

    #[test]
    fn only_lines_of_a_description_are_accepted() {
        let mut inspected = Inspected {
            kind: "module",
            instead: None,
            bytes: 0,
            digest: String::new(),
            imports: Vec::new(),
            exports: Vec::new(),
            left_out: 0,
            broken: None,
            engines: Vec::new(),
            chosen: None,
            target: None,
            refused: None,
        };
        parse("import\tenv\tf\nimport\ta\tb\tc\nexport\t\u{1b}[2J\nleft-out\t-1\nother\tx\n\nexport\n", &mut inspected);
        assert_eq!(inspected.imports, [Import { interface: "env".to_owned(), name: "f".to_owned() }]);
        assert_eq!((inspected.exports, inspected.left_out), (vec![" [2J".to_owned()], 0));
    }
}
