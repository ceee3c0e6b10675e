//! Files to be packed: sorted, owned by root, with the given modes and one time, whatever they have on disk.

use std::collections::BTreeMap;
use std::io::{self, Write};

use flate2::{Compression, GzBuilder};

use crate::error::{Error, Result};

/// Fixed, like the implementation, because both determine the bytes.
const LEVEL: u32 = 6;

/// Files by their paths, without a leading slash.
#[derive(Debug, Clone, Default)]
pub struct Tree(BTreeMap<String, File>);

#[derive(Debug, Clone)]
struct File {
    mode: u32,
    content: Vec<u8>,
}

impl Tree {
    /// Adds a file. Its folders are added with mode 0755.
    pub fn file(&mut self, path: impl Into<String>, mode: u32, content: impl Into<Vec<u8>>) {
        self.0.insert(path.into(), File { mode, content: content.into() });
    }

    /// The files in order: path and content.
    pub fn files(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0.iter().map(|(path, file)| (path.as_str(), &*file.content))
    }

    /// Makes a tar. `time` is the time of every entry, in seconds since 1970.
    ///
    /// # Errors
    /// A path is one that no tar can hold.
    pub fn tar(&self, time: u64) -> Result<Vec<u8>> {
        self.write(time).map_err(|error| Error::new(format!("packing: {error}"), "shorten the path"))
    }

    fn write(&self, time: u64) -> io::Result<Vec<u8>> {
        let mut archive = tar::Builder::new(Vec::new());
        let mut last = "";
        for (path, file) in &self.0 {
            for (end, _) in path.match_indices('/').filter(|(end, _)| !shares_folder(last, &path[..=*end])) {
                let mut header = header(tar::EntryType::Directory, 0o755, 0, time);
                archive.append_data(&mut header, &path[..=end], io::empty())?;
            }
            let mut header = header(tar::EntryType::Regular, file.mode, file.content.len() as u64, time);
            archive.append_data(&mut header, path, &*file.content)?;
            last = path;
        }
        archive.into_inner()
    }
}

/// Whether the previous file is below this folder, so that the archive has the folder already.
fn shares_folder(last: &str, folder: &str) -> bool {
    last.starts_with(folder)
}

fn header(kind: tar::EntryType, mode: u32, size: u64, time: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(time);
    header.set_size(size);
    header
}

/// Compresses with gzip, without a time or a name in the header.
///
/// # Errors
/// None in memory: only a writer could return one.
pub fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = GzBuilder::new().mtime(0).write(Vec::new(), Compression::new(LEVEL));
    let packed = encoder.write_all(bytes).and_then(|()| encoder.finish());
    packed.map_err(|error| Error::new(format!("compressing: {error}"), "run the command again"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(bytes: &[u8]) -> Vec<(String, u32, u64, u64)> {
        let mut archive = tar::Archive::new(bytes);
        let entries = archive.entries().unwrap().map(|entry| entry.unwrap());
        let entry = |entry: tar::Entry<'_, &[u8]>| {
            let header = entry.header();
            let path = entry.path().unwrap().display().to_string();
            (path, header.mode().unwrap(), header.uid().unwrap(), header.mtime().unwrap())
        };
        entries.map(entry).collect()
    }

    #[test]
    fn files_are_sorted_with_each_folder_once_and_nothing_of_the_machine() {
        let mut tree = Tree::default();
        for (path, mode) in [("b/c/two", 0o711), ("b-c", 0o644), ("b/one", 0o755), ("a", 0o600), ("b/c/three", 0o644)] {
            tree.file(path, mode, path);
        }
        let packed = tree.tar(1_790_000_000).unwrap();
        let expected = [
            ("a", 0o600),
            ("b-c", 0o644),
            ("b/", 0o755),
            ("b/c/", 0o755),
            ("b/c/three", 0o644),
            ("b/c/two", 0o711),
            ("b/one", 0o755),
        ];
        assert_eq!(entries(&packed), expected.map(|(path, mode)| (path.to_owned(), mode, 0, 1_790_000_000)));
        assert_eq!(packed, tree.clone().tar(1_790_000_000).unwrap());
    }

    #[test]
    fn gzip_writes_no_time_and_no_name() {
        let packed = gzip(b"some bytes").unwrap();
        // Magic, deflate, no flags, no time.
        assert_eq!(packed[..8], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0]);
    }
}
