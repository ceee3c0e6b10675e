use super::*;
use crate::tree::Tree;

const KUBELET: &[&str] = &["/usr/bin/kubelet", "--config=/var/lib/kubelet/config.yaml"];
const K3S: &str = "/var/lib/rancher/k3s/agent/etc/containerd";
const K3S_SOCKET: &str = "/run/k3s/containerd/containerd.sock";

fn plain(config: Option<&str>) -> Tree {
    let mut tree = Tree::new();
    tree.process(10, KUBELET);
    tree.process(11, &["/usr/bin/containerd"]).exe("/usr/bin/containerd").unit("containerd.service").listens(SOCKET);
    if let Some(config) = config {
        tree.file("etc/containerd/config.toml", config);
    }
    tree
}

fn found(tree: &Tree) -> Layout {
    Layout::find(&tree.host(), &tree.processes(), &Wanted::default()).unwrap()
}

fn refused(tree: &Tree) -> String {
    Layout::find(&tree.host(), &tree.processes(), &Wanted::default()).unwrap_err().to_string()
}

fn drop_in(path: &str) -> Place {
    Place::DropIn { file: path.into() }
}

fn import(path: &str) -> Place {
    Place::Import { file: path.into() }
}

#[test]
fn kubeadm_with_an_imported_folder_gets_a_drop_in() {
    let mut tree = plain(Some("version = 3\nimports = ['/etc/containerd/conf.d/*.toml']\n"));
    tree.file("var/lib/kubelet/kubeadm-flags.env", "").file(
        "var/lib/kubelet/config.yaml",
        "kind: KubeletConfiguration\ncontainerRuntimeEndpoint: unix:///var/run/containerd/containerd.sock\n",
    );
    let layout = found(&tree);
    assert_eq!(layout.distribution, Distribution::Kubeadm);
    assert_eq!(layout.containerd.pid, 11);
    assert_eq!(layout.containerd.program, Path::new("/usr/bin/containerd"));
    assert_eq!(layout.containerd.config, Path::new("/etc/containerd/config.toml"));
    assert_eq!(layout.containerd.unit.as_deref(), Some("containerd.service"));
    assert_eq!((layout.version, &layout.place), (3, &drop_in("/etc/containerd/conf.d/catamaran.toml")));
    assert_eq!(layout.prefix, Path::new("/opt/catamaran"));
}

#[test]
fn without_imports_or_without_a_root_file_an_import_of_one_file_is_added() {
    for (config, version) in [(Some("version = 2\n"), 2), (Some("version = 4\nimports = []\n"), 4), (None, 3)] {
        let layout = found(&plain(config));
        let expected = (Distribution::Plain, version, import("/etc/containerd/catamaran.toml"));
        assert_eq!((layout.distribution, layout.version, layout.place), expected, "{config:?}");
    }
}

#[test]
fn an_import_that_would_not_match_the_drop_in_is_not_taken_for_its_folder() {
    for imports in [
        "'/etc/containerd/containerd.conf.d/02-containerd.conf'",
        "'/etc/containerd/conf.d/*.conf'",
        "'/etc/*/conf.d/*.toml'",
    ] {
        let layout = found(&plain(Some(&format!("version = 2\nimports = [{imports}]\n"))));
        assert_eq!(layout.place, import("/etc/containerd/catamaran.toml"), "{imports}");
    }
    let layout = found(&plain(Some("version = 2\nimports = ['a.toml', 'conf.d/*']\n")));
    assert_eq!(layout.place, drop_in("/etc/containerd/conf.d/catamaran.toml"));
}

#[test]
fn a_root_file_of_an_unknown_version_is_refused() {
    for (config, words) in [
        ("[grpc]\n", "no `version`"),
        ("version = 1\n", "version = 1"),
        ("version = 5\n", "version = 5"),
        ("version = '3'\n", "version = '3'"),
        ("version = \n", "cannot be read"),
    ] {
        let text = refused(&plain(Some(config)));
        assert!(text.contains("/etc/containerd/config.toml") && text.contains(words), "{text}");
    }
}

