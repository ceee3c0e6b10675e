//! Tells a file's kind by its first bytes, for the compile processes of all engines, so that all refuse it in the same words.

/// A form of WebAssembly that some engine runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A plain ("core") module of version 1.
    Module,
    /// A component.
    Component,
}

const MAGIC: &[u8] = b"\0asm";
const MODULE: [u8; 4] = [1, 0, 0, 0];
/// A component's version word: version 13 of layer 1.
const COMPONENT: [u8; 4] = [0x0d, 0, 1, 0];

const ELF: &[u8] = b"\x7fELF";
/// Wasmtime's artifacts are ELF files with an `EI_OSABI` of their own (wasmtime-environ, `ELFOSABI_WASMTIME`).
const WASMTIMES: (usize, u8) = (7, 200);
/// The first bytes of Wasmer's artifacts (wasmer-compiler, `ArtifactBuild::MAGIC_HEADER`).
const WASMERS: &[u8] = b"wasmer-universal";

/// Returns the file's form, or a text for the user that says what the file is instead.
pub fn parse(bytes: &[u8]) -> Result<Form, String> {
    let Some(version) = bytes.strip_prefix(MAGIC) else { return Err(not_wasm(bytes)) };
    match version.first_chunk::<4>() {
        Some(&MODULE) => Ok(Form::Module),
        Some(&COMPONENT) => Ok(Form::Component),
        Some(other) => {
            Err(format!("the file is WebAssembly of an unknown version ({}): need a module of version 1", hex(other)))
        }
        None => Err("the WebAssembly file ends after its magic bytes".to_owned()),
    }
}

fn not_wasm(bytes: &[u8]) -> String {
    let (at, wasmtimes) = WASMTIMES;
    if bytes.starts_with(ELF) && bytes.get(at) == Some(&wasmtimes) {
        return beforehand("Wasmtime compiled beforehand (.cwasm)");
    }
    if bytes.starts_with(WASMERS) {
        return beforehand("Wasmer compiled beforehand (.wasmu)");
    }
    if bytes.starts_with(ELF) {
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

fn beforehand(how: &str) -> String {
    format!(
        "the file is native code that {how}; native code from an image is never run: put the .wasm file that it was made \
         from into the image"
    )
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::{Form, parse};

    #[test]
    fn modules_and_components_are_recognized() {
        assert_eq!(parse(b"\0asm\x01\0\0\0rest"), Ok(Form::Module));
        assert_eq!(parse(b"\0asm\x0d\0\x01\0"), Ok(Form::Component));
        assert!(parse(b"\0asm\x02\0\0\0").unwrap_err().contains("02 00 00 00"));
        assert!(parse(b"\0asm\x01").unwrap_err().contains("magic bytes"));
    }

    #[test]
    fn a_file_that_is_no_wasm_says_what_it_is() {
        for (bytes, word) in [
            (&b""[..], "empty"),
            (b"\x7fELF\x02\x01\x01\x00", "native ELF"),
            (b"\x7fELF\x02\x01\x01\xc8", ".cwasm"),
            (b"wasmer-universalWASMER\0\0", ".wasmu"),
            (b"\n (module)", "WebAssembly text"),
            (b";; text", "WebAssembly text"),
            (b"#!/bin/sh", "begins with 23 21 2f"),
        ] {
            assert!(parse(bytes).unwrap_err().contains(word), "{word}");
        }
    }
}
