//! A container's life, and its status meanwhile.

use std::time::{Duration, Instant, SystemTime};

use catamaran_harness::cri::{ContainerState, Pod, Propagation, Shape, remove_container, stop_container};
use catamaran_harness::{Code, Engine, Image, guests};

use crate::{SOON, node, on_each_engine, ready, to_its_end, wasm};

const GRACE: Duration = Duration::from_secs(30);

fn nanoseconds() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos().try_into().unwrap()
}

#[test]
fn a_container_is_created_started_stopped_and_removed() {
    let node = node();
    on_each_engine(&node, |pod, engine| {
        let begin = nanoseconds();
        let container = pod.order("sleep", &wasm("sleep")).ready();
        let created = container.status();
        assert_eq!(created.state, ContainerState::Created, "{engine:?}");
        assert!(created.created_at >= begin && created.created_at <= nanoseconds(), "{created:?}");
        assert_eq!((created.started_at, created.finished_at, created.pid), (0, 0, 0), "{created:?}");
        container.start();
        container.expect_line("ready");
        let running = container.status();
        assert_eq!((running.state, running.exit_code, running.reason.as_str()), (ContainerState::Running, 0, ""));
        assert!(running.started_at >= running.created_at && running.finished_at == 0, "{running:?}");
        assert_eq!(running.created_at, created.created_at);
        assert!(running.pid > 0, "{running:?}");
        // A second start is refused.
        assert!(container.try_start().is_err());
        container.stop(GRACE);
        let stopped = container.status();
        assert_eq!((stopped.state, stopped.exit_code, stopped.reason.as_str()), (ContainerState::Exited, 143, "Error"));
        assert!(stopped.finished_at >= stopped.started_at && stopped.finished_at <= nanoseconds(), "{stopped:?}");
        assert_eq!((stopped.started_at, stopped.message.as_str(), stopped.pid), (running.started_at, "", 0));
        assert!(container.try_start().is_err(), "a container that has ended was started");
        assert_eq!(pod.containers(), [container.id().to_owned()]);
        container.remove();
        assert!(pod.containers().is_empty());
    });
    node.finish();
}

#[test]
fn a_container_is_removed_in_every_state() {
    let node = node();
    on_each_engine(&node, |pod, engine| {
        let created = pod.order("created", &wasm("sleep")).ready();
        created.remove();
        let running = ready(pod.order("running", &wasm("sleep")));
        let pid = running.status().pid;
        running.remove();
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists(), "{engine:?}: it runs on");
        let (stopped, _) = to_its_end(pod.order("stopped", &wasm("hello")));
        stopped.remove();
        let refused = pod.order("refused", &wasm("hello")).command(["/nowhere.wasm"]).ready();
        assert!(refused.try_start().is_err());
        refused.remove();
        assert!(pod.containers().is_empty(), "{engine:?}");
        // Their names are free again.
        for name in ["created", "running", "stopped", "refused"] {
            to_its_end(pod.order(name, &wasm("hello"))).0.remove();
        }
    });
    node.finish();
}

#[test]
fn stopping_and_removing_are_idempotent() {
    let node = node();
    on_each_engine(&node, |pod, _| {
        let container = ready(pod.order("sleep", &wasm("sleep")));
        let id = container.id().to_owned();
        container.stop(GRACE);
        container.stop(GRACE);
        container.stop(Duration::ZERO);
        container.remove();
        remove_container(&node, &id).unwrap();
        stop_container(&node, &id, GRACE).unwrap();
    });
    let never = "0".repeat(64);
    stop_container(&node, &never, GRACE).unwrap();
    remove_container(&node, &never).unwrap();
    node.finish();
}

#[test]
fn an_exit_code_is_the_guests_and_the_reason_follows_it() {
    let node = node();
    on_each_engine(&node, |pod, engine| {
        for (code, reason) in [(0, "Completed"), (1, "Error"), (3, "Error"), (255, "Error")] {
            let order = pod.order(&format!("exit-{code}"), &wasm("exit")).args([code.to_string().as_str()]);
            let (_, ended) = to_its_end(order);
            assert_eq!((ended.exit_code, ended.reason.as_str()), (code, reason), "{engine:?}: {ended:?}");
            // containerd records the start when our answer has come, and a short program may have ended by then.
            assert!(ended.created_at <= ended.started_at && ended.created_at <= ended.finished_at, "{ended:?}");
        }
        let (trap, ended) = to_its_end(pod.order("trap", &wasm("trap")));
        assert_eq!((ended.exit_code, ended.reason.as_str()), (134, "Error"), "{engine:?}: {ended:?}");
        // `terminationMessagePolicy: FallbackToLogsOnError` shows the log's end.
        assert_eq!(trap.lines("stdout"), ["about to trap"]);
        let words = trap.lines("stderr").join("\n");
        assert!(words.contains("unreachable") && words.contains("inner"), "{engine:?}: {words}");
    });
    node.finish();
}

#[test]
fn a_guest_ends_by_sigterm_within_its_grace_period_and_by_sigkill_without_one() {
    let node = node();
    on_each_engine(&node, |pod, engine| {
        for name in ["sleep", "spin"] {
            let container = ready(pod.order(name, &wasm(name)));
            let begin = Instant::now();
            container.stop(GRACE);
            assert!(begin.elapsed() < GRACE / 3, "{engine:?}: {name}: {:?}", begin.elapsed());
            assert_eq!(container.status().exit_code, 143, "{engine:?}: {name}");
        }
        let container = ready(pod.order("at-once", &wasm("sleep")));
        container.stop(Duration::ZERO);
        let ended = container.status();
        assert_eq!((ended.exit_code, ended.reason.as_str()), (137, "Error"), "{engine:?}: {ended:?}");
        // The image chooses the signal: SIGUSR1 is 10.
        let container = ready(pod.order("usr1", &wasm("sleep").stop_signal("SIGUSR1")));
        container.stop(GRACE);
        assert_eq!(container.status().exit_code, 138, "{engine:?}");
    });
    node.finish();
}

