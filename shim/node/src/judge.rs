//! Has the node's own containerd judge a configuration before it is put in place.
//!
//! ```text
//! the files as they would be --> staged/root.toml, whose imports are named one by one --> containerd --config ... config dump
//!                                                                                          |- with the handler
//!                                                                                          `- without it: what every other value is
//! ```
//!
//! The handler must be there as it was written, and every other value as it is without the handler: the CNI table, registries, other
//! handlers. `config dump` cannot tell whether containerd comes back; the restart does.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml_edit::{Array, DocumentMut, Item, Table, value};

use crate::error::{Error, Result};
use crate::files;
use crate::handler::{Handler, plain, without_blocks};
use crate::host::Host;
use crate::layout::Place;
use crate::node::Node;
use crate::root_file::RootFile;

/// Contents of files by their paths; None for a file that would be removed.
pub(crate) type Files = BTreeMap<PathBuf, Option<Vec<u8>>>;

/// All that a judgement needs.
pub(crate) struct Judge<'a> {
    pub(crate) host: &'a Host,
    pub(crate) node: &'a dyn Node,
    pub(crate) program: &'a Path,
    pub(crate) config: &'a Path,
    pub(crate) place: &'a Place,
    pub(crate) staged: PathBuf,
}

/// containerd's dump of the configuration that it would run by.
pub(crate) struct Dump(DocumentMut);

impl Judge<'_> {
    /// Dumps the root file as it is.
    pub(crate) fn present(&self) -> Result<Dump> {
        self.dump(self.config, "as it is")
    }

    /// Dumps the configuration that these files would make.
    pub(crate) fn of(&self, name: &str, files: &Files) -> Result<Dump> {
        let path = self.stage(name, files)?;
        self.dump(&path, "as it would be")
    }

    fn dump(&self, config: &Path, which: &str) -> Result<Dump> {
        let text = self.node.dump(self.program, config)?;
        let document = text.parse().map_err(|e: toml_edit::TomlError| {
            Error::refused(
                format!("{} config dump, of the configuration {which}, answers no TOML: {e}", self.program.display()),
                "look at that program's answer: containerd 2.0 or later prints its configuration",
            )
        })?;
        Ok(Dump(document))
    }

    /// Writes the root file as it would be, with staged copies of the imported files that would change.
    fn stage(&self, name: &str, files: &Files) -> Result<PathBuf> {
        let folder = self.staged.join(name);
        files::make_folders(self.host, &folder)?;
        let root_bytes = match files.get(self.config) {
            Some(bytes) => bytes.clone(),
            None => self.host.read(self.config)?,
        };
        let mut text = String::from_utf8_lossy(&root_bytes.unwrap_or_else(|| b"version = 3\n".to_vec())).into_owned();
        // The distribution makes the root file from the template when it starts: our block is the only difference.
        text = without_blocks(&text);
        if let Place::Block { template, .. } = self.place
            && let Some(Some(bytes)) = files.get(template)
        {
            let template = String::from_utf8_lossy(bytes);
            let block = template.strip_prefix(without_blocks(&template).as_str()).unwrap_or_default();
            text.push_str(block);
        }
        let root = RootFile::parse(self.config, text.as_bytes())?;
        let mut imports = Array::new();
        for import in root.imports() {
            let pattern = root.import_path(&import);
            let mut found = self.host.glob(&pattern);
            // The imported file may be new, or named and not there yet.
            let matching = glob::Pattern::new(&pattern.to_string_lossy()).ok();
            let fits = |path: &&PathBuf| matching.as_ref().is_some_and(|pattern| pattern.matches_path(path));
            found.extend(files.iter().filter(|(_, bytes)| bytes.is_some()).map(|(path, _)| path).filter(fits).cloned());
            found.sort();
            found.dedup();
            for path in found {
                imports.extend(self.staged_import(&folder, &path, files)?);
            }
        }
        // A folder that the distribution reads, although the root file does not import it.
        if let Place::DropIn { file } = self.place
            && !root.imports().iter().any(|import| root.import_path(import).parent() == file.parent())
        {
            imports.extend(self.staged_import(&folder, file, files)?);
        }
        let mut document = root.document.unwrap_or_default();
        document["imports"] = value(imports);
        let path = folder.join("root.toml");
        files::replace(self.host, &path, document.to_string().as_bytes())?;
        Ok(path)
    }

    /// The path by which a staged root file imports `path`: its own, or that of its staged copy; None if the file would be gone.
    fn staged_import(&self, folder: &Path, path: &Path, files: &Files) -> Result<Option<String>> {
        match files.get(path) {
            None if self.host.exists(path) => Ok(Some(path.to_string_lossy().into_owned())),
            None | Some(None) => Ok(None),
            Some(Some(bytes)) => {
                let copy = folder.join(path.file_name().unwrap_or_default());
                files::replace(self.host, &copy, bytes)?;
                Ok(Some(copy.to_string_lossy().into_owned()))
            }
        }
    }
}

