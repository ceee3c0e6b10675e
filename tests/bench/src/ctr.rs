//! Runs `ctr`, and waits without pauses: the harness checks every few milliseconds whether it has ended, which is right for a test and too
//! coarse for a measurement.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use catamaran_harness::Node;

use crate::contender::Contender;

/// Runs `ctr` to its end and returns its output and duration.
///
/// # Panics
/// When it fails.
pub(crate) fn ctr(node: &Node, args: &[&str]) -> (String, Duration) {
    let begin = Instant::now();
    let output = Command::new(&node.programs().ctr)
        .arg("--address")
        .arg(node.socket())
        .args(["--namespace", node.namespace()])
        .args(args)
        .stdin(Stdio::null())
        .output()
        .expect("cannot start ctr");
    let duration = begin.elapsed();
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "ctr {} failed with {}\n--- stdout\n{stdout}\n--- stderr\n{}",
        args.join(" "),
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    (stdout, duration)
}

/// `ctr run`, with flags of its own; the image must have been imported.
pub(crate) fn run(node: &Node, contender: &Contender, flags: &[&str], image: &str, id: &str) -> (String, Duration) {
    node.expect_id(node.namespace(), id);
    let fifo = node.dir().join("fifo").display().to_string();
    let runtime = contender.runtime();
    let mut args = vec!["run", "--fifo-dir", &fifo, "--snapshotter", "overlayfs", "--runtime", &runtime];
    let engine = contender.flags();
    args.extend(engine.iter().map(String::as_str));
    args.extend(flags);
    args.extend([image, id]);
    ctr(node, &args)
}
