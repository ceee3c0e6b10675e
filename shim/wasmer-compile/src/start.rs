//! Exports a module's start function, if it may call the host.
//!
//! A start function runs while the module is instantiated. wasmer-wasix's calls need the instance, and end the process if it is not there
//! yet. So a start function that may call the host is exported instead, under a name of ours, and the worker calls it once there is an
//! instance. Other start functions stay: those that LLVM's linker makes fill the memory before wasmer-wasix reads it.

use std::borrow::Cow;
use std::collections::BTreeSet;

use catamaran_wasmer_artifact::header::START;
use wasmer_compiler::wasmparser::{BinaryReader, FunctionBody, Operator, Parser, Payload, TypeRef};

/// The numbers of two of a module's sections.
const EXPORTS: u8 = 7;
const STARTS: u8 = 8;
/// The length of the magic bytes and the version.
const HEADER: usize = 8;

/// Returns the module with its start function exported, if that may call the host. Returns a broken module unchanged.
pub(crate) fn exported(bytes: &[u8]) -> Cow<'_, [u8]> {
    match start_that_calls(bytes).and_then(|start| rewritten(bytes, start)) {
        Some(module) => Cow::Owned(module),
        None => Cow::Borrowed(bytes),
    }
}

/// Returns the start function, if it is an import or may call one.
fn start_that_calls(bytes: &[u8]) -> Option<u32> {
    let (mut imported, mut start, mut bodies) = (0, None, Vec::new());
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.ok()? {
            Payload::ImportSection(section) => {
                let functions = section.into_imports().flatten().filter(|i| matches!(i.ty, TypeRef::Func(_)));
                imported = u32::try_from(functions.count()).ok()?;
            }
            Payload::StartSection { func, .. } => start = Some(func),
            // Stops here without a start function, as in most modules.
            Payload::CodeSectionStart { .. } => _ = start?,
            Payload::CodeSectionEntry(body) => bodies.push(body),
            _ => {}
        }
    }
    let (mut seen, mut open) = (BTreeSet::new(), vec![start?]);
    while let Some(function) = open.pop() {
        let Some(own) = function.checked_sub(imported) else { return start };
        if seen.insert(own) {
            match called(bodies.get(own as usize)?) {
                Some(functions) => open.extend(functions),
                None => return start,
            }
        }
    }
    None
}

/// Returns the functions that a body calls; None if it has indirect calls.
fn called(body: &FunctionBody<'_>) -> Option<Vec<u32>> {
    let mut functions = Vec::new();
    for operator in body.get_operators_reader().ok()? {
        match operator.ok()? {
            Operator::Call { function_index } | Operator::ReturnCall { function_index } => {
                functions.push(function_index)
            }
            Operator::CallIndirect { .. }
            | Operator::ReturnCallIndirect { .. }
            | Operator::CallRef { .. }
            | Operator::ReturnCallRef { .. } => return None,
            _ => {}
        }
    }
    Some(functions)
}

/// Returns the module without its start section and with one more export.
fn rewritten(bytes: &[u8], start: u32) -> Option<Vec<u8>> {
    let mut module = bytes.get(..HEADER)?.to_vec();
    let mut reader = BinaryReader::new(bytes.get(HEADER..)?, 0);
    while !reader.eof() {
        let section = reader.read_u8().ok()?;
        let size = reader.read_var_u32().ok()?;
        let content = reader.read_bytes(size as usize).ok()?;
        match section {
            STARTS => {}
            EXPORTS => push(&mut module, section, &with_export(content, start)?)?,
            _ => push(&mut module, section, content)?,
        }
    }
    Some(module)
}

fn with_export(content: &[u8], start: u32) -> Option<Vec<u8>> {
    let mut reader = BinaryReader::new(content, 0);
    let count = reader.read_var_u32().ok()?;
    let mut exports = Vec::new();
    number(&mut exports, count.checked_add(1)?);
    exports.extend_from_slice(content.get(content.len().checked_sub(reader.bytes_remaining())?..)?);
    number(&mut exports, u32::try_from(START.len()).ok()?);
    exports.extend_from_slice(START.as_bytes());
    // The kind of the export: a function.
    exports.push(0);
    number(&mut exports, start);
    Some(exports)
}

fn push(module: &mut Vec<u8>, section: u8, content: &[u8]) -> Option<()> {
    module.push(section);
    number(module, u32::try_from(content.len()).ok()?);
    module.extend_from_slice(content);
    Some(())
}

/// Appends a number in LEB128.
fn number(bytes: &mut Vec<u8>, mut number: u32) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use catamaran_wasmer_artifact::header::START;
    use wasmer_compiler::wasmparser::{Parser, Payload, Validator};

    use super::{exported, number};

    /// Returns the function that the module exports as [`START`], and whether it still has a start function.
    fn after(start: &str, functions: &str) -> (Option<u32>, bool) {
        let wat = format!(
            r#"(module (import "a" "b" (func $host)) (start {start}) (table 2 funcref) (func (export "_start"))
                 (func $calls call $host) (func $through call $calls call $through) (func $alone (drop (i32.const 1)))
                 (func $unknown (call_indirect (i32.const 0))) {functions})"#
        );
        let bytes = wat::parse_str(wat).unwrap();
        let module = exported(&bytes);
        Validator::new().validate_all(&module).unwrap();
        assert_eq!(matches!(module, Cow::Borrowed(_)), *module == *bytes);
        let (mut export, mut starts) = (None, false);
        for payload in Parser::new(0).parse_all(&module) {
            match payload.unwrap() {
                Payload::ExportSection(section) => {
                    let named = section.into_iter().flatten().find(|export| export.name == START);
                    export = named.map(|named| named.index);
                }
                Payload::StartSection { .. } => starts = true,
                _ => {}
            }
        }
        (export, starts)
    }

    #[test]
    fn a_start_function_that_may_call_the_host_is_exported() {
        assert_eq!(after("$host", ""), (Some(0), false));
        assert_eq!(after("$calls", ""), (Some(2), false));
        assert_eq!(after("$through", ""), (Some(3), false));
        assert_eq!(after("$unknown", ""), (Some(5), false));
        assert_eq!(after("$alone", ""), (None, true));
        assert_eq!(after("$many", &("(func)".repeat(300) + "(func $many call $host)")), (Some(306), false));
    }

    #[test]
    fn a_module_without_a_start_function_is_unchanged() {
        let bytes = wat::parse_str(r#"(module (import "a" "b" (func $host)) (func (export "_start") call $host))"#);
        let bytes = bytes.unwrap();
        assert!(matches!(exported(&bytes), Cow::Borrowed(_)));
        assert!(matches!(exported(b"\0asm\x01\0\0\0\x08"), Cow::Borrowed(_)));
    }

    #[test]
    fn numbers_are_encoded_as_leb128() {
        for (value, bytes) in [(0, &[0][..]), (127, &[127]), (128, &[128, 1]), (624_485, &[0xe5, 0x8e, 0x26])] {
            let mut written = Vec::new();
            number(&mut written, value);
            assert_eq!(written, bytes);
        }
    }
}
