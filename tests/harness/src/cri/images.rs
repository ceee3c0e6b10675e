//! The images that the CRI knows.

use super::{NAMESPACE, address};
use crate::Node;
use crate::deadline::{self, PATIENCE};
use crate::image::Image;
use crate::wire::{Message, fields};

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
    let call = |method: &str, message: Message| {
        let answer =
            address(node).call(&format!("containerd.services.images.v1.Images/{method}"), message.done(), PATIENCE);
        answer.unwrap_or_else(|status| panic!("{method} of {}: {status}", image.name()))
    };
    let answer = call("Get", Message::new().bytes(1, image.name()));
    let target = fields(fields(&answer).bytes(1)).bytes(3).to_vec();
    let digest = String::from_utf8_lossy(fields(&target).bytes(2)).into_owned();
    let name = format!("{}@{digest}", image.name().trim_end_matches(":latest"));
    call("Create", Message::new().message(1, Message::new().bytes(1, &name).bytes(3, target)));
    wait_for(node, &name);
    name
}

/// Returns the ID that the CRI has for an image: the digest of its configuration.
///
/// # Panics
/// When the CRI does not know it.
pub fn image_id(node: &Node, name: &str) -> String {
    let id = known(node, name).unwrap_or_default();
    String::from_utf8(id).ok().filter(|id| !id.is_empty()).unwrap_or_else(|| panic!("the CRI knows no {name}"))
}

/// Whether the CRI knows an image of this name.
pub fn knows(node: &Node, name: &str) -> bool {
    known(node, name).is_some_and(|id| !id.is_empty())
}

fn known(node: &Node, name: &str) -> Option<Vec<u8>> {
    let asked = Message::new().message(1, Message::new().bytes(1, name)).done();
    let answer = address(node).call("runtime.v1.ImageService/ImageStatus", asked, PATIENCE).ok()?;
    Some(fields(fields(&answer).bytes(1)).bytes(1).to_vec())
}

fn wait_for(node: &Node, name: &str) {
    deadline::wait_until(PATIENCE, "the CRI to know the image", || knows(node, name).then_some(()));
}
