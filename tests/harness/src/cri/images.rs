//! The images that the CRI knows.

use super::{NAMESPACE, address};
use crate::Node;
use crate::api::content::{CreateImageRequest, GetImageRequest, GetImageResponse, Image as Record};
use crate::api::cri::images::{ImageSpec, ImageStatusRequest, ImageStatusResponse};
use crate::deadline::{self, PATIENCE};
use crate::image::Image;

/// Imports an image into the CRI's namespace, and waits until the CRI knows it.
pub(super) fn import(node: &Node, image: &Image) {
    import_with(node, image, &[]);
}

/// The same, with flags for `ctr images import`. If the name stood for another image, it now stands for this one.
///
/// # Panics
/// When containerd or the CRI does not take it.
pub fn import_with(node: &Node, image: &Image, flags: &[&str]) {
    let mut args = vec!["--namespace", NAMESPACE, "images", "import"];
    args.extend(flags);
    args.push("-");
    let output = crate::ctr::foreground(node, args, Some(image.to_tar()), PATIENCE);
    assert!(output.code == 0, "cannot import {}: {output:#?}", image.name());
    wait_for(node, image.name());
}

/// Gives an imported image the name `NAME@sha256:...` too, as the CRI does when it pulls, and returns that name.
///
/// # Panics
/// When containerd or the CRI does not take it.
pub fn pin(node: &Node, image: &Image) -> String {
    let asked = GetImageRequest { name: image.name().to_owned() };
    let found: GetImageResponse = address(node)
        .call("containerd.services.images.v1.Images/Get", &asked, PATIENCE)
        .unwrap_or_else(|status| panic!("no record of {}: {status}", image.name()));
    let target = found.image.and_then(|record| record.target).expect("an image without a target");
    let name = format!("{}@{}", image.name().trim_end_matches(":latest"), target.digest);
    let request = CreateImageRequest { image: Some(Record { name: name.clone(), target: Some(target) }) };
    address(node)
        .call::<()>("containerd.services.images.v1.Images/Create", &request, PATIENCE)
        .unwrap_or_else(|status| panic!("no image {name}: {status}"));
    wait_for(node, &name);
    name
}

/// Returns the ID that the CRI has for an image: the digest of its configuration.
///
/// # Panics
/// When the CRI does not know it.
pub fn image_id(node: &Node, name: &str) -> String {
    known(node, name).unwrap_or_else(|| panic!("the CRI knows no {name}"))
}

/// Whether the CRI knows an image of this name.
pub fn knows(node: &Node, name: &str) -> bool {
    known(node, name).is_some()
}

fn known(node: &Node, name: &str) -> Option<String> {
    let asked = ImageStatusRequest { image: Some(ImageSpec { image: name.to_owned(), ..ImageSpec::default() }) };
    let answer = address(node).call("runtime.v1.ImageService/ImageStatus", &asked, PATIENCE);
    let answer: ImageStatusResponse = answer.ok()?;
    answer.image.map(|image| image.id)
}

fn wait_for(node: &Node, name: &str) {
    deadline::wait_until(PATIENCE, "the CRI to know the image", || knows(node, name).then_some(()));
}
