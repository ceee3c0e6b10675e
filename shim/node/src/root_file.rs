//! Reads containerd's root file, which decides where and in which form the handler is written.

use std::path::{Path, PathBuf};

use toml_edit::{DocumentMut, Item};

use crate::error::{Error, Result};
use crate::host::{Host, is_pattern};

/// A root file as it is on the host.
#[derive(Debug, Clone)]
pub(crate) struct RootFile {
    pub(crate) path: PathBuf,
    /// None if there is no such file, and containerd runs on its defaults.
    pub(crate) document: Option<DocumentMut>,
}

impl RootFile {
    pub(crate) fn read(host: &Host, path: &Path) -> Result<Self> {
        let Some(bytes) = host.read(path)? else { return Ok(Self { path: path.to_owned(), document: None }) };
        Self::parse(path, &bytes)
    }

    pub(crate) fn parse(path: &Path, bytes: &[u8]) -> Result<Self> {
        let wrong = |why: String| {
            Error::refused(
                format!("containerd's configuration {} cannot be read: {why}", path.display()),
                "mend that file first: containerd would not start with it either",
            )
        };
        let text = str::from_utf8(bytes).map_err(|e| wrong(e.to_string()))?;
        let document: DocumentMut = text.parse().map_err(|e: toml_edit::TomlError| wrong(e.to_string()))?;
        Ok(Self { path: path.to_owned(), document: Some(document) })
    }

    fn item(&self, path: &[&str]) -> Option<&Item> {
        let mut item = self.document.as_ref()?.as_item();
        for key in path {
            item = item.get(key)?;
        }
        Some(item)
    }

    /// The version that the file is written in, which decides the form of the files that it imports. The version in `config dump` is not
    /// used: it is containerd's newest whatever the file is, and a drop-in of that version below an older root file stops some containerds.
    pub(crate) fn version(&self) -> Result<u64> {
        // Without a root file no old form binds: every containerd 2 reads version 3.
        if self.document.is_none() {
            return Ok(3);
        }
        match self.item(&["version"]).map(|item| (item.as_integer(), item)) {
            Some((Some(version @ 2..=4), _)) => Ok(version.unsigned_abs()),
            None => Err(Error::refused(
                format!("containerd's configuration {} has no `version`, which means 1", self.path.display()),
                "write it anew in version 2 or 3 (containerd config migrate prints it): containerd 2 reads no version 1",
            )),
            Some((_, item)) => Err(Error::refused(
                format!(
                    "containerd's configuration {} says version = {}, and 2, 3 and 4 are known",
                    self.path.display(),
                    item.to_string().trim()
                ),
                "write it in one of these versions (containerd config migrate prints it)",
            )),
        }
    }

    /// The imports, word for word.
    pub(crate) fn imports(&self) -> Vec<String> {
        let array = self.item(&["imports"]).and_then(Item::as_array);
        array.into_iter().flatten().filter_map(|value| value.as_str().map(str::to_owned)).collect()
    }

    /// An import as the host's absolute path: a relative one starts at the root file's folder.
    pub(crate) fn import_path(&self, import: &str) -> PathBuf {
        let folder = self.path.parent().unwrap_or(Path::new("/"));
        folder.join(import)
    }

    /// A folder from which the root file imports every file with a name such as `catamaran.toml`.
    pub(crate) fn imported_folder(&self) -> Option<PathBuf> {
        let paths = self.imports().into_iter().map(|import| self.import_path(&import));
        paths.into_iter().find_map(|path| {
            let folder = path.parent()?.to_owned();
            let name = glob::Pattern::new(path.file_name()?.to_str()?).ok()?;
            (!is_pattern(&folder) && is_pattern(&path) && name.matches(FILE)).then_some(folder)
        })
    }

    /// The socket that the root file names.
    pub(crate) fn address(&self) -> Option<PathBuf> {
        let places: [&[&str]; 2] = [&["grpc", "address"], &["plugins", "io.containerd.server.v1.grpc", "address"]];
        let found = places.iter().find_map(|place| self.item(place)?.as_str().filter(|text| !text.is_empty()));
        found.map(PathBuf::from)
    }
}

/// The name of the drop-in.
pub(crate) const FILE: &str = "catamaran.toml";
