//! Finds the table of signal dispositions of a module's wasix-libc.
//!
//! WASIX has one handler for all signals, which wasix-libc registers when a program starts, even if the program itself handles none. So the
//! engine cannot distinguish a program that SIGTERM should end from one that handles SIGTERM. The C library can, by musl's table of
//! dispositions: 20 bytes a signal, the first word 0 for the default. The table's address is read from the code of the library's handler,
//! and the worker reads the table when a signal comes. If the handler's code has another form, there is no address, and the guest gets
//! every signal.

use wasmer_compiler::wasmparser::{ExternalKind, FunctionBody, Operator, Parser, Payload, TypeRef};

/// The name under which wasix-libc exports its handler.
const HANDLER: &str = "__wasm_signal";
/// The bytes of an entry: musl's `struct k_sigaction` of a 32-bit machine.
const ENTRY: i32 = 20;

/// Returns the address of the table's entry 0, if the module has such a table.
pub(crate) fn address(bytes: &[u8]) -> Option<u32> {
    let (mut imported, mut handler, mut seen) = (0_u32, None, 0_u32);
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.ok()? {
            Payload::ImportSection(section) => {
                let functions = section.into_imports().flatten().filter(|i| matches!(i.ty, TypeRef::Func(_)));
                imported = u32::try_from(functions.count()).ok()?;
            }
            Payload::ExportSection(section) => {
                let export = section.into_iter().flatten().find(|e| e.name == HANDLER && e.kind == ExternalKind::Func);
                handler = Some(export?.index.checked_sub(imported)?);
            }
            Payload::CodeSectionEntry(body) => {
                if Some(seen) == handler {
                    return in_handler(&body);
                }
                seen += 1;
            }
            _ => {}
        }
    }
    None
}

/// Returns the offset of the load at a signal's number times [`ENTRY`], if the handler has exactly one.
fn in_handler(body: &FunctionBody<'_>) -> Option<u32> {
    let operators: Vec<_> = body.get_operators_reader().ok()?.into_iter().collect::<Result<_, _>>().ok()?;
    let scaled = |pair: &[Operator<'_>]| matches!(pair, [Operator::I32Const { value: ENTRY }, Operator::I32Mul]);
    let mut places = operators.windows(2).enumerate().filter(|(_, pair)| scaled(pair)).map(|(at, _)| at);
    let (first, None) = (places.next()?, places.next()) else { return None };
    // Before the load, only a `local.tee` may keep the product, for later words of the entry.
    match operators.get(first + 2..)? {
        [Operator::I32Load { memarg }, ..] | [Operator::LocalTee { .. }, Operator::I32Load { memarg }, ..] => {
            u32::try_from(memarg.offset).ok().filter(|&at| at != 0)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::address;

    fn parse(handler: &str) -> Option<u32> {
        let wat = format!(
            r#"(module (import "a" "b" (func)) (memory 1) (func)
                 (func (export "__wasm_signal") (param i32) (local i32) {handler}))"#
        );
        address(&wat::parse_str(wat).unwrap())
    }

    #[test]
    fn signal_dispositions_are_found_in_the_librarys_handler_only() {
        let entry = |size: u32| format!("(i32.mul (local.get 0) (i32.const {size}))");
        let load = |offset: u32, at: &str| format!("(drop (i32.load offset={offset} {at}))");
        assert_eq!(parse(&load(5040, &entry(20))), Some(5040));
        assert_eq!(parse(&load(5040, &format!("(local.tee 1 {})", entry(20)))), Some(5040));
        assert_eq!(parse(&load(5040, &entry(16))), None, "entries of another size");
        assert_eq!(parse(&load(0, &entry(20))), None, "no address");
        assert_eq!(parse(&load(8, &entry(20)).repeat(2)), None, "two of them");
        assert_eq!(parse(&format!("(drop {})", entry(20))), None, "nothing is loaded");
        assert_eq!(parse(""), None);
        assert_eq!(address(&wat::parse_str("(module (func (export \"_start\")))").unwrap()), None);
    }
}
