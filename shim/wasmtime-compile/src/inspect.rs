//! What a file is, by its first bytes and its import section, before any time is spent on compiling it.

use catamaran_wasmtime::{PREVIEW1, no_program, not_provided, of_the_other_engine, refusal, shared_memory};
use catamaran_worker::compiler::Refusal;
use wasmtime::wasmparser::{Import, Parser, Payload, TypeRef};
use wasmtime::{Engine, Precompiled};

const MAGIC: &[u8] = b"\0asm";
const MODULE: [u8; 4] = [1, 0, 0, 0];
/// A component's version word: version 13 of layer 1.
const COMPONENT: [u8; 4] = [0x0d, 0, 1, 0];

/// What a file is that could run here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A module of WASI preview 1.
    Module,
    /// A component of WASI 0.2.
    Component,
}

/// Refuses, with a text for the user, what is neither module nor component or imports what is not provided.
///
/// One that is broken further in passes: the compiler finds that, and names the offset. So does an import of another type
/// than ours: the worker finds that, while the container is created.
pub fn inspect(bytes: &[u8]) -> Result<Kind, Refusal> {
    let Some(version) = bytes.strip_prefix(MAGIC) else { return Err(Refusal::Module(not_wasm(bytes))) };
    match version.first_chunk::<4>() {
        Some(&MODULE) => sections(bytes).map(|()| Kind::Module),
        Some(&COMPONENT) => names(bytes).map(|()| Kind::Component),
        Some(other) => Err(Refusal::Module(format!(
            "the file is WebAssembly of an unknown version ({}): need a module of version 1 or a component of WASI 0.2",
            hex(other)
        ))),
        None => Err(Refusal::Module("the WebAssembly file ends after its magic bytes".to_owned())),
    }
}

/// Looks at imports and memories, which come before the code.
fn sections(bytes: &[u8]) -> Result<(), Refusal> {
    for payload in Parser::new(0).parse_all(bytes) {
        match payload {
            Ok(Payload::ImportSection(section)) => {
                for import in section.into_imports().map_while(Result::ok) {
                    check_import(&import)?;
                }
            }
            Ok(Payload::MemorySection(section)) if section.clone().into_iter().flatten().any(|m| m.shared) => {
                return Err(Refusal::OtherEngine(shared_memory()));
            }
            Ok(Payload::CodeSectionStart { .. }) | Err(_) => break,
            Ok(_) => {}
        }
    }
    Ok(())
}

/// Looks at the names of a component's own imports and exports, not at those of what is nested in it.
fn names(bytes: &[u8]) -> Result<(), Refusal> {
    let mut exports = Vec::new();
    let mut depth = 0u32;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload {
            // Each is ended by an `End` of its own.
            Ok(Payload::ModuleSection { .. } | Payload::ComponentSection { .. }) => depth += 1,
            Ok(Payload::End(_)) => depth = depth.saturating_sub(1),
            Ok(Payload::ComponentImportSection(section)) if depth == 0 => {
                for import in section.into_iter().map_while(Result::ok) {
                    if let Some(text) = refusal(import.name.name) {
                        return Err(Refusal::Module(text));
                    }
                }
            }
            Ok(Payload::ComponentExportSection(section)) if depth == 0 => {
                exports.extend(section.into_iter().map_while(Result::ok).map(|export| export.name.name));
            }
            Ok(_) => {}
            // What is broken the compiler tells better than a list of exports that is cut.
            Err(_) => return Ok(()),
        }
    }
    no_program(exports).map_or(Ok(()), |text| Err(Refusal::Module(text)))
}

fn check_import(import: &Import<'_>) -> Result<(), Refusal> {
    match import.ty {
        // Within preview 1 the worker's linker knows which names there are.
        _ if import.module == PREVIEW1 => Ok(()),
        TypeRef::Memory(memory) if memory.shared && import.module == "env" => {
            Err(Refusal::OtherEngine(shared_memory()))
        }
        _ if of_the_other_engine(import.module, import.name) => {
            Err(Refusal::OtherEngine(not_provided(import.module, import.name)))
        }
        _ => Err(Refusal::Module(not_provided(import.module, import.name))),
    }
}

/// What the file is instead of Wasm.
fn not_wasm(bytes: &[u8]) -> String {
    if Engine::detect_precompiled(bytes).is_some_and(|p| matches!(p, Precompiled::Module | Precompiled::Component)) {
        return "the file is native code that Wasmtime compiled beforehand (.cwasm); native code from an image is \
                never run: put the .wasm file into the image that it was made from"
            .to_owned();
    }
    if bytes.starts_with(b"\x7fELF") {
        return "the file is a native ELF executable, not a WebAssembly module".to_owned();
    }
    let text = bytes.trim_ascii_start();
    if text.starts_with(b"(") || text.starts_with(b";;") {
        return "the file seems to be WebAssembly text; a container needs the binary form: convert it, for instance \
                with `wasm-tools parse` or `wat2wasm`"
            .to_owned();
    }
    match bytes {
        [] => "the file is empty, not a WebAssembly module".to_owned(),
        _ => format!("the file is not a WebAssembly module: it begins with {}", hex(bytes.get(..8).unwrap_or(bytes))),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(" ")
}