impl Dump {
    /// The handlers' tables of every plugin that has some, because the plugin's name differs between containerd's versions.
    fn runtimes(&self) -> impl Iterator<Item = &dyn toml_edit::TableLike> {
        let plugins = self.0.get("plugins").and_then(Item::as_table_like);
        let plugins = plugins.into_iter().flat_map(toml_edit::TableLike::iter);
        plugins.filter_map(|(_, plugin)| plugin.get("containerd")?.get("runtimes")?.as_table_like())
    }

    pub(crate) fn handler(&self, name: &str) -> Option<&Item> {
        self.runtimes().find_map(|runtimes| runtimes.get(name))
    }

    /// Refuses a containerd without a CRI, such as that of Docker's package, which disables it.
    pub(crate) fn check_cri(&self, config: &Path) -> Result<()> {
        let disabled = self.0.get("disabled_plugins").and_then(Item::as_array);
        let cri = |name: &&str| *name == "cri" || name.ends_with(".cri") || name.starts_with("io.containerd.cri.");
        let named: Vec<&str> = disabled.into_iter().flatten().filter_map(|name| name.as_str()).filter(cri).collect();
        if let Some(name) = named.first() {
            return Err(Error::refused(
                format!(
                    "{}: disabled_plugins has {name:?}, so that this containerd serves no Kubernetes (Docker's package writes that)",
                    config.display()
                ),
                "remove it from disabled_plugins, restart containerd, and run the command again",
            ));
        }
        Ok(())
    }

    /// Every value by its key, but for those of our handlers.
    fn values(&self, handlers: &[&str]) -> BTreeMap<String, String> {
        let mut values = BTreeMap::new();
        flatten(self.0.as_table(), &mut Vec::new(), handlers, &mut values);
        values
    }

    /// Judges `self` against the dump without the handler.
    pub(crate) fn check(&self, without: &Self, handler: &Handler, allow_earlier: bool) -> Result<()> {
        let found = self.handler(&handler.name).ok_or_else(|| {
            Error::refused(
                format!("containerd would not know the handler {:?}: its configuration drops it", handler.name),
                "look at the imports of containerd's root file, and report this with the answer of `containerd config dump`",
            )
        })?;
        if !allow_earlier && without.handler(&handler.name).is_some() {
            return Err(Error::refused(
                format!("containerd's configuration has a handler {:?} that is not this installer's", handler.name),
                format!(
                    "remove that table (search for runtimes.{} in the root file and what it imports), or choose another name with --handler",
                    handler.name
                ),
            ));
        }
        if let Some(differs) = handler.differs(found) {
            return Err(Error::refused(
                format!("containerd would run the handler {:?} otherwise than written: {differs}", handler.name),
                "look for a file that is imported later and says something of this handler",
            ));
        }
        self.check_others(without, &[&handler.name])
    }

    /// Refuses if any value differs from `other`, except those of `handlers`.
    pub(crate) fn check_others(&self, other: &Self, handlers: &[&str]) -> Result<()> {
        let (ours, theirs) = (self.values(handlers), other.values(handlers));
        let keys = theirs.keys().chain(ours.keys());
        let changed = keys.into_iter().find(|key| ours.get(*key) != theirs.get(*key));
        let Some(key) = changed else { return Ok(()) };
        let shown = |value: Option<&String>| value.map_or("nothing".to_owned(), Clone::clone);
        Err(Error::refused(
            format!(
                "the change would also change {key} of containerd's configuration, from {} to {}",
                shown(theirs.get(key)),
                shown(ours.get(key))
            ),
            "nothing was changed; report this with containerd's version and its root file",
        ))
    }
}

fn flatten(
    table: &dyn toml_edit::TableLike,
    path: &mut Vec<String>,
    handlers: &[&str],
    values: &mut BTreeMap<String, String>,
) {
    for (key, item) in table.iter() {
        // The imports differ because the staged files do.
        if path.is_empty() && key == "imports" {
            continue;
        }
        if handlers.contains(&key) && path.last().is_some_and(|last| last == "runtimes") {
            continue;
        }
        path.push(key.to_owned());
        match item.as_table_like() {
            Some(table) if !table.is_empty() => flatten(table, path, handlers, values),
            Some(_) => _ = values.insert(path.join("."), plain(&Item::Table(Table::new()))),
            None => _ = values.insert(path.join("."), plain(item)),
        }
        path.pop();
    }
}
