//! The commands that make, check and load a release, typed as the documents have them. Needs root.
//!
//! `make` does not build the programs again: the beginnings of those that the tests run are packed. `kind`, `minikube` and `k3s` are
//! stand-ins that do what these do with an archive on a node: `ctr images import`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use std::fs;
use std::path::Path;

use catamaran_dist::programs::{CATAMARAN, LABELLER, NODE};
use catamaran_documents::{Assigned, Shell, clone};
use catamaran_harness::{Node, shim_folder};

const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The beginning of a program, which has all that packing reads.
const BEGINNING: usize = 1 << 16;
/// EM_AARCH64, in the field `e_machine` of an ELF file's header.
const ARM64: [u8; 2] = [183, 0];

/// Copies the programs to `folder`, for another processor if `machine` names one. Packing runs the command `catamaran`.
fn programs(folder: &Path, machine: Option<[u8; 2]>) {
    for name in NODE.map(|(name, _)| name).into_iter().chain([LABELLER]) {
        let path = shim_folder().join(name);
        let mut bytes = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}: run `make build`", path.display()));
        if name != CATAMARAN {
            bytes.truncate(BEGINNING);
        }
        if let Some(machine) = machine {
            bytes[18..20].copy_from_slice(&machine);
        }
        fs::write(folder.join(name), bytes).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(folder.join(name), mode).unwrap();
    }
}

/// A shell in a clone's place: `target/dist` is where archives go.
fn shell(node: &Node) -> Shell {
    let (folder, stand_ins, out) = (node.folder("clone"), node.folder("stand-ins"), node.folder("clone/target/dist"));
    let shell = Shell::new(&folder, &stand_ins);
    let (dist, built) = (env!("CARGO_BIN_EXE_catamaran-dist"), node.folder("programs"));
    let (makefile, built, out) = (clone().join("Makefile"), built.display(), out.display());
    let make = format!("PATH=${{PATH#*:}} exec make -s -f {} -o release DIST={dist}", makefile.display());
    shell.stand_in("make", &format!("{make} BENCH_BIN=${{BUILT:-{built}}} OUT={out} \"$@\""));
    let ctr = format!("{} --address {}", node.programs().ctr.display(), node.socket().display());
    shell.stand_in("ctr", &format!("exec {ctr} \"$@\""));
    let import = format!("exec {ctr} --namespace k8s.io images import --all-platforms \"$3\"");
    shell.stand_in("kind", &format!("[ \"$1 $2\" = 'load image-archive' ]\n{import}"));
    shell.stand_in("minikube", &format!("[ \"$1 $2\" = 'image load' ]\n{import}"));
    shell.stand_in("k3s", &format!("[ \"$1\" = ctr ]\nshift\nexec {ctr} --namespace k8s.io \"$@\""));
    shell
}

/// The images that containerd has for the kubelet, which are removed.
fn loaded(node: &Node) -> Vec<String> {
    let names = node.ctr_ok(["--namespace", "k8s.io", "images", "ls", "-q"]);
    let mut names: Vec<String> = names.lines().map(str::to_owned).collect();
    names.iter().for_each(|name| drop(node.ctr_ok(["--namespace", "k8s.io", "images", "rm", name])));
    names.sort();
    names
}

fn image(name: &str) -> String {
    format!("ghcr.io/catamaran-wasm/{name}:{VERSION}")
}

#[test]
fn a_release_is_made_checked_and_loaded_as_the_pages_say() {
    let mut typed = Assigned::to("a_release_is_made_checked_and_loaded_as_the_pages_say");
    let node = Node::start();
    programs(&node.folder("programs"), None);
    let shell = shell(&node);
    let dist = node.folder("clone/target/dist");
    let in_dist = shell.in_folder(&dist);

    shell.ok(&typed.take("make image IMAGES").text);
    for line in typed.take_all("for archive in target/dist/") {
        shell.ok(&line.text);
        let all = ["catamaran-installer", "catamaran-labeller", "examples/hello"].map(image);
        assert_eq!(loaded(&node), all, "{}", line.text);
    }
    in_dist.ok(&typed.take("for archive in *").text);
    assert_eq!(loaded(&node).len(), 3);
    for program in ["ctr", "kind", "minikube"] {
        in_dist.ok(&typed.take(&format!("{program} ")).text.replace("VERSION", VERSION));
        assert_eq!(loaded(&node), [image("catamaran-installer")], "{program}");
    }

    shell.ok(&typed.take("make image").text);
    assert!(dist.join(format!("catamaran-example-http-rust-{VERSION}.tar")).exists());
    shell.ok(&typed.take("make dist").text);
    let checked = in_dist.ok(&typed.take("sha256sum").text);
    assert!(checked.contains(&format!("catamaran-{VERSION}-linux-amd64.tar.gz: OK")), "{checked}");

    // One image for each processor, and the index of both.
    let (made, others) = (format!("catamaran-labeller-{VERSION}-linux"), node.folder("others"));
    programs(&others, Some(ARM64));
    shell.ok(&format!("BUILT={} make image IMAGES=labeller", others.display()));
    for processor in ["amd64", "arm64"] {
        let (from, to) = (format!("{made}-{processor}.tar"), format!("A-linux-{processor}.tar"));
        fs::copy(dist.join(from), dist.join(to)).unwrap();
    }
    in_dist.ok(&typed.take("make index").text);
    in_dist.ok("ctr -n k8s.io images import --all-platforms A.tar");
    let listed = node.ctr_ok(["--namespace", "k8s.io", "images", "ls"]);
    assert!(listed.contains("linux/amd64,linux/arm64"), "{listed}");
    loaded(&node);
    typed.finish();
    node.finish();
}
