//! Servers: one component on ours, under `wasmtime serve` and on another shim, and the same answers natively in Rust and Go. A component of
//! WASI 0.3 runs too, on ours and under `wasmtime serve`.
//!
//! ```text
//! contender's turn: container -> first answer -> idle -> each work at 1, 64 and 256 connections -> overload -> end
//!                      |                            |- client: in the container's network namespace
//!                      |                            '- upstream, for outgoing requests: a native server in the same namespace
//!                      '- all servers that are not ours run on runc, `wasmtime serve` too
//! ```
//!
//! A time limit costs checks of epochs, so like is compared with like: `catamaran` and `serve` end a request that takes too long, `without
//! limit` and `serve, without` do not.

mod client;
pub(crate) mod native;
mod rows;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use catamaran_harness::{Container, Image, Node, PATIENCE, Runtime, guests, provided_by};

use crate::account::{Account, Member};
use crate::contender::Contender;
use crate::crowd::crowd;
use crate::plan::Plan;
use crate::samples::{Samples, Side, milliseconds};
use crate::{census, compiles, start};
use client::Load;
use native::Upstream;
use rows::{Figure, Overload, Work};

pub(crate) use rows::ServerRow;

/// The port of all of them.
const PORT: u16 = 8080;
/// The port of the native server that a guest's own requests go to.
const UPSTREAM_PORT: u16 = 8081;
const CONNECTIONS: [usize; 3] = [1, 64, 256];
/// Concurrent connections, ten times the limit that our server gets.
const OVERLOAD: usize = 640;
const HANDLED: &str = "64";
const MOST_REQUESTS: &str = "catamaran.wasm/http-max-concurrent-requests";
/// The duration of one load.
const TIME: Duration = Duration::from_secs(3);
/// The time before a load counts.
const WARM_UP: Duration = Duration::from_millis(500);
/// The time after the start of servers before they count as idle.
const CALM: Duration = Duration::from_secs(2);
/// The number of idle servers, and how many of them start at a time.
const IDLE: usize = 20;
const AT_A_TIME: usize = 4;
/// The number of starts of compiled code in a round.
const WARM_STARTS: usize = 3;
/// The rows of a server's starts.
const STARTS: [ServerRow; 4] = [ServerRow::Cold, ServerRow::Warm, ServerRow::IdlePss, ServerRow::IdlePssAll];

/// One of the servers that take turns.
pub(crate) struct Server<'c> {
    pub(crate) name: String,
    image: Image,
    kind: Kind<'c>,
    /// The loads on it.
    works: &'static [Work],
}

enum Kind<'c> {
    /// Ours, with these annotations.
    Ours(Vec<(&'static str, &'static str)>),
    /// On another shim.
    Versus(&'c Contender),
    /// A native program on runc.
    Native,
}

impl<'c> Server<'c> {
    /// All of them, ours first.
    pub(crate) fn all(contenders: &'c [Contender]) -> Vec<Self> {
        let component = guests::http("server");
        let of_component = Image::new("server-wasm").file("/server.wasm", &component).entrypoint(["/server.wasm"]);
        let component_3 = guests::http_3("service", "0.3.0");
        let of_component_3 =
            Image::new("service-wasm").file("/service.wasm", &component_3).entrypoint(["/service.wasm"]);
        let one = |name: &str, image, kind, works| Self { name: name.to_owned(), image, kind, works };
        let ours = |name, image: &Image, annotations, works| one(name, image.clone(), Kind::Ours(annotations), works);
        let native = |name, image, works| one(name, image, Kind::Native, works);
        let unlimited = vec![("catamaran.wasm/http-request-timeout", "none")];
        let limit = ["-W", "timeout=60s"];
        let limit_3 = ["-W", "timeout=60s", "-S", "p3=y"];
        let mut all = vec![
            ours("catamaran", &of_component, Vec::new(), Work::ALL),
            ours("without limit", &of_component, unlimited, Work::ALL),
            ours("catamaran 0.3", &of_component_3, Vec::new(), Work::OF_WASI_3),
            native("serve", serve("serve-60s", &component, &limit), Work::ALL),
            native("serve, without", serve("serve-none", &component, &[]), Work::ALL),
            native("serve 0.3", serve("serve-3", &component_3, &limit_3), Work::OF_WASI_3),
            native("hyper", hyper(), Work::NATIVE),
            native("Go", go(), Work::NATIVE),
        ];
        // If the other shim cannot run the component, its turns fail with its own error.
        let versus = contenders.iter().filter(|contender| contender.is_another_shim());
        all.extend(
            versus.map(|contender| one(&contender.name, of_component.clone(), Kind::Versus(contender), Work::ALL)),
        );
        all
    }

