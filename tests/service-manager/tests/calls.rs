//! An installer's calls to a service manager, made to the stand-in.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use catamaran_harness::{Node, wait_until};
use catamaran_service_manager::{CONTAINERD, ServiceManager};
use zbus::blocking::{Connection, Proxy, connection};
use zbus::zvariant::{OwnedObjectPath, OwnedValue, Value};

const NAME: &str = "org.freedesktop.systemd1";
const LIMIT: Duration = Duration::from_secs(20);

struct Client {
    connection: Connection,
}

type Removed = (u32, OwnedObjectPath, String, String);

impl Client {
    fn of(manager: &ServiceManager) -> Self {
        let address = manager.bus_address();
        let connection = connection::Builder::address(address.as_str()).unwrap().build().unwrap();
        Self { connection }
    }

    fn manager(&self) -> Proxy<'static> {
        let interface = format!("{NAME}.Manager");
        Proxy::new_owned(self.connection.clone(), NAME, "/org/freedesktop/systemd1", interface).unwrap()
    }

    /// A property of a unit.
    fn property<T>(&self, unit: &str, interface: &str, name: &str) -> T
    where
        T: TryFrom<OwnedValue>,
        T::Error: Into<zbus::Error>,
    {
        let path: OwnedObjectPath = self.manager().call("LoadUnit", &unit).unwrap();
        let interface = format!("{NAME}.{interface}");
        // Without a cache: each question is asked anew.
        let proxy: Proxy<'_> = zbus::blocking::proxy::Builder::new(&self.connection)
            .destination(NAME)
            .unwrap()
            .path(path)
            .unwrap()
            .interface(interface)
            .unwrap()
            .cache_properties(zbus::proxy::CacheProperties::No)
            .build()
            .unwrap();
        proxy.get_property(name).unwrap()
    }

    fn state(&self, unit: &str) -> (String, String) {
        (self.property(unit, "Unit", "ActiveState"), self.property(unit, "Unit", "SubState"))
    }

    /// Requests a job, and returns its result.
    fn job(&self, method: &str, unit: &str) -> String {
        let manager = self.manager();
        let mut removed = manager.receive_signal("JobRemoved").unwrap();
        let job: OwnedObjectPath = manager.call(method, &(unit, "replace")).unwrap();
        loop {
            let (_, path, name, result): Removed = removed.next().unwrap().body().deserialize().unwrap();
            if path == job {
                assert_eq!(name, unit);
                return result;
            }
        }
    }

    /// Makes a timer and the service that it starts: a shell's script.
    fn arm(&self, name: &str, after: Duration, script: &str) -> zbus::Result<OwnedObjectPath> {
        let timers = Value::from(vec![("OnActiveSec".to_owned(), u64::try_from(after.as_micros()).unwrap())]);
        let timer = vec![("TimersMonotonic", timers), ("RemainAfterElapse", Value::from(false))];
        let words = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
        let service = vec![
            ("ExecStart", Value::from(vec![("/bin/sh".to_owned(), words, false)])),
            ("Type", Value::from("oneshot")),
            ("Environment", Value::from(vec!["WORD=two hulls".to_owned()])),
        ];
        let others = vec![(format!("{name}.service"), service)];
        self.manager().call("StartTransientUnit", &(format!("{name}.timer"), "fail", timer, others))
    }
}

