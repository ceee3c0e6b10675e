//! A guest in a child of the test, the same executable: the engine writes to descriptors 1 and 2 and ends with the
//! process's exit code. The child is the test's own `child`, which calls [`be`].

use std::fs::File;
use std::io::Write;
use std::process::{Command, ExitCode, Output, Stdio};

use catamaran_wasmtime::Wasmtime;
use catamaran_worker::job::Rules;
use catamaran_worker::{Guest, Runner, RunnerError, Terms};

/// Where the child finds its artifact; unset in the parent.
const ARTIFACT: &str = "CATAMARAN_TEST_ARTIFACT";

pub(crate) fn guest() -> Guest {
    Guest {
        args: vec!["/app.wasm".to_owned(), "one".to_owned()],
        env: vec![("NAME".to_owned(), "value".to_owned())],
        cwd: "/srv".to_owned(),
    }
}

/// A new file with the bytes, and its path.
pub(crate) fn file(bytes: &[u8]) -> (File, std::path::PathBuf) {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!("catamaran-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let path = std::env::temp_dir().join(name);
    std::fs::write(&path, bytes).unwrap();
    (File::open(&path).unwrap(), path)
}

/// Loads an artifact as the worker does, on a thread whose working directory is its own: the one that [`Runner::load`] asks
/// for.
pub(crate) fn load(artifact: &[u8]) -> Result<Wasmtime, RunnerError> {
    let (file, path) = file(artifact);
    std::fs::remove_file(path).unwrap();
    let thread = std::thread::spawn(move || {
        // SAFETY: the thread stops sharing its working directory with the others; nothing else changes.
        #[allow(unsafe_code, reason = "std has no safe form of it")]
        let apart = unsafe { libc::unshare(libc::CLONE_FS) };
        assert_eq!(apart, 0);
        std::env::set_current_dir("/proc/self/fd").unwrap();
        let rules = Rules { wasi_p3: true, link_local_requests: false };
        Wasmtime::load(file, Terms { server: None, certificate: None, rules })
    });
    thread.join().unwrap()
}

/// Compiles a module or component by the compile process's own code, without its inspection. The worker links no compiler, and neither do
/// its tests. `how` is `fast`, `best`, or `misfit` for settings that are not the worker's.
pub(crate) fn compile(wat: &str, how: &str) -> Vec<u8> {
    let mut folder = std::env::current_exe().unwrap();
    folder.pop();
    folder.pop();
    let program = folder.join("examples/translate-for-wasmtime");
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
pub(crate) fn run(wat: &str, input: Stdio) -> std::process::Child {
    let (_, path) = file(&compile(wat, "best"));
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
    let code = load(&artifact).unwrap().link(&guest()).unwrap()();
    std::process::exit((0..=255).find(|&n| code == ExitCode::from(n)).unwrap().into());
}
