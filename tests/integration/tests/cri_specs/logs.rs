//! Logs for `kubectl logs`.

use std::fs;
use std::time::Duration;

use catamaran_harness::cri::{Order, Running};
use catamaran_harness::wait_until;

use crate::{SOON, c, node, on_each_engine, ready, says, to_its_end, wasm};

/// containerd's `max_container_log_line_size`.
const LONGEST: usize = 16 << 10;

fn numbered(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("line {n}")).collect()
}

#[test]
fn each_line_has_its_time_its_stream_and_its_tag() {
    let node = node();
    on_each_engine(&node, |pod, engine| {
        let (container, ended) = to_its_end(pod.order("both", &c("talk")).args(["both", "20"]));
        assert_eq!(ended.exit_code, 0, "{engine:?}: {ended:?}");
        let log = container.log();
        assert!(log.iter().all(|line| line.full), "{log:?}");
        for (stream, first) in [("stdout", 0), ("stderr", 1)] {
            let expected: Vec<String> = (first..20).step_by(2).map(|n| format!("line {n}")).collect();
            assert_eq!(container.lines(stream), expected, "{engine:?}");
            let times: Vec<&str> = log.iter().filter(|line| line.stream == stream).map(|line| &*line.time).collect();
            // RFC 3339 in the machine's zone, without trailing zeros, as containerd writes it: within a second the order is numeric.
            assert!(times.iter().all(|time| time.starts_with("20") && time.as_bytes()[10] == b'T'), "{times:?}");
            let seconds: Vec<&str> = times.iter().map(|time| &time[..19]).collect();
            assert!(seconds.is_sorted(), "{seconds:?}");
        }
    });
    node.finish();
}

#[test]
fn long_lines_are_cut_and_many_lines_all_come() {
    let node = node();
    on_each_engine(&node, |pod, engine| {
        for (name, length, pieces) in [
            ("fits", LONGEST, vec![LONGEST]),
            ("two", LONGEST + 1, vec![LONGEST, 1]),
            ("more", 40_000, vec![LONGEST, LONGEST, 40_000 - 2 * LONGEST]),
        ] {
            let order = pod.order(name, &c("talk")).args(["long", length.to_string().as_str()]);
            let (container, ended) = to_its_end(order);
            assert_eq!(ended.exit_code, 0, "{engine:?}: {ended:?}");
            let log = container.log();
            let cut: Vec<(usize, bool)> = log.iter().map(|line| (line.text.len(), line.full)).collect();
            let mut expected: Vec<(usize, bool)> = pieces.iter().map(|piece| (*piece, false)).collect();
            expected.last_mut().unwrap().1 = true;
            expected.push(("end".len(), true));
            assert_eq!(cut, expected, "{engine:?}: {name}");
            let whole: String = (b'a'..=b'z').cycle().take(length).map(char::from).collect();
            assert_eq!(container.lines("stdout"), [whole, "end".to_owned()], "{engine:?}: {name}");
        }
        assert_eq!(says(pod.order("many", &c("talk")).args(["lines", "20000"])), numbered(20_000), "{engine:?}");
    });
    node.finish();
}

#[test]
fn a_last_line_without_newline_is_in_the_log() {
    let node = node();
    on_each_engine(&node, |pod, engine| {
        let (open, _) = to_its_end(pod.order("open", &c("talk")).args(["open", "no end"]));
        let log = open.log();
        assert!(log.len() == 1 && !log[0].full && log[0].text == "no end", "{engine:?}: {log:?}");
        for attempt in 0..10 {
            let (trap, _) = to_its_end(pod.order("trap", &wasm("trap")).attempt(attempt));
            assert_eq!(trap.lines("stdout"), ["about to trap"], "{engine:?}");
            assert!(
                trap.lines("stderr").iter().any(|line| line.contains("unreachable")),
                "{engine:?}: {:?}",
                trap.log()
            );
        }
        // Everything written before a kill is there.
        let on = talking(pod.order("on", &c("talk")).args(["on"]));
        on.stop(Duration::ZERO);
        let said = on.lines("stdout");
        assert_eq!(said, numbered(said.len()), "{engine:?}");
    });
    node.finish();
}

fn talking<'n>(order: Order<'n, '_>) -> Running<'n> {
    let container = order.start();
    container.expect_line("line 20");
    container
}

/// Rotates as the kubelet does: rename, then ask for a new file.
#[test]
fn a_log_that_was_rotated_goes_on_in_a_new_file() {
    let node = node();
    on_each_engine(&node, |pod, engine| {
        let container = talking(pod.order("on", &c("talk")).args(["on"]));
        let log = container.log_path();
        let (first, second) = (log.with_extension("log.1"), log.with_extension("log.2"));
        for older in [&first, &second] {
            fs::rename(log, older).unwrap();
            container.try_reopen_log().unwrap();
            wait_until(SOON, "lines in the new file", || (container.log().len() > 20).then_some(()));
        }
        container.stop(Duration::ZERO);
        let all: String = [&first, &second, log].map(|file| fs::read_to_string(file).unwrap()).concat();
        let said: Vec<String> = all.lines().map(|line| line.splitn(4, ' ').nth(3).unwrap().to_owned()).collect();
        assert!(said.len() > 60, "{engine:?}: {}", said.len());
        assert_eq!(said, numbered(said.len()), "{engine:?}: none is lost and none is there twice");
        // A container that does not run writes nothing any more.
        assert!(container.try_reopen_log().is_err(), "{engine:?}");
        let sleep = ready(pod.order("sleep", &wasm("sleep")));
        fs::remove_file(sleep.log_path()).unwrap();
        sleep.try_reopen_log().unwrap();
        assert!(sleep.log().is_empty(), "{engine:?}");
    });
    node.finish();
}
