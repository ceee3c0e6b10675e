//! `kubectl attach`: sessions to a container's own process through the CRI, on both engines.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use std::time::Duration;

use catamaran_harness::cri::{self, ContainerState, Pod, Shape};
use catamaran_harness::{Engine, Image, Node, Runtime, guests, procfs, wait_until};

const SOON: Duration = Duration::from_secs(10);

fn cat() -> Image {
    guests::image(Runtime::Catamaran, "cat")
}

/// A pod on each engine.
fn everywhere(check: impl Fn(&Pod<'_>)) {
    let node = Node::start_with(cri::options().network());
    for engine in Engine::ALL {
        let shape = Shape::wasm().annotation("catamaran.wasm/engine", engine.name());
        let pod = Pod::run(&node, engine.name(), shape);
        check(&pod);
        pod.remove();
    }
    node.finish();
}

#[test]
fn an_attached_session_types_and_reads_and_a_second_one_continues() {
    everywhere(|pod| {
        let cat = pod.order("cat", &cat()).stdin(false).start();
        let mut first = cat.attach(false).unwrap();
        first.write("one\n");
        first.expect("one\n");
        drop(first);
        let mut second = cat.attach(false).unwrap();
        // containerd takes a session's input before it attaches the output: on a busy machine the session would miss the answer.
        std::thread::sleep(Duration::from_millis(500));
        second.write("two\n");
        second.expect("two\n");
        assert_eq!(second.heard().0, "two\n", "what the first one had read is not told again");
        assert_eq!(cat.status().state, ContainerState::Running);
        cat.stop(SOON);
        assert_eq!(second.end(), Some(0), "a session ends with its container");
        assert_eq!(cat.lines("stdout"), ["one", "two"], "the log has all of it");
    });
}

#[test]
fn stdin_once_closes_the_input_after_the_first_session() {
    everywhere(|pod| {
        let cat = pod.order("once", &cat()).stdin(true).start();
        let mut session = cat.attach(false).unwrap();
        session.write("last words\n");
        session.expect("last words\n");
        drop(session);
        let ended = cat.wait(SOON);
        assert_eq!((ended.exit_code, ended.reason.as_str()), (0, "Completed"));
    });
}

#[test]
fn an_attached_terminal_has_echo_size_and_signal_keys() {
    everywhere(|pod| {
        let cat = pod.order("terminal", &cat()).stdin(false).tty().start();
        let mut session = cat.attach(true).unwrap();
        session.write("typed\n");
        session.expect("typed\r\ntyped\r\n");
        session.resize(133, 44);
        let pid = cat.status().pid;
        wait_until(SOON, "the window's size", || (procfs::window(pid) == (133, 44)).then_some(()));
        session.write("\u{3}");
        assert_eq!(session.end(), Some(0));
        assert_eq!(cat.wait(SOON).exit_code, 130);
    });
}
