//! Types the commands and applies the manifests of docs/getting-started.md and the examples' READMEs as they stand there.

use std::collections::BTreeSet;
use std::path::PathBuf;

use catamaran_cluster::{Kubernetes, Space};
use catamaran_documents::{Assigned, Shell, clone, page};
use catamaran_harness::Example;

use crate::guest::BUSYBOX;
use crate::run::tests;

tests! {
    Once: the_pods_of_the_first_guide_greet_on_each_engine, the_examples_answer_as_their_readmes_ask_them;
}

/// A user's shell whose `kubectl` is that of the cluster, in this namespace, and a folder of the shell's own.
fn shell(space: &Space<'_>) -> (Shell, PathBuf) {
    let node = space.cluster().node();
    let folder = node.folder(&format!("typed/{}", space.name()));
    let shell = Shell::new(&folder, &node.folder(&format!("stand-ins/{}", space.name())));
    let (kubectl, config) = (Kubernetes::provide().program("kubectl"), space.cluster().kubectl().config());
    let kubectl = format!("{} --kubeconfig={} --namespace={}", kubectl.display(), config.display(), space.name());
    shell.stand_in("kubectl", &format!("exec {kubectl} \"$@\""));
    (shell, folder)
}

fn the_pods_of_the_first_guide_greet_on_each_engine(space: &Space<'_>) {
    let mut typed = Assigned::to("the_pods_of_the_first_guide_greet_on_each_engine");
    let (shell, folder) = shell(space);
    let texts = page("docs/getting-started.md").texts("yaml");
    let [pods] = &texts[..] else { panic!("one manifest: {texts:#?}") };
    let images = pods.lines().filter_map(|line| line.trim().strip_prefix("image: "));
    images.for_each(|image| space.cluster().import_as(&Example::open("hello").image(), image));
    std::fs::write(folder.join("pods.yaml"), pods).unwrap();
    for line in ["kubectl apply", "kubectl wait"] {
        shell.ok(&typed.take(line).text);
    }
    for log in typed.take_all("kubectl logs") {
        assert_eq!(shell.ok(&log.text), log.outputs.concat(), "{}", log.text);
    }
    typed.finish();
}

/// Returns the line with the pod's address and the tests' own image, because nothing here resolves a Service's name or routes its address,
/// and no registry has busybox.
fn asks_the_pod(space: &Space<'_>, name: &str, line: &str) -> String {
    let pod = space.get(&format!("pod/{name}"))["status"]["podIP"].as_str().unwrap().to_owned();
    let ports = space.get(&format!("service/{name}"))["spec"]["ports"].clone();
    assert_eq!(ports[0]["port"], 80, "an address without a port: {ports}");
    let image = format!(" --image={BUSYBOX} --image-pull-policy=Never ");
    let changed = line.replace(" --image=busybox ", &image);
    let changed = changed.replace(&format!("//{name}/"), &format!("//{pod}:{}/", ports[0]["targetPort"]));
    assert!(changed.contains(&pod) && changed.contains(&image), "{line}");
    changed
}

/// Each README's own lines, in their order, after those that build the image.
fn the_examples_answer_as_their_readmes_ask_them(space: &Space<'_>) {
    let mut typed = Assigned::to("the_examples_answer_as_their_readmes_ask_them");
    let all: BTreeSet<String> = typed.take_all("").into_iter().map(|one| one.text).collect();
    let (shell, _) = shell(space);
    let mut seen = BTreeSet::new();
    for name in Example::all() {
        let shell = shell.in_folder(&clone().join("examples").join(&name));
        let readme = page(&format!("examples/{name}/README.md"));
        let commands =
            readme.blocks().into_iter().flat_map(|block| block.commands().unwrap()).map(|command| command.text);
        let mut said = String::new();
        for line in commands.filter(|line| all.contains(line)) {
            let asks = line.contains("kubectl run");
            said = shell.ok(&if asks { asks_the_pod(space, &name, &line) } else { line.clone() });
            seen.insert(line);
        }
        assert!(said.contains("Ahoy") || name == "hello", "{name}: {said}");
    }
    assert_eq!(seen, all);
    typed.finish();
}
