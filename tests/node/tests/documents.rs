//! The commands of docs/node.md and of the guides, typed as they stand there, on a node of the harness.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use std::fs;

use catamaran_documents::{Assigned, Shell};
use catamaran_harness::{Example, Image, Node, cri, guests, shim_folder};
use catamaran_node_tests::Catamaran;
use catamaran_service_manager::ServiceManager;

/// The image that a guide names: it prints its arguments.
const APP: &str = "registry.example/app:1.0";

/// A shell on the node, whose containerd and service manager are not the machine's.
fn shell(node: &Node, manager: &ServiceManager) -> Shell {
    let folder = node.folder("typed");
    let shell = Shell::new(&folder, &node.folder("stand-ins"));
    let Catamaran { args, env } = Catamaran::on(node).with("DBUS_SYSTEM_BUS_ADDRESS", &manager.bus_address());
    let program = shim_folder().join("catamaran");
    shell.stand_in("catamaran", &format!("exec {} {} \"$@\"", program.display(), args.join(" ")));
    env.iter().fold(shell, |shell, (name, value)| shell.env(name, value))
}

/// The commands that a synopsis stands for: one for each alternative, without the parts in brackets.
fn forms(synopsis: &str) -> Vec<String> {
    let plain = synopsis.split(" [").next().unwrap();
    let (before, last) = plain.rsplit_once(' ').unwrap();
    let last = last.trim_end_matches("...");
    let word = |word: &str| match word {
        "FILE" => "hello.wasm".to_owned(),
        "IMAGE" => APP.to_owned(),
        other => other.to_owned(),
    };
    last.split('|').map(|alternative| format!("{before} {}", word(alternative))).collect()
}

#[test]
fn a_synopsis_stands_for_each_of_its_alternatives() {
    assert_eq!(forms("catamaran install [--handler NAME] [--from FOLDER]"), ["catamaran install"]);
    let either = ["catamaran inspect hello.wasm".to_owned(), format!("catamaran inspect {APP}")];
    assert_eq!(forms("catamaran inspect FILE|IMAGE"), either);
    assert_eq!(forms("catamaran cache warm IMAGE..."), [format!("catamaran cache warm {APP}")]);
}

#[test]
fn an_administrators_commands_do_what_the_pages_say() {
    let mut typed = Assigned::to("an_administrators_commands_do_what_the_pages_say");
    let node = Node::start_with(cri::options());
    node.remove_handler();
    let manager = ServiceManager::start(&node);
    let shell = shell(&node, &manager);
    let folder = node.folder("typed");
    let hello = Example::open("hello").recipe().files.remove(0).1;
    fs::write(folder.join("hello.wasm"), &hello).unwrap();
    fs::write(folder.join("app.wasm"), guests::wat("args")).unwrap();
    let app = Image::new("app").file("/app.wasm", guests::wat("args")).entrypoint(["/app.wasm"]);
    cri::import_with(&node, &app.named(APP), &[]);

    let run = |synopsis: &str| forms(synopsis).iter().map(|line| shell.ok(line)).collect::<String>();
    run(&typed.take("catamaran install").text);
    for line in ["catamaran status", "catamaran doctor"] {
        run(&typed.take(line).text);
    }
    let inspected = typed.take("catamaran inspect hello.wasm");
    let [expected] = &inspected.outputs[..] else { panic!("one page shows it: {inspected:?}") };
    let said = shell.ok(&inspected.text);
    let (shown, rest) = expected.split_once("...").expect("a digest that is cut");
    assert!(said.starts_with(shown) && said.ends_with(rest), "docs/node.md shows\n{expected}the command says\n{said}");
    assert!(shell.ok(&typed.take("catamaran inspect app.wasm").text).contains("app.wasm: a module"));
    let compared = shell.ok(&typed.take(&format!("catamaran compare {APP}")).text);
    assert!(compared.contains("first start") && compared.contains("later start"), "{compared}");
    for line in ["catamaran inspect FILE", "catamaran compare FILE", "catamaran cache list", "catamaran cache warm"] {
        run(&typed.take(line).text);
    }
    node.await_compiles();
    run(&typed.take("catamaran uninstall").text);
    typed.finish();
    node.finish();
}
