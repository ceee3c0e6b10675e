//! What a file is, by its first bytes and its import section, before any time is spent on compiling it.

use catamaran_wasmtime::{PREVIEW1, not_provided, of_the_other_engine, shared_memory};
use catamaran_worker::compiler::Refusal;
use catamaran_worker::form::{self, Form};
use wasmtime::wasmparser::{Import, Parser, Payload, TypeRef};

/// Refuses, with a text for the user, what is not a module or imports what is not provided.
///
/// A module that is broken further in passes: the compiler finds that, and names the offset.
pub fn inspect(bytes: &[u8]) -> Result<(), Refusal> {
    match form::of(bytes).map_err(Refusal::Module)? {
        Form::Module => sections(bytes),
        Form::Component => Err(Refusal::Module(
            "the file is a WebAssembly component, which this version of Catamaran does not run: \
                                 build it as a module, for wasm32-wasip1"
                .to_owned(),
        )),
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