#[test]
fn a_restart_is_a_job_that_is_done_when_containerd_answers() {
    let node = Node::start();
    let manager = ServiceManager::start(&node);
    let client = Client::of(&manager);
    let before = node.containerd_pid();
    assert_eq!(client.property::<u32>(CONTAINERD, "Service", "MainPID"), before);
    let by_pid: OwnedObjectPath = client.manager().call("GetUnitByPID", &before).unwrap();
    let by_name: OwnedObjectPath = client.manager().call("GetUnit", &CONTAINERD).unwrap();
    assert_eq!(by_pid, by_name);

    assert_eq!(client.job("RestartUnit", CONTAINERD), "done");
    node.ctr_ok(["version"]);
    let after = client.property::<u32>(CONTAINERD, "Service", "MainPID");
    assert_ne!(after, before);
    assert_eq!(client.state(CONTAINERD), ("active".to_owned(), "running".to_owned()));
    assert_eq!(manager.unit(CONTAINERD).unwrap().starts, 2);
    let jobs = manager.jobs();
    assert_eq!((jobs.len(), jobs[0].kind.as_str(), jobs[0].result.as_deref()), (1, "restart", Some("done")));

    let unknown = client.manager().call::<_, _, OwnedObjectPath>("RestartUnit", &("other.service", "replace"));
    assert!(unknown.unwrap_err().to_string().contains("Unit other.service not found"));
    let mode = client.manager().call::<_, _, OwnedObjectPath>("RestartUnit", &(CONTAINERD, "replaced"));
    assert!(mode.unwrap_err().to_string().contains("Job mode replaced invalid"));
    drop(manager);
    node.finish();
}

#[test]
fn a_containerd_that_cannot_start_fails_its_job_and_is_tried_again() {
    let node = Node::start();
    let manager = ServiceManager::start(&node);
    let client = Client::of(&manager);
    let config = node.dir().join("config.toml");
    let good = fs::read_to_string(&config).unwrap();
    fs::write(&config, "version = 'none'\n").unwrap();
    assert_eq!(client.job("RestartUnit", CONTAINERD), "failed");
    assert_eq!(client.state(CONTAINERD), ("activating".to_owned(), "auto-restart".to_owned()));
    assert_eq!(client.property::<String>(CONTAINERD, "Service", "Result"), "exit-code");
    fs::write(&config, good).unwrap();
    let running = ("active".to_owned(), "running".to_owned());
    wait_until(LIMIT, "the restart by itself", || (client.state(CONTAINERD) == running).then_some(()));
    assert_eq!(client.property::<u32>(CONTAINERD, "Service", "NRestarts"), 1);
    node.ctr_ok(["version"]);

    node.kill_containerd();
    wait_until(LIMIT, "the restart after a crash", || (manager.unit(CONTAINERD).unwrap().starts == 4).then_some(()));
    wait_until(LIMIT, "containerd", || (client.state(CONTAINERD) == running).then_some(()));
    node.ctr_ok(["version"]);
    assert_eq!(client.job("StopUnit", CONTAINERD), "done");
    assert_eq!(client.property::<u32>(CONTAINERD, "Service", "MainPID"), 0);
    assert_eq!(client.job("StartUnit", CONTAINERD), "done");
    drop(manager);
    node.finish();
}

#[test]
fn a_second_job_cancels_the_first() {
    let node = Node::start();
    let manager = ServiceManager::start(&node);
    let client = Client::of(&manager);
    let mut jobs = Vec::new();
    for _ in 0..2 {
        let job: OwnedObjectPath = client.manager().call("RestartUnit", &(CONTAINERD, "replace")).unwrap();
        jobs.push(job);
    }
    let refused = client.manager().call::<_, _, OwnedObjectPath>("StopUnit", &(CONTAINERD, "fail"));
    assert!(refused.unwrap_err().to_string().contains("destructive"));
    wait_until(LIMIT, "both jobs", || manager.jobs().iter().all(|job| job.result.is_some()).then_some(()));
    let results: Vec<_> = manager.jobs().into_iter().filter_map(|job| job.result).collect();
    assert_eq!(results, ["canceled", "done"]);
    node.ctr_ok(["version"]);
    drop(manager);
    node.finish();
}

