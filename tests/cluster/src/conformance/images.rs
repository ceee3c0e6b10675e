//! The images that the suite's specs run, by the repositories and tags in the specs: busybox in most of them, and substitutes for programs
//! that are not available here.

use std::fs;
use std::path::Path;

use catamaran_cluster::Suite;
use catamaran_harness::{Image, guests};

const USERS: &str = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n\
                     user-defined-in-image:x:1000:1000:user:/:/bin/sh\n";
const GROUPS: &str = "root:x:0:\nnogroup:x:65534:\nuser-defined-in-image:x:1000:\n\
                      group-defined-in-image:x:50000:user-defined-in-image\n";
/// An `ip` that makes a bridge where the kernel lacks links of the kind `dummy`: specs make one to see whether a container is privileged.
const IP: &str = "#!/bin/busybox sh\ncase \"$*\" in\n\
    \"link add \"*\" type dummy\") /bin/busybox ip \"$@\" 2>/dev/null || exec /bin/busybox ip link add \"$3\" type bridge ;;\n\
    *) exec /bin/busybox ip \"$@\" ;;\nesac\n";
const PAGES: &str = "/usr/share/nginx/html";

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// busybox, with bash as the shell if the environment has names that are invalid in a shell: busybox's own would drop them.
fn shell(suite: &Suite) -> Image {
    let image = guests::busybox().layer().file("/bin/bash", read(&suite.shell));
    let image = image.file("/bin/standin", read(&suite.program("standin")));
    let folders = ["usr", "usr/bin", "usr/local", "usr/local/bin", "usr/share", "var", "var/run", "uploads"];
    let image = folders.iter().fold(image, |image, folder| image.dir(folder, 0o755, 0, 0));
    let image = image.link("/bin/sh", "standin").file("/bin/ip", IP);
    let image = image.file_as("/etc/passwd", USERS, 0o644, 0, 0).file_as("/etc/group", GROUPS, 0o644, 0, 0);
    let image = image.file_as("/etc/os-release", "NAME=\"Alpine Linux\"\n", 0o644, 0, 0).cmd(["sh"]);
    image.env(["PATH=/bin:/usr/bin:/usr/local/bin"])
}

/// All images, each with its repository and tag.
pub(crate) fn all(suite: &Suite) -> Vec<(&'static str, &'static str, Image)> {
    let agnhost = read(&suite.program("agnhost"));
    let standin = read(&suite.program("standin"));
    let of_agnhost = || {
        let image = shell(suite).file("/agnhost", &agnhost).link("/agnhost-2", "agnhost");
        let image = image.link("/bin/curl", "standin");
        let keys = ["localhost.crt", "localhost.key"];
        let image = keys.iter().fold(image, |image, name| image.file(&format!("/{name}"), read(&suite.program(name))));
        image.entrypoint(["/agnhost"]).cmd(["pause"])
    };
    let nginx = || {
        let folders = ["usr/share/nginx", "usr/share/nginx/html"];
        let image = folders.iter().fold(shell(suite), |image, folder| image.dir(folder, 0o755, 0, 0));
        let image =
            image.file_as(&format!("{PAGES}/index.html"), "a page\n", 0o644, 0, 0).link("/bin/nginx", "standin");
        image.env(["PATH=/bin:/usr/bin", &format!("PAGES={PAGES}")]).cmd(["/bin/nginx"])
    };
    // A server of one picture. A spec requests the picture's description.
    let picture = |name: &str| {
        let description = format!("{{\n  \"image\": \"{name}.jpg\"\n}}\n");
        shell(suite).file_as("/data.json", description, 0o644, 0, 0).link("/bin/nginx", "standin").cmd(["/bin/nginx"])
    };
    let tool = "e2e-test-images/agnhost";
    vec![
        (tool, "2.66.1", of_agnhost()),
        (tool, "2.55", of_agnhost()),
        ("e2e-test-images/busybox", "1.37.0-2", shell(suite)),
        ("e2e-test-images/nginx", "1.27.0-2", nginx()),
        ("e2e-test-images/nginx", "1.28.0-2", nginx()),
        ("e2e-test-images/nonewprivs", "1.4", {
            shell(suite).file_as("/usr/local/bin/nnp", &standin, 0o4755, 0, 0).cmd(["nnp"])
        }),
        ("e2e-test-images/nonroot", "1.5", shell(suite).user("1234")),
        ("e2e-test-images/kitten", "1.8", picture("kitten")),
        ("e2e-test-images/nautilus", "1.8", picture("nautilus")),
        ("e2e-test-images/ipc-utils", "1.4", shell(suite).link("/bin/ipcs", "standin")),
        ("e2e-test-images/glibc-dns-testing", "2.1.1", shell(suite)),
        ("pause", "3.10.2", Image::new("pause").file("/pause", &standin).entrypoint(["/pause"]).user("65535:65535")),
    ]
}
