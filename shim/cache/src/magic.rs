//! Recognises a file by its first bytes: Wasm, or something that was taken for Wasm.

/// `\0asm` (WebAssembly core specification, "Modules"), of modules and components alike.
const MAGIC: &[u8] = b"\0asm";
/// The number of bytes that are needed for that.
pub const FIRST: usize = 8;
/// The system that Wasmtime names in the ELF header of its artifacts (`ELFOSABI_WASMTIME`), at the header's seventh byte.
const WASMTIMES: u8 = 200;

/// The kind of a file, by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bytes {
    /// A module or a component.
    Wasm,
    /// A native program.
    Elf,
    /// `#!`
    Script,
    /// Anything else, Wasmtime's own code included.
    Other,
}

impl Bytes {
    /// Returns the kind of a file that begins with these bytes.
    pub fn parse(first: &[u8]) -> Self {
        match first {
            first if first.starts_with(MAGIC) => Bytes::Wasm,
            [0x7f, b'E', b'L', b'F', _, _, _, WASMTIMES, ..] => Bytes::Other,
            [0x7f, b'E', b'L', b'F', ..] => Bytes::Elf,
            [b'#', b'!', ..] => Bytes::Script,
            _ => Bytes::Other,
        }
    }
}

/// Describes to the user a file that begins with `first`. Returns None for Wasm.
pub fn other_than_wasm(first: &[u8]) -> Option<String> {
    let what = match first {
        first if first.starts_with(MAGIC) => return None,
        [] => "an empty file",
        [0x7f, b'E', b'L', b'F', _, _, _, WASMTIMES, ..] => {
            "native code that Wasmtime compiled beforehand (.cwasm), which is never run from an image: put the .wasm that \
             it was made from into the image"
        }
        [0x7f, b'E', b'L', b'F', ..] => "an ELF file: native code is never run as Wasm",
        [b'#', b'!', ..] => "a script, which is never run as Wasm",
        [0x1f, 0x8b, ..] | [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            "compressed (gzip or zstd): put the module into its image uncompressed"
        }
        [b'(', ..] => "not a binary module (text format? assemble it with wat2wasm)",
        other => {
            let first = other.get(..MAGIC.len()).unwrap_or(other);
            return Some(format!("not a Wasm module, the first bytes are {first:02x?}{HOW}"));
        }
    };
    Some(format!("{what}{HOW}"))
}

const HOW: &str = "; a Wasm module begins with 00 61 73 6d";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_files_are_recognized_by_their_first_bytes() {
        for module in [&b"\0asm\x01\0\0\0"[..], b"\0asm\x0d\0\x01\0", b"\0asm"] {
            assert_eq!(other_than_wasm(module), None);
        }
        for (first, word) in [
            (&b""[..], "an empty file"),
            (b"\0as", "[00, 61, 73]"),
            (b"\x7fELF\x02\x01\x01\x00", "an ELF file"),
            (b"\x7fELF", "an ELF file"),
            (b"\x7fELF\x02\x01\x01\xc8", ".cwasm"),
            (b"\x1f\x8b\x08\0\0\0\0\0", "compressed"),
            (b"\x28\xb5\x2f\xfd\0\0\0\0", "compressed"),
            (b"(module)", "text format"),
            (b"\xde\xad\xbe\xef\0", "[de, ad, be, ef]"),
        ] {
            let said = other_than_wasm(first).unwrap();
            assert!(said.contains(word) && said.ends_with("00 61 73 6d"), "{said}");
        }
    }
}
