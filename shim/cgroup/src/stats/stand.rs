//! A folder of files that stands for a container's cgroup in tests.

use std::fs;
use std::path::PathBuf;

pub(super) struct Stand(pub(super) PathBuf);

impl Stand {
    /// Makes a folder of this test's own. A file's name may contain folders: on v1 each controller has one.
    pub(super) fn new(name: &str, files: &[(&str, &str)]) -> Self {
        let root = std::env::temp_dir().join(format!("catamaran-stats-{name}-{}", std::process::id()));
        fs::create_dir_all(&root).unwrap();
        for (file, text) in files {
            let path = root.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Self(root)
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
