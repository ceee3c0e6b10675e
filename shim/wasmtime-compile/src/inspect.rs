//! Inspects a file's first bytes, imports and exports, before any time is spent on compiling it.

use catamaran_wasmtime_artifact::imports::{PREVIEW1, no_memory, not_provided, of_the_other_engine, shared_memory};
use catamaran_wasmtime_artifact::interfaces::{self, no_program, no_server};
use catamaran_worker::compiler::{Refusal, World};
use catamaran_worker::form::{self, Form};
use wasmtime::wasmparser::{Import, Parser, Payload, TypeRef};

/// The kinds of file that can run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A module of WASI preview 1.
    Module,
    /// A component of WASI 0.2 or 0.3.
    Component,
}

/// Refuses a file that is neither module nor component, cannot be called in `world`, or has an import that `world` does not provide. The
/// refusal has a text for the user.
///
/// A file with a later break passes: the compiler finds the break, and names its offset. An import of another type than the engine's passes
/// too: the worker finds it at Create.
pub fn inspect(bytes: &[u8], world: World) -> Result<Kind, Refusal> {
    match (form::parse(bytes).map_err(Refusal::Module)?, world) {
        (Form::Module, World::Command | World::ExtendedCommand) => sections(bytes).map(|()| Kind::Module),
        (Form::Module, World::Http | World::HttpUninterrupted) => Err(Refusal::Module(interfaces::module_as_server())),
        (Form::Component, world) => names(bytes, world).map(|()| Kind::Component),
    }
}

/// Checks a module's imports and memories, which come before the code.
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

/// Checks the names of a component's own imports and exports, not those of nested modules and components.
fn names(bytes: &[u8], world: World) -> Result<(), Refusal> {
    let (mut imports, mut exports, mut broken) = (Vec::new(), Vec::new(), false);
    let mut depth = 0u32;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload {
            // A nested module or component has its own `End`.
            Ok(Payload::ModuleSection { .. } | Payload::ComponentSection { .. }) => depth += 1,
            Ok(Payload::End(_)) => depth = depth.saturating_sub(1),
            Ok(Payload::ComponentImportSection(section)) if depth == 0 => {
                imports.extend(section.into_iter().map_while(Result::ok).map(|import| import.name.name));
            }
            Ok(Payload::ComponentExportSection(section)) if depth == 0 => {
                exports.extend(section.into_iter().map_while(Result::ok).map(|export| export.name.name));
            }
            Ok(_) => {}
            Err(_) => {
                broken = true;
                break;
            }
        }
    }
    // The exports of a broken file are ignored, because the compiler's text explains the break better than an incomplete list.
    let exports = (!broken).then_some(exports);
    let listed = || exports.as_ref().map(|exports| exports.iter().copied());
    let first = |refusal: fn(&str) -> Option<String>| imports.iter().copied().find_map(refusal);
    let refused = match world {
        World::Command => {
            // Checked before the imports, because a server may import more than a command.
            if let Some(text) = listed().and_then(interfaces::server) {
                return Err(Refusal::OtherWorld(World::Http, text));
            }
            let refused = first(interfaces::extended_refusal);
            let extended = || listed().and_then(|exports| interfaces::extended(imports.iter().copied(), exports));
            if refused.is_none()
                && let Some(text) = extended()
            {
                return Err(Refusal::OtherWorld(World::ExtendedCommand, text));
            }
            refused.or_else(|| listed().and_then(no_program))
        }
        World::ExtendedCommand => first(interfaces::extended_refusal).or_else(|| listed().and_then(no_program)),
        World::Http | World::HttpUninterrupted => {
            listed().and_then(no_server).or_else(|| first(interfaces::extended_refusal))
        }
    };
    refused.map_or(Ok(()), |text| Err(Refusal::Module(text)))
}

fn check_import(import: &Import<'_>) -> Result<(), Refusal> {
    match import.ty {
        // The worker's linker checks the names of preview 1.
        _ if import.module == PREVIEW1 => Ok(()),
        TypeRef::Memory(memory) if memory.shared && import.module == "env" => {
            Err(Refusal::OtherEngine(shared_memory()))
        }
        TypeRef::Memory(_) => Err(Refusal::Module(no_memory(import.module, import.name))),
        _ if of_the_other_engine(import.module, import.name) => {
            Err(Refusal::OtherEngine(not_provided(import.module, import.name)))
        }
        _ => Err(Refusal::Module(not_provided(import.module, import.name))),
    }
}
