//! Runs rows in containers, and turns their output into outcomes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use catamaran_attacks::Outcome;
use catamaran_attacks::rows::{
    self, EXECUTED, MOST_MEMORY, MOST_PROCESSES, REUSE_WITH_REQUESTS, REUSE_WITH_SOCKETS, Row, Shape, TOLD, WAIT, When,
};
use catamaran_harness::procfs::parent;
use catamaran_harness::{Container, Image, Output, Task};
use serde_json::{Value, json};

use crate::Outcomes;
use crate::world::World;

/// An attack that takes longer counts as hung.
const LIMIT: Duration = Duration::from_secs(30);

/// The port of a server without an address, and the annotation for the address.
const PORT: u16 = 8080;
const LISTEN: &str = "catamaran.wasm/http-listen";
const REUSE: &str = "catamaran.wasm/http-instance-reuse";

/// The kind of process that attacks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    /// The container's own process.
    First,
    /// An exec in it.
    Exec {
        /// Whether our filter of system calls is on.
        filtered: bool,
    },
}

/// A row that an exec does not run without the filter: not being the first process of its pid namespace, it could make a child of the shim
/// that is never reaped, and the container would not end.
const ORPHANS_TO_THE_SHIM: &str = "clone: the shim as its parent";

/// Runs every row that attacks in the guest's place. A process runs rows until one ends it; the next process runs the rest.
pub(crate) fn batches(world: &World<'_>, image: &Image, by: By) -> Outcomes {
    let mut outcomes = Outcomes::new();
    let all = rows::all();
    let possible = |row: &&Row| match by {
        By::First => true,
        // An exec is no server, whatever the container is.
        By::Exec { filtered } => (filtered || row.name != ORPHANS_TO_THE_SHIM) && !serves(row.shape),
    };
    let after = || all.iter().filter(|row| row.when == When::AfterStart).filter(possible);
    for shape in after().map(|row| row.shape).collect::<BTreeSet<_>>() {
        let (single, many): (Vec<&Row>, Vec<&Row>) =
            after().filter(|row| row.shape == shape).partition(|row| row.alone);
        for row in single {
            outcomes.extend(batch(world, image, shape, by, &[row.name]));
        }
        let mut names: Vec<&str> = many.iter().map(|row| row.name).collect();
        while !names.is_empty() {
            let got = batch(world, image, shape, by, &names);
            assert!(!got.is_empty(), "no attack of {names:?} began");
            names.retain(|name| !got.contains_key(*name));
            outcomes.extend(got);
        }
    }
    outcomes
}

fn batch(world: &World<'_>, image: &Image, shape: Shape, by: By, names: &[&str]) -> Outcomes {
    let (ended, output) = match by {
        By::First => first(world, image, shape, names),
        By::Exec { .. } => executed(world, image, shape, names),
    };
    let mut outcomes = BTreeMap::new();
    let mut begun = None;
    for line in output.stdout.lines() {
        if let Some(name) = line.strip_prefix("> ") {
            begun = Some(name.to_owned());
        } else if let Some(outcome) = line.strip_prefix("= ").and_then(Outcome::parse) {
            outcomes.insert(begun.take().expect("an outcome of nothing"), outcome);
        }
    }
    if let Some(name) = begun {
        let outcome = if !ended {
            Outcome::Open(format!("hangs for more than {LIMIT:?}"))
        } else if output.stdout.lines().any(|line| line == EXECUTED) {
            Outcome::Open("the program ran".to_owned())
        } else {
            death(output.code)
        };
        outcomes.insert(name, outcome);
    } else {
        assert_eq!(output.code, 0, "{output:?}");
    }
    outcomes
}

fn first(world: &World<'_>, image: &Image, shape: Shape, names: &[&str]) -> (bool, Output) {
    let task = order(world, image, shape, names).create();
    tell(world, &task);
    // The server has listened since Create. The client stays connected until the attack is over.
    let _client = matches!(shape, Shape::Server | Shape::SocketServer | Shape::RequestingServer)
        .then(|| task.within(|| TcpStream::connect((Ipv4Addr::LOCALHOST, PORT)).unwrap()));
    task.start();
    let ended = task.try_wait(LIMIT).is_ok();
    (ended, if ended { task.delete() } else { task.discard() })
}

/// Whether the row's worker is a server's.
fn serves(shape: Shape) -> bool {
    matches!(shape, Shape::Server | Shape::SocketServer | Shape::RequestingServer | Shape::HostServer)
}