fn rancher(name: &str, data: &str, rendered: &str) -> Tree {
    let mut tree = Tree::new();
    let config = format!("{data}/agent/etc/containerd/config.toml");
    tree.file(&config, rendered);
    let program = format!("{data}/data/current/bin/containerd");
    tree.process(21, &["containerd", "-c", &config]).exe(&program).unit(&format!("{name}.service")).listens(K3S_SOCKET);
    tree
}

#[test]
fn k3s_gets_a_drop_in_where_the_rendered_file_imports_the_folder() {
    let mut tree = rancher(
        "k3s",
        "/var/lib/rancher/k3s",
        &format!("version = 3\nimports = [\"{K3S}/config-v3.toml.d/*.toml\"]\n"),
    );
    tree.process(20, &["/usr/local/bin/k3s server"]).unit("k3s.service");
    let layout = found(&tree);
    assert_eq!(layout.distribution, Distribution::K3s);
    assert_eq!(layout.containerd.unit.as_deref(), Some("k3s.service"));
    assert_eq!(layout.containerd.program, Path::new("/var/lib/rancher/k3s/data/current/bin/containerd"));
    assert_eq!(layout.place, drop_in(&format!("{K3S}/config-v3.toml.d/catamaran.toml")));
}

#[test]
fn k3s_without_that_import_gets_a_template_that_includes_the_base() {
    let mut tree = rancher("k3s-agent", "/var/lib/rancher/k3s", "version = 3\n");
    tree.process(20, &["/usr/local/bin/k3s", "agent"]).unit("k3s-agent.service");
    let layout = found(&tree);
    let Place::Block { template, base: Some(base) } = &layout.place else { panic!("{layout:?}") };
    assert_eq!(
        (layout.distribution, template.as_path()),
        (Distribution::K3s, Path::new(K3S).join("config-v3.toml.tmpl").as_path())
    );
    assert!(base.contains("template \"base\""));
}

#[test]
fn rke2_is_told_from_k3s_whose_socket_it_shares() {
    let mut tree = rancher("rke2-server", "/var/lib/rancher/rke2", "version = 3\n");
    tree.process(20, &["/usr/local/bin/rke2 server"]);
    tree.process(22, &["kubelet", &format!("--container-runtime-endpoint=unix://{K3S_SOCKET}")]);
    let layout = found(&tree);
    assert_eq!(layout.distribution, Distribution::Rke2);
    assert_eq!(layout.containerd.unit.as_deref(), Some("rke2-server.service"));
    assert!(matches!(layout.place, Place::Block { template, .. } if template.starts_with("/var/lib/rancher/rke2")));
}

#[test]
fn k0s_reads_its_own_folder() {
    let mut tree = Tree::new();
    tree.file(
        "etc/k0s/containerd.toml",
        "# k0s_managed=true\nversion = 2\nimports = ['/run/k0s/containerd-cri.toml']\n",
    );
    tree.process(30, &["/var/lib/k0s/bin/kubelet", "--container-runtime-endpoint=unix:///run/k0s/containerd.sock"]);
    let args =
        ["/var/lib/k0s/bin/containerd", "--address=/run/k0s/containerd.sock", "--config=/etc/k0s/containerd.toml"];
    tree.process(31, &args).unit("k0sworker.service");
    let layout = found(&tree);
    assert_eq!((layout.distribution, layout.version), (Distribution::K0s, 2));
    assert_eq!(layout.place, drop_in("/etc/k0s/containerd.d/catamaran.toml"));
    assert_eq!(layout.containerd.unit.as_deref(), Some("k0sworker.service"));
}