    pub(crate) fn is_ours(&self) -> bool {
        matches!(self.kind, Kind::Ours(_))
    }

    fn side(&self) -> Side<'_> {
        Side { name: &self.name, is_ours: self.is_ours() }
    }

    fn container<'n>(&self, node: &'n Node, what: &str, number: usize) -> Container<'n> {
        let name: String = self.name.chars().filter(char::is_ascii_alphanumeric).collect();
        let id = format!("bench-server-{name}-{what}-{number}");
        match &self.kind {
            Kind::Ours(annotations) => annotations
                .iter()
                .fold(node.container(&id).runtime(Runtime::Catamaran), |order, (key, value)| {
                    order.annotation(key, value)
                })
                .image(&self.image),
            Kind::Versus(contender) => contender.container(node, &id, &self.image),
            Kind::Native => node.container(&id).runtime(Runtime::Runc).image(&self.image),
        }
    }
}

/// `wasmtime serve` with these options and a pool like ours; it compiles the component when it starts.
fn serve(name: &str, component: &[u8], options: &[&str]) -> Image {
    let value = provided_by(&Path::new(env!("CARGO_MANIFEST_DIR")).join("provision-serve"));
    let program = read(Path::new(&value("wasmtime")));
    let mut words = vec!["/wasmtime", "serve", "--addr", "0.0.0.0:8080"];
    // The adapter's imports are of the command world.
    words.extend(["-O", "pooling-allocator=y", "-S", "cli=y"]);
    words.extend(options);
    words.push("/server.wasm");
    Image::new(name).file("/wasmtime", program).file("/server.wasm", component).entrypoint(words)
}

/// This program, which is static, as a server.
fn hyper() -> Image {
    let program = read(&std::env::current_exe().expect("this program has a path"));
    Image::new("hyper-native").file("/bench", program).entrypoint(["/bench", native::WORD, &PORT.to_string()])
}