fn executed(world: &World<'_>, image: &Image, shape: Shape, names: &[&str]) -> (bool, Output) {
    let task = order(world, image, shape, &[WAIT]).create();
    tell(world, &task);
    task.start();
    task.expect_stdout("waiting\n");
    // The container's own arguments start the attacker.
    let exec = task.further("attack").args(["/attack.wasm"].iter().chain(names)).spawn();
    let ended = exec.try_wait(LIMIT).is_ok();
    if !ended {
        exec.try_kill(9).unwrap();
        exec.wait(LIMIT);
    }
    let output = exec.delete();
    assert_eq!(task.state(), catamaran_harness::State::Running, "an exec has ended its container: {names:?}");
    task.discard();
    (ended, output)
}

/// The meaning of the exit code of a container whose attack did not return.
fn death(code: i32) -> Outcome {
    let names =
        [(132, "SIGILL"), (134, "SIGABRT"), (135, "SIGBUS"), (137, "SIGKILL"), (139, "SIGSEGV"), (159, "SIGSYS")];
    match names.iter().find(|(number, _)| *number == code) {
        Some((_, signal)) => Outcome::Denied(format!("killed: {signal}")),
        None => Outcome::Open(format!("the process ended with {code}")),
    }
}

/// A container in which these attacks run.
pub(crate) fn order<'n>(world: &World<'n>, image: &Image, shape: Shape, names: &[&str]) -> Container<'n> {
    let program = if serves(shape) { "/server.wasm" } else { "/attack.wasm" };
    let args = std::iter::once(program).chain(names.iter().copied());
    let mut order = world
        .container()
        .image(image)
        .args(args)
        .limit(LIMIT)
        .bind(std::path::Path::new("/"), "/host", ["rbind", "rro"])
        .bind(&world.folder("data"), "/data", ["rbind", "rw"])
        .bind(&world.folder("ro"), "/ro", ["rbind", "ro"])
        .bind(&world.folder("bound"), "/etc/bound", ["rbind", "ro"])
        .bind(&world.folder("told"), "/told", ["rbind", "ro"]);
    for (name, value) in world.told() {
        order = order.env(&name, &value);
    }
    match shape {
        Shape::Plain => order,
        Shape::User => order.user("1000:1000"),
        Shape::ReadOnly => order.read_only(),
        Shape::HostPid => order.spec(|spec| without_namespace(spec, "pid")),
        Shape::HostNet => order.spec(|spec| without_namespace(spec, "network")),
        Shape::HostIpc => order.spec(|spec| without_namespace(spec, "ipc")),
        Shape::Limits => order.memory(MOST_MEMORY).spec(|spec| {
            spec["linux"]["resources"]["pids"] = json!({ "limit": MOST_PROCESSES });
        }),
        Shape::Server => order,
        Shape::SocketServer => order.annotation(REUSE, &REUSE_WITH_SOCKETS.to_string()),
        Shape::RequestingServer => order.annotation(REUSE, &REUSE_WITH_REQUESTS.to_string()),
        // At a free port, because others listen in the host's network too.
        Shape::HostServer => order.annotation(LISTEN, &free_port().to_string()).spec(|spec| {
            without_namespace(spec, "network");
            for set in ["bounding", "effective", "permitted", "inheritable", "ambient"] {
                spec["process"]["capabilities"][set] =
                    json!(["CAP_NET_BIND_SERVICE", "CAP_NET_ADMIN", "CAP_SYS_ADMIN"]);
            }
        }),
    }
}

fn free_port() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr()).unwrap()
}

fn without_namespace(spec: &mut Value, kind: &str) {
    let namespaces = spec["linux"]["namespaces"].as_array_mut().unwrap();
    let count = namespaces.len();
    namespaces.retain(|namespace| namespace["type"] != kind);
    assert_eq!(namespaces.len(), count - 1, "the spec has no {kind} namespace to take away");
}

/// Gives the attacker the values that are known only after Create.
fn tell(world: &World<'_>, task: &Task<'_>) {
    let shim = parent(task.pid());
    let memory = crate::world::writable_memory(shim);
    let file = world.folder("told").join(TOLD.rsplit('/').next().unwrap());
    fs::write(file, format!("SHIM={shim}\nSHIM_MEMORY={memory}\n")).unwrap();
}