#[test]
fn microk8s_gets_a_block_in_its_template() {
    let mut tree = Tree::new();
    let folder = "/var/snap/microk8s/7000/args";
    tree.file(&format!("{folder}/containerd.toml"), "version = 3\n");
    tree.file(
        &format!("{folder}/kubelet"),
        "--root-dir=${SNAP_COMMON}\n--container-runtime-endpoint=${SNAP_COMMON}/run/containerd.sock\n",
    );
    tree.process(40, &["/snap/microk8s/7000/kubelite", &format!("--kubelet-args-file={folder}/kubelet")]);
    let config = format!("{folder}/containerd.toml");
    let socket = "/var/snap/microk8s/common/run/containerd.sock";
    tree.process(41, &["/snap/microk8s/7000/bin/containerd", "--config", &config, "--address", socket])
        .unit("snap.microk8s.daemon-containerd.service");
    assert!(refused(&tree).contains("containerd-template.toml is not there"));
    tree.file(&format!("{folder}/containerd-template.toml"), "version = 3\n");
    let layout = found(&tree);
    let place = Place::Block { template: Path::new(folder).join("containerd-template.toml"), base: None };
    assert_eq!((layout.distribution, layout.place), (Distribution::Microk8s, place));
    assert_eq!(layout.containerd.socket, Path::new(socket));
}

#[test]
fn managed_and_local_clusters_are_known_by_their_files() {
    let cases: &[(Distribution, &str, &str, &str)] = &[
        (Distribution::Kind, "kind/version", "v0.30.0", "version = 2\n"),
        (
            Distribution::Minikube,
            "var/lib/minikube/x",
            "",
            "version = 2\nimports = ['/etc/containerd/containerd.conf.d/02-containerd.conf']\n",
        ),
        (
            Distribution::Gke,
            "etc/os-release",
            "NAME=\"Container-Optimized OS\"\nID=cos\n",
            "version = 2\n[plugins.'io.containerd.grpc.v1.cri'.cni]\nbin_dir = '/home/kubernetes/bin'\n",
        ),
        (Distribution::Aks, "etc/kubernetes/azure.json", "{}", "version = 2\noom_score = -999\n"),
    ];
    for (distribution, file, text, config) in cases {
        let mut tree = plain(Some(config));
        tree.file(file, text);
        let layout = found(&tree);
        assert_eq!(layout.distribution, *distribution);
        assert_eq!(layout.version, 2, "{distribution:?}: the drop-in has the root file's version");
        assert_eq!(layout.place, import("/etc/containerd/catamaran.toml"), "{distribution:?}");
        let prefix =
            if *distribution == Distribution::Gke { "/home/kubernetes/bin/catamaran" } else { "/opt/catamaran" };
        assert_eq!(layout.prefix, Path::new(prefix));
    }
    let mut tree = plain(Some("version = 3\nroot = '/var/lib/containerd'\n"));
    tree.file("etc/os-release", "ID=\"amzn\"\nVERSION_ID=\"2023\"\n").file("etc/eks/x", "");
    assert_eq!(found(&tree).distribution, Distribution::Eks);
}

#[test]
fn images_are_refused_with_what_to_do_instead() {
    for (id, words) in [("talos", "make talos"), ("bottlerocket", "nodeSelector")] {
        let mut tree = plain(Some("version = 3\n"));
        tree.file("usr/lib/os-release", &format!("ID={id}\n"));
        let text = refused(&tree);
        assert!(text.contains(words), "{text}");
    }
}

