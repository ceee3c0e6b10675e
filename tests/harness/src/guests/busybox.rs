//! The image of native containers: a shell and small programs, static.

use std::path::PathBuf;
use std::process::Command;

use super::read;
use crate::image::Image;
use crate::programs::provided;

const USERS: &str = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n";
const GROUPS: &str = "root:x:0:\nnogroup:x:65534:\nextra:x:4321:nobody\n";

/// An image of Debian's busybox, which `provision-busybox` fetches. It sleeps unless told otherwise, and ends on SIGTERM; it has a page
/// below `/www` for `httpd`, and two users, one of them in a further group.
pub fn busybox() -> Image {
    let program = PathBuf::from(provided("provision-busybox")("program"));
    let listed = Command::new(&program).arg("--list").output().expect("busybox does not run here");
    let names = String::from_utf8(listed.stdout).expect("names");
    // A shell that waits for its child handles SIGTERM; sleep as pid 1 ignores it.
    let sleep = "trap 'exit 0' TERM; while :; do sleep 1 & wait $!; done";
    let image = ["etc", "root", "www", "proc", "sys", "dev"]
        .iter()
        .fold(Image::new("busybox"), |image, name| image.dir(name, 0o755, 0, 0));
    let image = image.dir("bin", 0o755, 0, 0).dir("tmp", 0o1777, 0, 0).file("/bin/busybox", read(&program));
    let applets = names.lines().filter(|name| *name != "busybox");
    let image = applets.fold(image, |image, name| image.link(&format!("/bin/{name}"), "busybox"));
    image
        .file_as("/etc/passwd", USERS, 0o644, 0, 0)
        .file_as("/etc/group", GROUPS, 0o644, 0, 0)
        .file_as("/www/index.html", "a page\n", 0o644, 0, 0)
        .env(["PATH=/bin"])
        .cmd(["sh", "-c", sleep])
}
