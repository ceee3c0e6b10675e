//! The images of a release.

use std::path::Path;

use catamaran_harness::Example;

use crate::elf::Architecture;
use crate::error::{Error, Result};
use crate::image::Image;
use crate::licences::Licences;
use crate::programs::{CATAMARAN, LABELLER, NODE, Programs};
use crate::tree::Tree;

/// The registry that images are pulled from by default.
pub const REGISTRY: &str = "ghcr.io/catamaran-wasm";
const DOCUMENTS: &str = "usr/share/doc/catamaran";
/// A user that no distribution has; the labeller needs no rights on its node.
const NO_USER: &str = "65532:65532";

/// One image of a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// All programs of a node, and the installer.
    Installer,
    /// The program that labels the nodes that are ready.
    Labeller,
    /// A program of `examples/`, by its name.
    Example(String),
}

impl Kind {
    /// All images that are released from a clone.
    pub fn all(source: &Path) -> Vec<Self> {
        let examples = Example::all_in(&source.join("examples")).into_iter().map(Self::Example);
        [Self::Installer, Self::Labeller].into_iter().chain(examples).collect()
    }

    /// Parses `installer`, `labeller` or `examples/NAME`.
    ///
    /// # Errors
    /// It is another word.
    pub fn parse(source: &Path, word: &str) -> Result<Self> {
        let all = Self::all(source);
        let known: Vec<String> = all.iter().map(Self::word).collect();
        let found = all.into_iter().find(|kind| kind.word() == word);
        found.ok_or_else(|| {
            Error::new(format!("there is no image \"{word}\""), format!("name some of {}", known.join(", ")))
        })
    }

    fn word(&self) -> String {
        match self {
            Self::Installer => "installer".into(),
            Self::Labeller => "labeller".into(),
            Self::Example(name) => format!("examples/{name}"),
        }
    }

    /// The built programs that it holds.
    pub fn programs(&self) -> Vec<&'static str> {
        match self {
            Self::Installer => NODE.map(|(name, _)| name).to_vec(),
            Self::Labeller => vec![LABELLER],
            Self::Example(_) => Vec::new(),
        }
    }

    /// The archive's name: `catamaran-installer-0.1.0-linux-amd64.tar`. An example's name has no platform, because it is for all
    /// processors.
    pub fn archive(&self, version: &str, architecture: Option<Architecture>) -> String {
        let platform = architecture.map_or_else(String::new, |architecture| format!("-linux-{}", architecture.name()));
        match self {
            Self::Installer | Self::Labeller => format!("catamaran-{}-{version}{platform}.tar", self.word()),
            Self::Example(name) => format!("catamaran-example-{name}-{version}.tar"),
        }
    }

    /// Makes the image, with a name below this registry. Examples are built as their Dockerfiles say.
    ///
    /// # Errors
    /// A program is not there, or cargo cannot say what it links.
    pub fn image(&self, source: &Path, folder: &Path, registry: &str) -> Result<Image> {
        match self {
            Self::Example(name) => Ok(example(source, name, registry)),
            Self::Installer => {
                let programs = Programs::read(folder, &self.programs())?;
                let mut tree = documents(source, &programs)?;
                for (name, mode) in NODE {
                    tree.file(format!("catamaran/{name}"), mode, programs.bytes(name));
                }
                Ok(Image {
                    repository: format!("{registry}/catamaran-installer"),
                    title: "Catamaran's installer".into(),
                    description:
                        "Installs Catamaran, which runs WebAssembly as ordinary Kubernetes containers, on its node."
                            .into(),
                    tree,
                    entrypoint: vec![format!("/catamaran/{CATAMARAN}")],
                    user: None,
                    architectures: vec![programs.architecture],
                })
            }
            Self::Labeller => {
                let programs = Programs::read(folder, &self.programs())?;
                let mut tree = documents(source, &programs)?;
                tree.file(LABELLER, 0o755, programs.bytes(LABELLER));
                Ok(Image {
                    repository: format!("{registry}/{LABELLER}"),
                    title: "Catamaran's labeller".into(),
                    description: "Labels the nodes of a cluster that can run WebAssembly by Catamaran.".into(),
                    tree,
                    entrypoint: vec![format!("/{LABELLER}")],
                    user: Some(NO_USER.into()),
                    architectures: vec![programs.architecture],
                })
            }
        }
    }
}

/// The licences of an image's content, as files of the image.
fn documents(source: &Path, programs: &Programs) -> Result<Tree> {
    let mut tree = Tree::default();
    let licences = Licences::read(source, programs)?;
    licences.warn();
    tree.file(format!("{DOCUMENTS}/LICENSE"), 0o644, licences.own());
    tree.file(format!("{DOCUMENTS}/THIRD-PARTY"), 0o644, licences.text());
    Ok(tree)
}

/// Makes an example's image for every processor: a module runs on all, and each node pulls for its own.
fn example(source: &Path, name: &str, registry: &str) -> Image {
    let recipe = Example::open_in(&source.join("examples"), name).recipe();
    let mut tree = Tree::default();
    for (path, content) in recipe.files {
        tree.file(path.trim_start_matches('/'), 0o755, content);
    }
    Image {
        repository: format!("{registry}/examples/{name}"),
        title: format!("Catamaran's example {name}"),
        description: "A WebAssembly program in an ordinary image.".into(),
        tree,
        entrypoint: recipe.entrypoint,
        user: None,
        architectures: Architecture::ALL.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source() -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
    }

    #[test]
    fn images_are_known_by_their_words_and_others_are_refused() {
        for kind in Kind::all(&source()) {
            assert_eq!(Kind::parse(&source(), &kind.word()).unwrap(), kind);
        }
        let text = Kind::parse(&source(), "hello").unwrap_err().to_string();
        assert!(text.starts_with("there is no image \"hello\"") && text.contains("labeller, examples/"), "{text}");
    }

    #[test]
    fn an_example_is_its_module_alone_for_every_processor() {
        let image = Kind::Example("hello".into()).image(&source(), Path::new("/nowhere"), "ghcr.io/somebody").unwrap();
        assert_eq!(
            (image.repository.as_str(), &*image.entrypoint),
            ("ghcr.io/somebody/examples/hello", &["/hello.wasm".to_owned()][..])
        );
        assert_eq!(image.architectures, Architecture::ALL);
        let files: Vec<_> = image.tree.files().map(|(path, bytes)| (path, &bytes[..4])).collect();
        assert_eq!(files, [("hello.wasm", &b"\0asm"[..])]);
    }

    #[test]
    fn archives_are_named_by_version_and_processor() {
        assert_eq!(
            Kind::Installer.archive("1.2.3", Some(Architecture::Arm64)),
            "catamaran-installer-1.2.3-linux-arm64.tar"
        );
        assert_eq!(Kind::Example("hello".into()).archive("1.2.3", None), "catamaran-example-hello-1.2.3.tar");
    }
}