#[test]
fn a_guest_with_a_handler_has_its_grace_period_and_no_more() {
    let node = node();
    let pod = Pod::run(&node, "handlers", Shape::on(Engine::Wasmer));
    let wasix = |name: &str| guests::of(name, guests::wasix(name));
    let polite = ready(pod.order("polite", &wasix("signal")));
    polite.stop(GRACE);
    let ended = polite.status();
    assert_eq!((ended.exit_code, ended.reason.as_str()), (7, "Error"), "{ended:?}");
    assert_eq!(polite.lines("stdout"), ["ready", "signal 15"]);
    let stubborn = ready(pod.order("stubborn", &wasix("stubborn")));
    let (grace, begin) = (Duration::from_secs(2), Instant::now());
    stubborn.stop(grace);
    assert!(begin.elapsed() >= grace && begin.elapsed() < grace + SOON, "{:?}", begin.elapsed());
    let ended = stubborn.status();
    assert_eq!((ended.exit_code, ended.reason.as_str()), (137, "Error"), "{ended:?}");
    assert_eq!(stubborn.lines("stdout"), ["ready", "no"], "it heard of the first signal, not of the second");
    pod.remove();
    node.finish();
}

#[test]
fn a_container_that_ended_is_followed_by_the_next_of_its_name() {
    let node = node();
    on_each_engine(&node, |pod, engine| {
        let mut ended = Vec::new();
        for attempt in 0..3 {
            let order = pod.order("again", &wasm("exit")).args([attempt.to_string().as_str()]).attempt(attempt);
            let (container, status) = to_its_end(order);
            assert_eq!((status.name.as_str(), status.attempt), ("again", attempt), "{engine:?}");
            assert_eq!(u32::try_from(status.exit_code), Ok(attempt), "{engine:?}");
            ended.push(container);
        }
        let refused = pod.order("again", &wasm("exit")).attempt(2).try_ready().err().expect("twice of one name");
        assert!(refused.message.contains("reserve"), "{refused}");
        // The kubelet removes the older ones over time.
        for container in ended {
            container.remove();
        }
    });
    node.finish();
}

#[test]
fn a_guest_that_takes_too_much_memory_is_oomkilled() {
    let node = node();
    let hog = wasm("hog");
    on_each_engine(&node, |pod, engine| {
        for attempt in 0..3 {
            let (_, ended) = to_its_end(pod.order("hog", &hog).attempt(attempt).limits(64 << 20, 1024, 100_000));
            assert_eq!((ended.exit_code, ended.reason.as_str()), (137, "OOMKilled"), "{engine:?}: {ended:?}");
        }
        let (_, ended) = to_its_end(pod.order("roomy", &hog).limits(512 << 20, 1024, 100_000));
        assert_eq!((ended.exit_code, ended.reason.as_str()), (0, "Completed"), "{engine:?}: {ended:?}");
        // The same code with another reason.
        let killed = ready(pod.order("killed", &wasm("sleep")).limits(64 << 20, 1024, 100_000));
        killed.stop(Duration::ZERO);
        assert_eq!((killed.status().exit_code, killed.status().reason.as_str()), (137, "Error"), "{engine:?}");
    });
    node.finish();
}

#[test]
fn a_start_that_fails_says_why_in_the_status() {
    let node = node();
    on_each_engine(&node, |pod, engine| {
        let cut = guests::of("cut", &guests::wat("hello")[..60]);
        let text = Image::new("text").file("/readme", "neither Wasm nor a program").entrypoint(["/readme"]);
        for (name, order, words) in [
            ("lost", pod.order("lost", &wasm("hello")).command(["/nowhere.wasm"]), "/nowhere.wasm"),
            ("cut", pod.order("cut", &cut), "/cut.wasm"),
            ("text", pod.order("text", &text), "/readme"),
        ] {
            let container = order.ready();
            let refused = container.try_start().expect_err("it was started");
            assert_ne!(refused.code, Code::DeadlineExceeded, "{refused}");
            assert!(refused.message.contains(words), "{engine:?}: {refused}");
            let status = container.status();
            // containerd's own word and code for it.
            assert_eq!((status.state, status.exit_code), (ContainerState::Exited, 128), "{name}: {status:?}");
            assert_eq!((status.reason, status.message), ("StartError".to_owned(), refused.message), "{name}");
        }
        assert!(pod.status().ready);
    });
    node.finish();
}

#[test]
fn a_status_reports_what_the_container_was_created_with() {
    let node = node();
    let volume = node.folder("volume");
    on_each_engine(&node, |pod, engine| {
        let order = pod.order("full", &wasm("sleep")).attempt(2).label("app", "full").annotation("note", "mine");
        let container = ready(order.mount(&volume, "/volume", true, Propagation::None));
        let status = container.status();
        assert_eq!((status.name.as_str(), status.attempt), ("full", 2), "{engine:?}");
        assert_eq!(status.image, wasm("sleep").name());
        assert_eq!(status.labels["app"], "full");
        assert_eq!(status.annotations["note"], "mine");
        assert_eq!(status.log_path, container.log_path().display().to_string());
        let [mount] = &status.mounts[..] else { panic!("{:?}", status.mounts) };
        assert_eq!((mount.destination.as_str(), mount.readonly), ("/volume", true));
        assert_eq!(mount.source, volume.display().to_string());
    });
    node.finish();
}
