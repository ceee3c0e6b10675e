//! A guest in a child of the test, which is the same executable: an engine writes to descriptors 1 and 2 and ends with the process's exit
//! code. The child runs the test `child`, which calls [`be`].
//!
//! The tests of both engines include this file. Their module `engine` has the engine's own part: the program that compiles, and `load`.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Output, Stdio};

use catamaran_worker::job::Rules;
use catamaran_worker::{Guest, Runner, RunnerError, Terms};

use crate::engine::{TRANSLATOR, load};

/// The variable with the path of the child's artifact; unset in the parent.
const ARTIFACT: &str = "CATAMARAN_TEST_ARTIFACT";

pub(crate) fn guest() -> Guest {
    Guest {
        args: vec!["/app.wasm".to_owned(), "one".to_owned()],
        env: vec![("NAME".to_owned(), "value".to_owned())],
        cwd: "/srv".to_owned(),
    }
}

pub(crate) fn terms() -> Terms {
    Terms { server: None, certificate: None, rules: Rules { wasi_p3: true, link_local_requests: false } }
}

/// A new file with the bytes, and its path, which the caller unlinks.
pub(crate) fn file(bytes: &[u8]) -> (File, PathBuf) {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!("catamaran-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let path = std::env::temp_dir().join(name);
    std::fs::write(&path, bytes).unwrap();
    (File::open(&path).unwrap(), path)
}

/// Compiles by the compile process's own code, without its inspection. The worker links no compiler, and neither do its tests. `how` is
/// `fast`, `best`, or another word that the engine's program knows.
pub(crate) fn compile(wat: &str, how: &str) -> Vec<u8> {
    let mut folder = std::env::current_exe().unwrap();
    folder.pop();
    folder.pop();
    let program = folder.join("examples").join(TRANSLATOR);
    let mut child = Command::new(&program)
        .arg(how)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("{}: {e}; tests/all builds it", program.display()));
    child.stdin.take().unwrap().write_all(&wat::parse_str(wat).unwrap()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    output.stdout
}

/// Returns the text with which linking refuses a file that was compiled in spite of the inspection.
pub(crate) fn link_refusal(wat: &str) -> String {
    let engine = load(&compile(wat, "best")).unwrap();
    match engine.link(&guest()) {
        Err(RunnerError::Module(text)) => text,
        Err(e) => panic!("not the module's fault: {e}"),
        Ok(_) => panic!("linked"),
    }
}

/// Runs the module or component in a child process with `input` on standard input.
pub(crate) fn run(wat: &str, input: Stdio) -> Child {
    run_artifact(&compile(wat, "best"), input)
}

/// The same for an artifact.
pub(crate) fn run_artifact(artifact: &[u8], input: Stdio) -> Child {
    let (_, path) = file(artifact);
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture", "--test-threads=1"])
        .env(ARTIFACT, &path)
        .stdin(input)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

pub(crate) fn output(wat: &str) -> Output {
    run(wat, Stdio::null()).wait_with_output().unwrap()
}

/// Returns the guest's output, which follows the test's name from the child's test harness.
pub(crate) fn stdout(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.split_once("test child ... ").map(|(_, guests)| guests.to_owned()).unwrap_or(text)
}

/// In the child: runs the guest. In the parent: nothing.
pub(crate) fn be() {
    let Some(path) = std::env::var_os(ARTIFACT) else { return };
    let artifact = std::fs::read(&path).unwrap();
    std::fs::remove_file(path).unwrap();
    catamaran_worker::signals::end_on_signals().unwrap();
    let code = load(&artifact).unwrap().link(&guest()).unwrap()();
    std::process::exit((0..=255).find(|&n| code == ExitCode::from(n)).unwrap().into());
}
