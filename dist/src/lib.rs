//! Packs a release: the same bytes from the same inputs, whatever machine, folder, time or umask.
//!
//! ```text
//! main (the command line)
//!  |- images    the installer, the labeller, examples/ -> image: one platform's layer and configuration
//!  |                                                   -> layout: an OCI layout in one tar; `index` joins several
//!  |- tarball   what an administrator unpacks by hand
//!  |- sbom      CycloneDX 1.6      } of what the programs link, as cargo
//!  |- licences  THIRD-PARTY        } says it (crates), and of the toolchain (runtime)
//!  `- checksums SHA256SUMS of a folder
//! programs: the folder of built programs   elf: what a program says of itself   origin: version, commit and time
//! tree: files -> tar -> gzip               json: JSON in one order              error: what went wrong and what to do
//! ```

/// The repository's address, for people and in packed files.
pub const SOURCE: &str = "https://github.com/catamaran-wasm/catamaran";

pub mod checksums;
pub mod crates;
pub mod elf;
pub mod error;
pub mod image;
pub mod images;
mod json;
pub mod layout;
pub mod licences;
pub mod origin;
pub mod programs;
pub mod run;
pub mod runtime;
pub mod sbom;
pub mod tarball;
pub mod tree;
