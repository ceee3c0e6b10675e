//! In place of insta, a library for tests: nothing.
//!
//! wasmer-package 0.704.2 has it among the dependencies of its library, though only its tests call it, and asks for its filters, which ask
//! for regex with all of Unicode's tables. Cargo joins features, so that the regex engine of globset got the tables too: 196 kB of addresses
//! that each worker of Wasmer wrote at its start.
//!
//! To be dropped when wasmer-package moves the dependency to those of its tests. The root's manifest names it (`[patch.crates-io]`).
