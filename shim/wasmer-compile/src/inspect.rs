//! Inspects a file, by its first bytes and its import section, before any time is spent on compiling it.

use catamaran_wasmer_artifact::imports::{is_memory_given, is_provided, no_memory, not_provided};
use catamaran_worker::compiler::Refusal;
use catamaran_worker::form::{self, Form};
use wasmer_compiler::wasmparser::{Import, Parser, Payload, TypeRef};

/// Refuses, with a text for the user, a file that is no module, or that imports what is not provided.
///
/// A module that is broken further in passes: the compiler finds that, and names the offset.
pub fn inspect(bytes: &[u8]) -> Result<(), Refusal> {
    match form::parse(bytes).map_err(Refusal::Module)? {
        Form::Module => imports(bytes),
        Form::Component => Err(Refusal::OtherEngine(
            "the file is a WebAssembly component, which Wasmer does not run; the other engine, wasmtime, runs it"
                .to_owned(),
        )),
    }
}

/// Looks at the imports, which come before the code.
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
        // The worker checks which names WASI has.
        TypeRef::Func(_) if is_provided(import.module, import.name) => Ok(()),
        // A guest with threads brings no memory of its own: each thread's instance is given the same one.
        TypeRef::Memory(memory) if is_memory_given(import.module, import.name, memory.shared) => Ok(()),
        TypeRef::Memory(_) => Err(Refusal::Module(no_memory(import.module, import.name))),
        _ => Err(Refusal::Module(not_provided(import.module, import.name))),
    }
}