fn go() -> Image {
    Image::new("go-native").file("/server", guests::go_native("server")).entrypoint(["/server"])
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Measures the rows of servers.
pub(crate) fn measure(
    node: &Node,
    account: &Account<'_>,
    servers: &[Server<'_>],
    plan: &Plan,
    samples: &mut Samples<ServerRow>,
) {
    for round in 0..plan.servers {
        for server in servers {
            eprintln!("servers {} of {}: {}", round + 1, plan.servers, server.name);
            account.turn(samples, server.side(), &STARTS, || starts(node, account, server, round));
        }
        for &work in Work::ALL {
            for connections in CONNECTIONS {
                for server in servers.iter().filter(|server| server.works.contains(&work)) {
                    eprintln!("servers {} of {}: {}, {work}, {connections}", round + 1, plan.servers, server.name);
                    let of_load = Figure::ALL.map(|figure| ServerRow::Load(work, connections, figure));
                    account.turn(samples, server.side(), &of_load, || {
                        loaded(node, account, server, (round, work, connections))
                    });
                }
            }
        }
        for server in servers {
            eprintln!("servers {} of {}: {}, overload", round + 1, plan.servers, server.name);
            let of_overload = Overload::ALL.map(ServerRow::Overload);
            account.turn(samples, server.side(), &of_overload, || overloaded(node, server, round));
        }
    }
}

/// Measures the time from Create, including the shim's start, to the first answer, and the memory of idle servers.
fn starts(node: &Node, account: &Account<'_>, server: &Server<'_>, round: usize) -> Vec<(ServerRow, f64)> {
    let mut figures = Vec::new();
    node.import(&server.image);
    if server.is_ours() {
        compiles::empty_the_cache(node);
    }
    for number in 0..=WARM_STARTS {
        let (task, create) = start::create(node, &server.container(node, "start", round * (WARM_STARTS + 1) + number));
        let begin = Instant::now();
        task.start();
        let answered = create + (task.within(|| client::first_answer(PORT, PATIENCE)) - begin);
        figures.push((if number == 0 { ServerRow::Cold } else { ServerRow::Warm }, milliseconds(answered)));
        task.discard();
        account.settle();
    }
    let tasks = crowd(IDLE, AT_A_TIME, |number| server.container(node, "idle", round * IDLE + number).spawn());
    // All of them listen by then.
    std::thread::sleep(CALM);
    figures.push((ServerRow::IdlePss, pss(account, false) / IDLE as f64));
    figures.push((ServerRow::IdlePssAll, pss(account, true) / IDLE as f64));
    tasks.into_iter().for_each(|task| drop(task.discard()));
    figures
}

/// The memory of all containers' processes, in MB, with the shims' or without.
fn pss(account: &Account<'_>, with_shim: bool) -> f64 {
    let counted = account.members().into_iter().filter_map(|member| match member {
        Member::Container(pid) => Some(pid),
        Member::Shim(pid) => with_shim.then_some(pid),
    });
    counted.map(|pid| census::memory(pid).pss).sum()
}

fn loaded(
    node: &Node,
    account: &Account<'_>,
    server: &Server<'_>,
    (round, work, connections): (usize, Work, usize),
) -> Vec<(ServerRow, f64)> {
    let mut order = server.container(node, &format!("load-{}-{connections}", work.word()), round);
    if server.is_ours() {
        // As many as `wasmtime serve` takes.
        order = order.annotation(MOST_REQUESTS, "1000");
    }
    let task = order.spawn();
    let upstream = (work == Work::Outgoing).then(|| task.within(|| Upstream::start(UPSTREAM_PORT)));
    task.within(|| {
        client::first_answer(PORT, PATIENCE);
        client::load(work, connections, WARM_UP);
    });
    let before = account.cpu_of(task.id());
    let (load, pss) = task.within(|| {
        let load = client::load(work, connections, TIME);
        (load, pss(account, false))
    });
    let used = account.cpu_of(task.id()) - before;
    // A peer's failures are shown in the table instead.
    assert!(
        !server.is_ours() || load.not_answered() == 0.0,
        "{}: of {work} {} % failed",
        server.name,
        load.not_answered()
    );
    let figure = |figure, value| (ServerRow::Load(work, connections, figure), value);
    let mut figures = vec![
        figure(Figure::PerProcessorSecond, load.answered.len() as f64 / used.as_secs_f64()),
        figure(Figure::PerSecond, load.per_second()),
        figure(Figure::NotAnswered, load.not_answered()),
        figure(Figure::P50, milliseconds(load.quantile(0.5))),
        figure(Figure::P99, milliseconds(load.quantile(0.99))),
    ];
    if (work, connections) == (Work::Hello, 64) {
        figures.push((ServerRow::LoadedPss, pss));
    }
    // The turn waits for every process of the node's cgroup, and upstream is one of them.
    drop(upstream);
    task.discard();
    figures
}

fn overloaded(node: &Node, server: &Server<'_>, round: usize) -> Vec<(ServerRow, f64)> {
    let mut order = server.container(node, "overload", round);
    if server.is_ours() {
        order = order.annotation(MOST_REQUESTS, HANDLED);
    }
    let task = order.spawn();
    let load: Load = task.within(|| {
        client::first_answer(PORT, PATIENCE);
        client::load(Work::Hello, OVERLOAD, TIME)
    });
    assert!(
        !server.is_ours() || load.failed == 0,
        "{}: {} failed under overload: {:?}",
        server.name,
        load.failed,
        load.failure
    );
    // With SIGKILL, as everywhere here, because not every server ends on SIGTERM.
    task.discard();
    vec![
        (ServerRow::Overload(Overload::PerSecond), load.per_second()),
        (ServerRow::Overload(Overload::P99), milliseconds(load.quantile(0.99))),
        (ServerRow::Overload(Overload::NotAnswered), load.not_answered()),
    ]
}
