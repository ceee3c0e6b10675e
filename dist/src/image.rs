//! An image from scratch: one layer of files, and how to run them.

use std::collections::HashMap;

use oci_spec::image::{
    ANNOTATION_CREATED, ANNOTATION_DESCRIPTION, ANNOTATION_LICENSES, ANNOTATION_REVISION, ANNOTATION_SOURCE,
    ANNOTATION_TITLE, ANNOTATION_VENDOR, ANNOTATION_VERSION, Arch, ConfigBuilder, Descriptor, HistoryBuilder,
    ImageConfigurationBuilder, ImageManifestBuilder, MediaType, Os, PlatformBuilder, RootFsBuilder,
};

use crate::elf::Architecture;
use crate::error::{Error, Result};
use crate::layout::{Layout, digest};
use crate::origin::Origin;
use crate::tree::{Tree, gzip};
use crate::{SOURCE, json};

/// An image of one layer, for one or several processors that all get the same files.
#[derive(Debug, Clone)]
pub struct Image {
    /// The name to pull it by, without a tag, such as `ghcr.io/catamaran-wasm/catamaran-installer`.
    pub repository: String,
    /// Its name for people.
    pub title: String,
    /// A description for people, in one sentence.
    pub description: String,
    /// Its files.
    pub tree: Tree,
    /// The program and its first arguments.
    pub entrypoint: Vec<String>,
    /// `uid:gid`, unless it runs as root.
    pub user: Option<String>,
    /// The processors that it runs on.
    pub architectures: Vec<Architecture>,
}

impl Image {
    /// Makes the layout, with one manifest for each processor and the name `REPOSITORY:VERSION`.
    ///
    /// # Errors
    /// A file has a path that no tar can hold.
    pub fn layout(&self, origin: &Origin) -> Result<Layout> {
        let mut layout = Layout::new(&format!("{}:{}", self.repository, origin.version));
        let layer = self.tree.tar(origin.time)?;
        let difference = digest(&layer);
        let layer = layout.blob(MediaType::ImageLayerGzip, gzip(&layer)?)?;
        for architecture in &self.architectures {
            self.add(&mut layout, origin, *architecture, &layer, &difference)?;
        }
        Ok(layout)
    }

    fn add(
        &self,
        layout: &mut Layout,
        origin: &Origin,
        architecture: Architecture,
        layer: &Descriptor,
        difference: &str,
    ) -> Result<()> {
        let date = origin.date()?;
        let annotations = self.annotations(origin, &date);
        let mut config =
            ConfigBuilder::default().entrypoint(self.entrypoint.clone()).working_dir("/").labels(annotations.clone());
        if let Some(user) = &self.user {
            config = config.user(user.clone());
        }
        let history =
            HistoryBuilder::default().created(date.clone()).created_by("catamaran-dist").build().map_err(failed)?;
        let rootfs =
            RootFsBuilder::default().typ("layers").diff_ids([difference.to_owned()]).build().map_err(failed)?;
        let config = ImageConfigurationBuilder::default()
            .created(date)
            .architecture(Arch::from(architecture.name()))
            .os(Os::Linux)
            .config(config.build().map_err(failed)?)
            .rootfs(rootfs)
            .history([history])
            .build()
            .map_err(failed)?;
        let config = layout.blob(MediaType::ImageConfig, json::sorted(&config)?)?;
        let manifest = ImageManifestBuilder::default()
            .schema_version(2u32)
            .media_type(MediaType::ImageManifest)
            .config(config)
            .layers([layer.clone()])
            .annotations(annotations)
            .build()
            .map_err(failed)?;
        let platform = PlatformBuilder::default().os(Os::Linux).architecture(Arch::from(architecture.name()));
        let platform = platform.build().map_err(failed)?;
        layout.manifest(json::sorted(&manifest)?, platform)
    }

    /// The same annotations go into the manifest and, as labels, into the configuration: some tools show one, some the other.
    fn annotations(&self, origin: &Origin, date: &str) -> HashMap<String, String> {
        let annotations = [
            (ANNOTATION_TITLE, &*self.title),
            (ANNOTATION_DESCRIPTION, &self.description),
            (ANNOTATION_VERSION, &origin.version),
            (ANNOTATION_REVISION, &origin.revision),
            (ANNOTATION_CREATED, date),
            (ANNOTATION_LICENSES, env!("CARGO_PKG_LICENSE")),
            (ANNOTATION_SOURCE, SOURCE),
            (ANNOTATION_VENDOR, "Catamaran"),
        ];
        annotations.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }
}

#[expect(clippy::needless_pass_by_value, reason = "map_err passes it so")]
pub(crate) fn failed(error: oci_spec::OciSpecError) -> Error {
    Error::new(format!("writing an image: {error}"), "this is a fault of catamaran-dist: report it")
}
