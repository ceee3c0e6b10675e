//! Inspects a file's first bytes and imports, before any time is spent on compiling it.

use catamaran_wasmer_artifact::imports::{is_memory_given, is_provided, no_memory, not_provided};
use catamaran_worker::compiler::Refusal;
use catamaran_worker::form::{self, Form};
use wasmer_compiler::wasmparser::{Import, Parser, Payload, TypeRef};

/// Refuses a file that is no module, or has an import that is not provided. The refusal has a text for the user.
///
/// A module with a later break passes: the compiler finds the break, and names its offset.
pub fn inspect(bytes: &[u8]) -> Result<(), Refusal> {
    match form::parse(bytes).map_err(Refusal::Module)? {
        Form::Module => imports(bytes),
        Form::Component => Err(Refusal::OtherEngine(
            "the file is a WebAssembly component, which Wasmer does not run; the other engine, wasmtime, runs it"
                .to_owned(),
        )),
    }
}

/// Checks the imports, which come before the code.
fn imports(bytes: &[u8]) -> Result<(), Refusal> {
    for payload in Parser::new(0).parse_all(bytes) {
        match payload {
            Ok(Payload::ImportSection(section)) => {
                for import in section.into_imports().map_while(Result::ok) {
                    check(&import)?;
                }
            }
            Ok(Payload::CodeSectionStart { .. }) | Err(_) => break,
            Ok(_) => {}
        }
    }
    Ok(())
}

fn check(import: &Import<'_>) -> Result<(), Refusal> {
    match import.ty {
        // The worker checks whether WASI has a function of this name.
        TypeRef::Func(_) if is_provided(import.module, import.name) => Ok(()),
        // A guest with threads imports its memory, so that the instances of all threads share it.
        TypeRef::Memory(memory) if is_memory_given(import.module, import.name, memory.shared) => Ok(()),
        TypeRef::Memory(_) => Err(Refusal::Module(no_memory(import.module, import.name))),
        _ => Err(Refusal::Module(not_provided(import.module, import.name))),
    }
}
