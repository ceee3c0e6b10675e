//! Reads facts from a built program: its processor, that it is static, and the tools that built it.

use crate::error::{Error, Result};

/// A processor that releases are made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Architecture {
    /// x86-64.
    Amd64,
    /// 64-bit Arm.
    Arm64,
}

impl Architecture {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Amd64, Self::Arm64];

    /// The name in images and Kubernetes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// The name of cargo's target.
    pub fn triple(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64-unknown-linux-gnu",
            Self::Arm64 => "aarch64-unknown-linux-gnu",
        }
    }
}

/// The kind of the program header that names a dynamic loader.
const PT_INTERP: u32 = 3;
const STATIC: &str =
    "build the programs with `make release`, which makes static ones (.cargo/config.toml), and name their folder";

/// The processor of a static program. `name` is for the error.
///
/// # Errors
/// It is not a 64-bit little-endian ELF of a processor known here, or asks for a dynamic loader, which no image here has.
pub fn architecture(name: &str, bytes: &[u8]) -> Result<Architecture> {
    if bytes.get(..6) != Some(b"\x7fELF\x02\x01") {
        return Err(Error::new(format!("{name} is no 64-bit ELF program"), STATIC));
    }
    let architecture = match number::<2>(bytes, 18) {
        62 => Architecture::Amd64,
        183 => Architecture::Arm64,
        other => {
            let found = format!("{name} is for processor {other}, expected 62 (x86-64) or 183 (aarch64)");
            return Err(Error::new(found, STATIC));
        }
    };
    let (start, size, count) = (number::<8>(bytes, 32), number::<2>(bytes, 54), number::<2>(bytes, 56));
    let kind = |index: u64| number::<4>(bytes, start.saturating_add(index * size));
    if (0..count).any(|index| kind(index) == u64::from(PT_INTERP)) {
        return Err(Error::new(
            format!("{name} is dynamically linked, and an image from scratch has no loader"),
            STATIC,
        ));
    }
    Ok(architecture)
}

/// A little-endian number of `BYTES` bytes; 0 beyond the end.
fn number<const BYTES: usize>(bytes: &[u8], at: u64) -> u64 {
    let at = usize::try_from(at).unwrap_or(usize::MAX);
    let found = bytes.get(at..at.saturating_add(BYTES)).unwrap_or_default();
    found.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

/// The version of rustc in a program's `.comment`, such as `1.95.0`.
pub fn rustc(bytes: &[u8]) -> Option<String> {
    word_behind(bytes, b"rustc version ", b" \0")
}

/// The version of the GNU C library in a static program, in its builder's form, such as `Debian GLIBC 2.36-9+deb12u14`.
pub fn c_library(bytes: &[u8]) -> Option<String> {
    word_behind(bytes, b"GNU C Library (", b")\0")
}

/// The version of GCC whose start files and unwinder are in a static program, such as `Debian 12.2.0-14+deb12u1`.
pub fn gcc(bytes: &[u8]) -> Option<String> {
    word_behind(bytes, b"GCC: (", b")\0")
}

fn word_behind(bytes: &[u8], mark: &[u8], ends: &[u8]) -> Option<String> {
    let at = bytes.windows(mark.len()).position(|window| window == mark)? + mark.len();
    let rest = bytes.get(at..)?;
    let end = rest.iter().position(|byte| ends.contains(byte))?;
    String::from_utf8(rest[..end].to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An ELF header, and one program header of this kind.
    fn program(machine: u8, kind: u8) -> Vec<u8> {
        let mut bytes = vec![0; 64 + 56];
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        (bytes[18], bytes[32], bytes[54], bytes[56], bytes[64]) = (machine, 64, 56, 1, kind);
        bytes
    }

    #[test]
    fn a_static_program_is_known_by_its_processor_and_others_are_refused() {
        assert_eq!(architecture("shim", &program(62, 1)).unwrap(), Architecture::Amd64);
        assert_eq!(architecture("shim", &program(183, 1)).unwrap(), Architecture::Arm64);
        for (bytes, expected) in [
            (program(62, 3), "shim is dynamically linked"),
            (program(243, 1), "shim is for processor 243"),
            (b"#!/bin/sh".to_vec(), "shim is no 64-bit ELF program"),
        ] {
            let text = architecture("shim", &bytes).unwrap_err().to_string();
            assert!(text.starts_with(expected), "{text}");
        }
    }

    #[test]
    fn a_program_names_its_compiler_and_its_c_library() {
        let bytes =
            b"\0GNU C Library (Debian GLIBC 2.36-9+deb12u14) stable release\0rustc version 1.95.0 (59807616e)\0";
        assert_eq!(rustc(bytes).as_deref(), Some("1.95.0"));
        assert_eq!(c_library(bytes).as_deref(), Some("Debian GLIBC 2.36-9+deb12u14"));
        assert_eq!(c_library(b"nothing"), None);
    }
}