#[test]
fn a_timer_starts_its_service_unless_it_is_stopped_before() {
    let node = Node::start();
    let manager = ServiceManager::start(&node);
    let client = Client::of(&manager);
    let file = node.dir().join("rolled-back");
    let script = format!("echo \"$WORD $HOME\" >'{}'; echo said", file.display());

    client.arm("catamaran-rollback", Duration::from_secs(60), &script).unwrap();
    assert_eq!(client.state("catamaran-rollback.timer"), ("active".to_owned(), "waiting".to_owned()));
    let taken = client.arm("catamaran-rollback", Duration::from_secs(60), &script).unwrap_err();
    assert!(taken.to_string().contains("was already loaded"), "{taken}");
    assert_eq!(client.job("StopUnit", "catamaran-rollback.timer"), "done");
    wait_until(LIMIT, "the units to go", || manager.unit("catamaran-rollback.service").is_none().then_some(()));
    assert!(manager.unit("catamaran-rollback.timer").is_none() && !file.exists());

    let begin = Instant::now();
    client.arm("catamaran-rollback", Duration::from_secs(1), &script).unwrap();
    // The client that armed it goes away meanwhile.
    drop(client);
    let text = wait_until(LIMIT, "the service", || fs::read_to_string(&file).ok().filter(|text| text.ends_with('\n')));
    assert!(begin.elapsed() >= Duration::from_secs(1));
    assert_eq!(text, "two hulls \n", "its environment is not its caller's");
    wait_until(LIMIT, "the units to go", || manager.unit("catamaran-rollback.service").is_none().then_some(()));
    assert_eq!(manager.journal("catamaran-rollback.service"), "said\n");
    drop(manager);
    node.finish();
}

#[test]
fn a_service_that_failed_stays_until_it_is_reset() {
    let node = Node::start();
    let manager = ServiceManager::start(&node);
    let client = Client::of(&manager);
    client.arm("fails", Duration::ZERO, "exit 3").unwrap();
    // The service is failed before its job has ended and its timer is unloaded. Until then both names are taken.
    wait_until(LIMIT, "the failure", || {
        let over = manager.unit("fails.timer").is_none() && manager.jobs().iter().all(|job| job.result.is_some());
        (over && client.state("fails.service").0 == "failed").then_some(())
    });
    assert_eq!(client.property::<i32>("fails.service", "Service", "ExecMainStatus"), 3);
    let taken = client.arm("fails", Duration::ZERO, "exit 0").unwrap_err();
    assert!(taken.to_string().contains("Unit fails.service was already loaded"), "{taken}");
    let () = client.manager().call("ResetFailedUnit", &"fails.service").unwrap();
    client.arm("fails", Duration::ZERO, "exit 0").unwrap();
    wait_until(LIMIT, "the units to go", || manager.unit("fails.service").is_none().then_some(()));
    drop(manager);
    node.finish();
}

/// The messages that systemd's own tools send to its private socket.
#[test]
fn the_private_socket_answers_without_hello_and_names_the_sender() {
    let node = Node::start();
    let manager = ServiceManager::start(&node);
    let mut stream = UnixStream::connect(manager.private_socket()).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let root = "30";
    stream.write_all(format!("\0AUTH EXTERNAL {root}\r\nBEGIN\r\n").as_bytes()).unwrap();
    stream
        .write_all(
            b"l\x01\0\x01\x20\0\0\0\x01\0\0\0\xa0\0\0\0\
            \x01\x01o\0\x19\0\0\0/org/freedesktop/systemd1\0\0\0\0\0\0\0\
            \x02\x01s\0\x20\0\0\0org.freedesktop.systemd1.Manager\0\0\0\0\0\0\0\0\
            \x03\x01s\0\x08\0\0\0StopUnit\0\0\0\0\0\0\0\0\
            \x06\x01s\0\x18\0\0\0org.freedesktop.systemd1\0\0\0\0\0\0\0\0\
            \x08\x01g\0\x02ss\0\x0c\0\0\0nobody.scope\0\0\0\0\x07\0\0\0replace\0",
        )
        .unwrap();
    let mut heard = String::new();
    while !heard.contains("Unit nobody.scope not loaded.") {
        let mut bytes = [0; 4096];
        let count = stream.read(&mut bytes).unwrap();
        assert!(count > 0, "it hung up: {heard}");
        heard.push_str(&String::from_utf8_lossy(&bytes[..count]));
    }
    assert!(heard.starts_with("OK ") && heard.contains("org.freedesktop.systemd1.NoSuchUnit"), "{heard}");
    assert!(heard.contains("\x07\x01s\0\x18\0\0\0org.freedesktop.systemd1\0"), "without the sender: {heard:?}");
    drop(stream);
    drop(manager);
    node.finish();
}
