//! `ctr`, run to its end.

use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::container::Output;
use crate::deadline::{self, PATIENCE};
use crate::keeper;
use crate::node::Node;
use crate::pipes::Capture;

/// Runs `ctr` on the node to its end.
pub(crate) fn foreground<S: AsRef<str>>(
    node: &Node,
    args: impl IntoIterator<Item = S>,
    stdin: Option<Vec<u8>>,
    limit: Duration,
) -> Output {
    let args: Vec<String> = args.into_iter().map(|arg| arg.as_ref().to_owned()).collect();
    let begin = Instant::now();
    let mut command = keeper::die_with_parent(&node.programs().ctr);
    command
        .arg("--address")
        .arg(node.socket())
        .args(["--namespace", node.namespace()])
        .args(&args)
        // The warnings would come on stderr, where the container's own output is expected.
        .env("CONTAINERD_SUPPRESS_DEPRECATION_WARNINGS", "1")
        .stdin(if stdin.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = keeper::spawn(command).expect("cannot start ctr");
    let stdout = Capture::pipe(child.stdout.take().expect("a pipe"));
    let stderr = Capture::pipe(child.stderr.take().expect("a pipe"));
    if let (Some(mut pipe), Some(text)) = (child.stdin.take(), stdin) {
        // A program that ends without reading all of its stdin is no failure.
        std::thread::spawn(move || pipe.write_all(&text));
    }
    let status = deadline::poll(limit, || child.try_wait().expect("cannot wait for ctr"));
    let Some(status) = status else {
        let _ = child.kill();
        let _ = child.wait();
        panic!(
            "ctr {} did not end within {} s\n--- stdout\n{}\n--- stderr\n{}",
            args.join(" "),
            limit.as_secs_f32(),
            stdout.text(),
            stderr.text()
        );
    };
    let duration = begin.elapsed();
    for (name, capture) in [("stdout", &stdout), ("stderr", &stderr)] {
        assert!(capture.ended_within(PATIENCE), "ctr {} ended, its {name} did not", args.join(" "));
    }
    Output { code: status.code().unwrap_or(-1), stdout: stdout.text(), stderr: stderr.text(), duration }
}
