//! The commands of README.md, docs/guests.md and the examples' READMEs, typed as they stand there: a container by `ctr`, and each
//! toolchain. The compilers are those of the harness, which stand for the machine's own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use catamaran_documents::{Assigned, Shell, clone, page, pages};
use catamaran_harness::{Engine, Example, Node, build_line, guests};

#[test]
fn hello_greets_as_the_readmes_say() {
    let mut typed = Assigned::to("hello_greets_as_the_readmes_say");
    let node = Node::start();
    let (folder, stand_ins) = (node.folder("typed"), node.folder("stand-ins"));
    let shell = Shell::new(&folder, &stand_ins);
    // The machine's containerd is another one.
    let (ctr, socket) = (node.programs().ctr.display(), node.socket());
    shell
        .stand_in("ctr", &format!("exec {ctr} --address {} --namespace {} \"$@\"", socket.display(), node.namespace()));
    let image = Example::open("hello").image().named("localhost/hello:latest");
    fs::write(folder.join("hello.tar"), image.to_tar()).unwrap();
    shell.ok(&typed.take("ctr images import").text);
    let run = typed.take("ctr run");
    assert_eq!(run.outputs, ["Ahoy from WebAssembly aboard!\n"], "the one page that shows it");
    assert_eq!(shell.ok(&run.text), run.outputs[0]);
    typed.finish();
    node.finish();
}

/// A program's folder, with its source files.
fn program(node: &Node, name: &str, files: &[(&str, &str)]) -> PathBuf {
    let folder = node.folder(name);
    for (path, text) in files {
        fs::create_dir_all(folder.join(path).parent().unwrap()).unwrap();
        fs::write(folder.join(path), text).unwrap();
    }
    folder
}

/// Runs a module, and expects the greeting.
fn greets(node: &Node, name: &str, module: &Path, engines: &[Engine]) {
    let image = guests::of(name, fs::read(module).unwrap());
    for engine in engines {
        let output = node.container(&format!("{name}-{}", engine.name())).image(&image).engine(*engine).run();
        assert_eq!((output.code, output.stdout.trim()), (0, &*format!("Ahoy from {name}!")), "{engine:?}: {output:?}");
    }
}

const PACKAGE: &str = "[package]\nname = \"app\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[workspace]\n";

#[test]
fn each_toolchains_section_builds_a_program_that_runs() {
    let mut typed = Assigned::to("each_toolchains_section_builds_a_program_that_runs");
    let node = Node::start();

    let folder = program(&node, "go", &[("main.go", GO), ("go.mod", "module app\n\ngo 1.21\n")]);
    build_line(&typed.take("GOOS=wasip1").text, &folder);
    greets(&node, "go", &folder.join("app.wasm"), &Engine::ALL);

    for (target, engines) in [("wasm32-wasip1", &Engine::ALL[..]), ("wasm32-wasip2", &[Engine::Wasmtime])] {
        let source = format!("fn main() {{ println!(\"Ahoy from {target}!\"); }}\n");
        let folder = program(&node, target, &[("Cargo.toml", PACKAGE), ("src/main.rs", &source)]);
        let line = typed.take(&format!("cargo build --release --target {target}")).text;
        build_line(&line, &folder);
        greets(&node, target, &folder.join("target").join(target).join("release/app.wasm"), engines);
        if target == "wasm32-wasip2" {
            the_program_of_wasi_0_3_greets(&node, &line);
        }
    }

    // Debian's packages of either C library are one sysroot here.
    for (name, line, engines) in [
        ("c", "clang --target=wasm32-wasi -O2 app.c", &Engine::ALL[..]),
        ("wasix", "clang --target=wasm32-wasi -O2 -pthread", &[Engine::Wasmer]),
    ] {
        let folder = program(&node, name, &[("app.c", if name == "c" { C } else { THREAD })]);
        let shell = Shell::new(&folder, &node.folder("stand-ins"));
        shell.stand_in("clang", &format!("exec {} \"$@\"", guests::clang(name == "wasix")));
        shell.ok(&typed.take(line).text);
        greets(&node, name, &folder.join("app.wasm"), engines);
    }
    typed.finish();
    node.finish();
}

