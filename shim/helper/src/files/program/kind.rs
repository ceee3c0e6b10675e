//! Finds out whether a container is native, by the first bytes of the file that `process.args[0]` names, before any check that applies only
//! to Wasm containers.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use catamaran_cache::magic::{Bytes, FIRST};
use catamaran_files::outline::Outline;
use catamaran_worker::variables::PATH;
use rustix::fs::{CWD, Mode, OFlags};

use super::{Tree, candidates};

/// Returns the program of a native container: its path, and its kind for messages. Returns None if the file is Wasm, an engine's
/// precompiled code, of another kind, or not found: [`super::find`] handles these.
///
/// `root` is the root file system. Only bind mounts are looked into, at their sources on the host. The file may change before the answer is
/// used; that is harmless, because neither answer gives a container more than its spec.
pub(crate) fn native(outline: &Outline, root: BorrowedFd<'_>) -> Option<(PathBuf, &'static str)> {
    let bound: Vec<_> = outline.mounts.iter().map(|mount| mount.bound().and_then(opened)).collect();
    let mut tree = Tree::new(root);
    for (mount, source) in outline.mounts.iter().zip(&bound) {
        tree.mount(&mount.destination, source.as_ref().map(AsFd::as_fd)).ok()?;
    }
    let process = &outline.process;
    let entry = process.args.first().filter(|entry| !entry.is_empty())?;
    let cwd = if process.cwd.is_empty() { "/" } else { &process.cwd };
    for candidate in candidates(entry, cwd, outline.variable(PATH)) {
        let Ok((file, _)) = tree.open(&candidate) else {
            if tree.exhausted().is_some() {
                return None;
            }
            continue;
        };
        return match Bytes::parse(&first(file)?) {
            Bytes::Elf => Some((candidate, "an ELF file")),
            Bytes::Script => Some((candidate, "a script")),
            Bytes::Wasm | Bytes::Other => None,
        };
    }
    None
}

/// Opens a source with `O_PATH`, because opening a device or a FIFO could block or have effects.
fn opened(source: &Path) -> Option<OwnedFd> {
    rustix::fs::openat(CWD, source, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).ok()
}

fn first(file: File) -> Option<Vec<u8>> {
    let mut first = Vec::new();
    file.take(FIRST as u64).read_to_end(&mut first).ok()?;
    Some(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_native_program_is_found_as_the_kernel_would_find_it() {
        let folder = std::env::temp_dir().join(format!("catamaran-kind-{}", std::process::id()));
        let (root, volume) = (folder.join("root"), folder.join("volume"));
        for path in [root.join("bin"), root.join("usr/bin"), root.join("work"), volume.clone()] {
            fs::create_dir_all(path).unwrap();
        }
        let files: [(&str, &[u8]); 6] = [
            ("usr/bin/busybox", b"\x7fELF\x02\x01\x01\0"),
            ("bin/script", b"#!/bin/sh\n"),
            ("bin/wasm", b"\0asm\x01\0\0\0"),
            ("bin/cwasm", b"\x7fELF\x02\x01\x01\xc8"),
            ("bin/text", b"echo hello"),
            ("work/here", b"\x7fELF\x02\x01\x01\0"),
        ];
        files.iter().for_each(|(name, bytes)| fs::write(root.join(name), bytes).unwrap());
        fs::write(volume.join("tool"), b"\x7fELF\x02\x01\x01\0").unwrap();
        std::os::unix::fs::symlink("/usr/bin/busybox", root.join("bin/sh")).unwrap();
        let opened = File::open(&root).unwrap();
        let kind = |entry: &str| {
            let text = serde_json::json!({
                "process": {"args": [entry], "cwd": "/work", "env": ["PATH=/nowhere:/bin:/usr/bin"]},
                "mounts": [
                    {"destination": "/proc", "type": "proc", "source": "proc"},
                    {"destination": "/tools", "type": "bind", "source": volume, "options": ["rbind"]},
                    {"destination": "/gone", "type": "bind", "source": "/no/such/folder"},
                ],
            });
            let outline = Outline::parse(text.to_string().as_bytes()).unwrap();
            native(&outline, opened.as_fd()).map(|(path, _)| path.display().to_string())
        };
        for (entry, path) in [
            ("/bin/sh", Some("/bin/sh")),
            ("sh", Some("/bin/sh")),
            ("script", Some("/bin/script")),
            ("/tools/tool", Some("/tools/tool")),
            ("here", Some("/work/here")),
            ("./here", Some("/work/./here")),
            ("/bin/wasm", None),
            ("cwasm", None),
            ("text", None),
            ("/bin", None),
            ("/", None),
            ("none", None),
            ("", None),
        ] {
            assert_eq!(kind(entry).as_deref(), path, "{entry}");
        }
        fs::remove_dir_all(&folder).unwrap();
    }
}
