//! `catamaran` puts a node in order: it installs the shim, its handler and its programs, and leaves no trace when it removes them.

#![expect(dead_code, reason = "discovery alone so far: the commands follow")]

mod containerd;
mod error;
mod host;
mod layout;
mod process;
mod root_file;
#[cfg(test)]
mod tree;

fn main() {}