/// Its package `net` listens inside the module, and reaches nothing outside.
const GO: &str = r#"package main

import (
	"fmt"
	"net"
)

func main() {
	_, listens := net.Listen("tcp", ":8080")
	_, dials := net.Dial("tcp", "192.0.2.1:80")
	_, resolves := net.LookupHost("localhost.example")
	if listens != nil || dials == nil || resolves == nil {
		fmt.Println(listens, dials, resolves)
		return
	}
	fmt.Println("Ahoy from go!")
}
"#;
const C: &str = "#include <stdio.h>\nint main(void) { puts(\"Ahoy from c!\"); }\n";
const THREAD: &str = "#include <pthread.h>\n#include <stdio.h>\nstatic void *greet(void *no) { puts(\"Ahoy from wasix!\"); return no; }\n\
                      int main(void) { pthread_t one; return pthread_create(&one, 0, greet, 0) || pthread_join(one, 0); }\n";

/// The section's own manifest and source; it is the only one with a whole program.
fn the_program_of_wasi_0_3_greets(node: &Node, line: &str) {
    let guide = page("docs/guests.md");
    let manifest = guide.texts("toml").into_iter().find(|text| text.contains("wasip3")).unwrap();
    let source = guide.texts("rust").into_iter().find(|text| text.contains("wasip3")).unwrap();
    let lock = fs::read_to_string(clone().join("tests/guests/rust/wasi3-command/Cargo.lock")).unwrap();
    let dockerfile = format!(
        "# First: {line}\nFROM scratch\nCOPY target/wasm32-wasip2/release/app.wasm /app.wasm\nENTRYPOINT [\"/app.wasm\"]\n"
    );
    program(
        node,
        "wasi3/wasi3-guide",
        &[
            ("Cargo.toml", &format!("{PACKAGE}\n{manifest}")),
            ("Cargo.lock", &lock.replace("\"wasi3-command\"", "\"app\"")),
            ("src/lib.rs", &source),
            ("Dockerfile", &dockerfile),
        ],
    );
    let image = Example::open_in(&node.folder("wasi3"), "wasi3-guide").image();
    let output = node.container("wasi3").image(&image).run();
    assert_eq!((output.code, output.stdout.as_str()), (0, "Ahoy from WASI 0.3!\n"), "{output:?}");
}

/// Compares them with the lines that build the image: those of the Dockerfile, which the harness runs.
#[test]
fn the_examples_readmes_build_as_their_dockerfiles_do() {
    let mut typed = Assigned::to("the_examples_readmes_build_as_their_dockerfiles_do");
    let all: BTreeSet<String> = typed.take_all("").into_iter().map(|typed| typed.text).collect();
    let mut seen = BTreeSet::new();
    for name in Example::all() {
        let readme = page(&format!("examples/{name}/README.md"));
        let blocks = readme.blocks();
        let commands = blocks.iter().flat_map(|block| block.commands().unwrap()).map(|command| command.text);
        let told: Vec<String> = commands.filter(|text| all.contains(text) || text.starts_with("cargo build")).collect();
        let steps = Example::open(&name).steps();
        let steps: Vec<String> = steps.iter().flat_map(|step| step.split(" && ")).map(quiet).collect();
        assert_eq!(told, steps, "examples/{name}/README.md and its Dockerfile");
        seen.extend(told);
    }
    // A guide's commands are those of an example's script, in an environment of its own there.
    let script = fs::read_to_string(clone().join("examples/http-python/build")).unwrap();
    let (fetch, build) =
        ("componentize-py==0.25.1", "componentize-py -d http.wit -w server componentize server -o server.wasm");
    assert!(script.contains(&format!(" install -q {fetch}")) && script.contains(&format!("/{build}\n")), "{script}");
    seen.extend([format!("pip install {fetch}"), build.to_owned()]);
    seen.retain(|text| !text.starts_with("cargo build"));
    assert_eq!(seen, all);
    assert!(pages().len() > 15);
    typed.finish();
}

/// npm's lines without the options that only make it quiet.
fn quiet(step: &str) -> String {
    step.replace(" --no-audit", "").replace(" --no-fund", "")
}