/// A public bug: the wrong containerd of two was configured.
#[test]
fn of_two_containerds_the_one_that_the_kubelet_uses_is_chosen() {
    for readable in [true, false] {
        let mut tree = rancher("k3s", "/var/lib/rancher/k3s", "version = 3\n");
        tree.process(20, &["/usr/local/bin/k3s server"]);
        tree.process(5, &["containerd", "--config", "/var/run/docker/containerd/containerd.toml"])
            .exe("/usr/bin/containerd");
        tree.file(
            "run/docker/containerd/containerd.toml",
            "version = 2\n[grpc]\naddress = '/var/run/docker/containerd/containerd.sock'\n",
        );
        tree.link("var/run", "/run");
        tree.process(6, &["/usr/bin/containerd"]).exe("/usr/bin/containerd").listens(SOCKET);
        if !readable {
            std::fs::remove_dir_all(tree.path("proc/21/fd")).unwrap();
            std::fs::write(
                tree.path("proc/21/cmdline"),
                format!("containerd\0-c\0{K3S}/config.toml\0-a\0{K3S_SOCKET}\0"),
            )
            .unwrap();
        }
        assert_eq!(found(&tree).containerd.pid, 21);
    }
}

#[test]
fn a_system_without_containerd_for_kubernetes_is_refused_by_name() {
    let mut tree = Tree::new();
    tree.process(1, &["/sbin/init"]);
    assert!(refused(&tree).contains("no containerd runs on this node"));
    tree.process(10, &["kubelet", "--container-runtime-endpoint", "unix:///var/run/crio/crio.sock"]);
    assert!(refused(&tree).contains("CRI-O"));

    let mut tree = plain(Some("version = 3\n"));
    tree.file("var/lib/kubelet/config.yaml", "containerRuntimeEndpoint: unix:///run/other.sock\n");
    let text = refused(&tree);
    assert!(
        text.contains("no containerd serves /run/other.sock: pid 11 serves /run/containerd/containerd.sock"),
        "{text}"
    );
    let wanted = Wanted { socket: Some(SOCKET.into()), prefix: Some("/srv/catamaran".into()) };
    let layout = Layout::find(&tree.host(), &tree.processes(), &wanted).unwrap();
    assert_eq!(layout.prefix, Path::new("/srv/catamaran"));
}

#[test]
fn a_node_without_a_kubelet_has_the_one_containerd_that_is_not_dockers() {
    let mut tree = Tree::new();
    tree.process(
        5,
        &[
            "containerd",
            "--config",
            "/var/run/docker/containerd/containerd.toml",
            "-a",
            "/var/run/docker/containerd/containerd.sock",
        ],
    );
    tree.process(6, &["/usr/local/bin/containerd", "-a", "/run/own.sock"]);
    assert_eq!(found(&tree).containerd.pid, 6);
    tree.process(7, &["/usr/local/bin/containerd", "-a", "/run/second.sock"]);
    assert!(refused(&tree).contains("several containerds do: /run/own.sock, /run/second.sock"));
}

/// A process in a pod may take any name, and may come before or after the real ones.
#[test]
fn a_process_of_a_container_is_not_taken_for_the_kubelet_or_containerd() {
    let cases: &[(&str, &str)] = &[
        ("status", "Name:\tkubelet\nUid:\t0\t0\t0\t0\nNSpid:\t3\t1\n"),
        ("status", "Name:\tkubelet\nUid:\t1000\t1000\t1000\t1000\nNSpid:\t3\n"),
        ("cgroup", "0::/kubepods.slice/kubepods-besteffort.slice/x.service\n"),
        ("ns/mnt", "mnt:[2]"),
    ];
    for (file, text) in cases {
        let mut tree = plain(Some("version = 3\n"));
        tree.link("proc/1/ns/mnt", "mnt:[1]");
        for (pid, args) in [
            (3, ["kubelet", "--container-runtime-endpoint=unix:///tmp/evil.sock"]),
            (4, ["containerd", "--address=/tmp/evil.sock"]),
        ] {
            let _ = tree.process(pid, &args).listens("/tmp/evil.sock");
            match *file {
                "ns/mnt" => _ = tree.link(&format!("proc/{pid}/ns/mnt"), text),
                file => _ = tree.file(&format!("proc/{pid}/{file}"), text),
            }
        }
        assert_eq!(found(&tree).containerd.pid, 11, "{file}");
    }
}
