//! The images that critest's specs request, by repository and tag: busybox in all of them, and stand-ins for a web server and the like.

use std::fs;
use std::path::Path;

use catamaran_harness::{Image, guests};

/// The images of all specs except those about images.
pub(crate) fn all(standin: &Path) -> Vec<(&'static str, &'static str, Image)> {
    let program = fs::read(standin).unwrap_or_else(|error| panic!("{}: {error}", standin.display()));
    let busybox = || {
        let image = guests::busybox().file("/bin/standin", &program);
        // A spec masks `ls` alone, so `ls` must be a file of its own and not a link to busybox.
        let image = image.file("/bin/ls", "#!/bin/sh\nexec /bin/busybox ls \"$@\"\n");
        ["ipcs", "pgrep"].iter().fold(image, |image, name| image.link(&format!("/bin/{name}"), "standin"))
    };
    let server = |name: &str| {
        let path = format!("/bin/{name}");
        let image = guests::busybox().dir("var", 0o755, 0, 0).dir("var/run", 0o755, 0, 0);
        // The process title by which some specs recognise the server.
        image.file(&path, &program).cmd([path.as_str(), "master process"])
    };
    let users = "root:x:0:0:root:/root:/bin/sh\ndefault-user:x:1000:1000:user:/:/bin/sh\n";
    let groups = "root:x:0:\ndefault-user:x:1000:\ngroup-defined-in-image:x:50000:default-user\n";
    let grouped =
        guests::busybox().file_as("/etc/passwd", users, 0o644, 0, 0).file_as("/etc/group", groups, 0o644, 0, 0);
    vec![
        ("e2e-test-images/busybox", "1.29-2", busybox()),
        ("e2e-test-images/nginx", "1.14-2", server("nginx")),
        ("e2e-test-images/httpd", "2.4.39-4", server("httpd")),
        ("e2e-test-images/nonewprivs", "1.3", guests::busybox().file_as("/nnp", &program, 0o4755, 0, 0).cmd(["/nnp"])),
        ("k8s-staging-cri-tools/hostnet-nginx-amd64", "latest", server("nginx").env(["PATH=/bin", "PORT=12003"])),
        ("k8s-staging-cri-tools/test-image-predefined-group", "latest", grouped.user("1000")),
    ]
}
