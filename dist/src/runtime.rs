//! The libraries that rustc links into a static program besides its crates: Rust's standard library, the C library, GCC's unwinder. cargo
//! does not know them, but the program names their versions.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::elf;
use crate::error::Result;
use crate::run;

/// A library of the toolchain.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Part {
    /// Its name for people.
    pub name: &'static str,
    /// Its version, in its builder's form.
    pub version: String,
    /// A package URL.
    pub purl: String,
    /// An SPDX expression.
    pub licence: &'static str,
    /// Files of the building machine that may hold the licences' texts.
    files: Vec<PathBuf>,
}

impl Part {
    /// The texts of its licences, as far as the machine has them: each with its file's name.
    pub fn texts(&self) -> Vec<(String, String)> {
        let text = |path: &PathBuf| Some((path.file_name()?.to_str()?.to_owned(), fs::read_to_string(path).ok()?));
        self.files.iter().filter_map(text).collect()
    }
}

/// The toolchain's parts in a program.
///
/// # Errors
/// rustc cannot be asked for its folder.
pub fn parts(program: &[u8]) -> Result<Vec<Part>> {
    let mut parts = Vec::new();
    let sysroot = run::text(Command::new("rustc").args(["--print", "sysroot"]), "install Rust, as for building")?;
    let documents = Path::new(sysroot.trim()).join("share/doc/rust");
    if let Some(version) = elf::rustc(program) {
        parts.push(Part {
            name: "Rust standard library",
            purl: format!("pkg:github/rust-lang/rust@{version}"),
            version,
            licence: "MIT OR Apache-2.0",
            files: ["COPYRIGHT-library.html", "licenses/Apache-2.0.txt", "licenses/MIT.txt"]
                .map(|file| documents.join(file))
                .to_vec(),
        });
    }
    let Some(library) = elf::c_library(program) else { return Ok(parts) };
    parts.push(Part {
        name: "GNU C Library",
        purl: purl("glibc", &library),
        version: library,
        licence: "LGPL-2.1-or-later",
        files: vec!["/usr/share/common-licenses/LGPL-2.1".into(), "/usr/share/doc/libc6-dev/copyright".into()],
    });
    if let Some(version) = elf::gcc(program) {
        parts.push(Part {
            name: "GCC runtime library (libgcc_eh)",
            purl: purl("gcc", &version),
            version,
            licence: "GPL-3.0-or-later WITH GCC-exception-3.1",
            files: vec!["/usr/share/common-licenses/GPL-3".into(), documents.join("licenses/GCC-exception-3.1.txt")],
        });
    }
    Ok(parts)
}

/// Makes a package URL from a builder's text, such as `Debian GLIBC 2.36-9+deb12u14` or `Debian 12.2.0-14+deb12u1`.
fn purl(name: &str, text: &str) -> String {
    let version = text.rsplit(' ').next().unwrap_or_default().replace('+', "%2B");
    match text.split(' ').next() {
        Some(distribution @ ("Debian" | "Ubuntu")) => {
            format!("pkg:deb/{}/{name}@{version}", distribution.to_lowercase())
        }
        _ => format!("pkg:generic/{name}@{version}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distribution_s_package_is_named_as_such() {
        assert_eq!(purl("glibc", "Debian GLIBC 2.36-9+deb12u14"), "pkg:deb/debian/glibc@2.36-9%2Bdeb12u14");
        assert_eq!(purl("gcc", "Ubuntu 13.3.0-6ubuntu2~24.04"), "pkg:deb/ubuntu/gcc@13.3.0-6ubuntu2~24.04");
        assert_eq!(purl("gcc", "GNU 12.2.0"), "pkg:generic/gcc@12.2.0");
    }

    #[test]
    fn a_program_without_a_c_library_has_none_of_its_parts() {
        let names = |program: &[u8]| parts(program).unwrap().into_iter().map(|part| part.name).collect::<Vec<_>>();
        assert_eq!(names(b"rustc version 1.95.0 (5)\0"), ["Rust standard library"]);
        let whole =
            b"rustc version 1.95.0 (5)\0GCC: (Debian 12.2.0-14) 12.2.0\0GNU C Library (Debian GLIBC 2.36-9) stable\0";
        assert_eq!(names(whole), ["Rust standard library", "GNU C Library", "GCC runtime library (libgcc_eh)"]);
    }
}
