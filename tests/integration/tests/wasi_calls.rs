//! Calls every function of WASI and WASIX that Wasmer has with senseless arguments: the guest gets an answer, or ends; the host does not
//! fail.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

use catamaran_harness::{Engine, Node, Task, guests};

/// The calls, a line each: module, name, the types of its parameters and result (`i` for a number of 32 bits, `l` of 64, `p` and `q`
/// for an address, `-` for none).
const TABLE: &str = include_str!("../../guests/wasix/calls.txt");
/// The number of calls to each.
const TIMES: usize = 400;
/// The seed of the arguments.
const SEED: u64 = 2;
/// Concurrent containers: each of them is idle or ending most of the time.
const AT_ONCE: usize = 16;
/// The exit code of a guest that made all its calls.
const DONE: u32 = 3;

struct Call<'t> {
    module: &'t str,
    name: &'t str,
    parameters: &'t str,
    result: &'t str,
}

fn table() -> Vec<Call<'static>> {
    let call = |line: &'static str| {
        let [module, name, parameters, result] = line.split(' ').collect::<Vec<_>>().try_into().expect(line);
        Call { module, name, parameters: parameters.trim_matches('-'), result: result.trim_matches('-') }
    };
    TABLE.lines().map(call).collect()
}

/// Descriptors of all kinds, places in memory, lengths, and numbers at the limits.
const NUMBERS: [u64; 30] = [
    0,
    1,
    2,
    3,
    4,
    5,
    6,
    7,
    8,
    9,
    10,
    11,
    12,
    13,
    14,
    15,
    16,
    30,
    64,
    1000,
    1024,
    4096,
    65_535,
    65_536,
    0x10_0000,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    1 << 32,
    u64::MAX,
];
/// Addresses of data, of empty memory, and beyond memory. All are aligned for any value, because a test build aborts on an unaligned one.
const PLACES: [u64; 14] =
    [0, 8, 512, 1024, 1040, 2048, 3072, 4096, 8192, 0xf_fff8, 0x10_0000, 0x7fff_fff8, 0x8000_0000, 0xffff_fff8];

/// A pseudo-random sequence, the same each time.
struct Sequence(u64);

impl Sequence {
    fn next(&mut self, of: &[u64]) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        of[(self.0 >> 33) as usize % of.len()]
    }
}

/// A module that opens a folder, a file, a pipe, sockets, an epoll and an event, and makes the call with arguments of `seed`.
fn module(call: &Call<'_>, seed: u64) -> String {
    let types = |letters: &str, word: &str| {
        letters
            .chars()
            .map(|letter| format!(" ({word} {})", if matches!(letter, 'l' | 'q') { "i64" } else { "i32" }))
            .collect::<String>()
    };
    let mut calls = String::new();
    let mut sequence = Sequence(seed);
    for _ in 0..TIMES {
        for letter in call.parameters.chars() {
            let number = sequence.next(if matches!(letter, 'p' | 'q') { &PLACES } else { &NUMBERS });
            let _ = match letter {
                'l' | 'q' => write!(calls, "(i64.const {})", number.cast_signed()),
                _ => write!(calls, "(i32.const {})", (number as u32).cast_signed()),
            };
        }
        let drop = if call.result.is_empty() { "" } else { " drop" };
        let _ = writeln!(calls, " call $call{drop}");
    }
    let (module, name) = (call.module, call.name);
    let (parameters, result) = (types(call.parameters, "param"), types(call.result, "result"));
    format!(
        r#"(module
        (import "{module}" "{name}" (func $call{parameters}{result}))
        (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        (import "wasi_snapshot_preview1" "path_open"
            (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
        (import "wasix_32v1" "fd_pipe" (func $pipe (param i32 i32) (result i32)))
        (import "wasix_32v1" "sock_open" (func $socket (param i32 i32 i32 i32) (result i32)))
        (import "wasix_32v1" "epoll_create" (func $epoll (param i32) (result i32)))
        (import "wasix_32v1" "fd_event" (func $event (param i64 i32 i32) (result i32)))
        (memory (export "memory") 16 16)
        (table (export "__indirect_function_table") 16 funcref)
        (elem (i32.const 1) $nothing $refers)
        (global (export "__stack_pointer") (mut i32) (i32.const 524288))
        (data (i32.const 1024) "data/file\00data/l/\00\00/data/link\00")
        (data (i32.const 2048) "\01\00\00\00\01\00\00\00\ff\ff\ff\ff\00\04\00\00\10\00\00\00\00\00\00\80")
        (data (i32.const 3072) "\ff\ff\ff\ff\ff\ff\ff\ff\ff\ff\ff\ff\ff\ff\ff\ff\ff\ff\ff\ff\ff\ff\ff\ff\ff\ff\ff\ff\ff\ff\ff\ff")
        (data (i32.const 4096) "\00\04\00\00\09\00\00\00\00\20\00\00\00\10\00\00\00\20\00\00\ff\ff\ff\ff")
        (func $nothing)
        (func $refers (param externref) (result funcref) (ref.null func))
        (func (export "_start")
            (drop (call $open (i32.const 4) (i32.const 1) (i32.const 1024) (i32.const 4) (i32.const 2)
                (i64.const -1) (i64.const -1) (i32.const 0) (i32.const 512)))
            (drop (call $open (i32.const 4) (i32.const 1) (i32.const 1024) (i32.const 9) (i32.const 1)
                (i64.const -1) (i64.const -1) (i32.const 0) (i32.const 512)))
            (drop (call $pipe (i32.const 512) (i32.const 516)))
            (drop (call $socket (i32.const 1) (i32.const 1) (i32.const 0) (i32.const 512)))
            (drop (call $socket (i32.const 1) (i32.const 2) (i32.const 0) (i32.const 512)))
            (drop (call $epoll (i32.const 512)))
            (drop (call $event (i64.const 1) (i32.const 0) (i32.const 512)))
            {calls}
            (call $exit (i32.const {DONE}))))"#
    )
}

/// Returns a guest's end; kills a guest that waits for ever.
fn ended(task: Task<'_>, limit: Duration) -> (u32, String) {
    let code = task.try_wait(limit).map(|exit| exit.code);
    let output = if code.is_ok() { task.delete() } else { task.discard() };
    (code.unwrap_or(137), output.stderr)
}

/// Whether the host failed, rather than the guest ending itself by a trap or a signal. A release build does not check sums for overflow.
fn is_the_hosts_failure(call: &Call<'_>, code: u32, text: &str) -> bool {
    let guests = text.contains("catamaran: the guest") || text.contains("with overflow");
    let signals = ["proc_raise", "proc_signal", "thread_signal"].contains(&call.name);
    !guests && (text.contains("the host failed") || (!signals && (code == 134 || code == 139)))
}

#[test]
fn no_argument_of_a_wasix_call_makes_the_host_panic() {
    let node = Node::start();
    let data = node.folder("data");
    fs::create_dir(data.join("l")).unwrap();
    std::os::unix::fs::symlink("l", data.join("link")).unwrap();
    let order = |call: &Call<'_>, seed: u64| spawn(&node, &data, call, seed);
    let mut failed = Vec::new();
    let mut done = 0;
    let seeds: Vec<_> = table().into_iter().map(|call| (call, SEED)).collect();
    for calls in seeds.chunks(AT_ONCE) {
        let tasks: Vec<_> = calls.iter().map(|(call, seed)| order(call, *seed)).collect();
        for ((call, _), task) in calls.iter().zip(tasks) {
            match task {
                Err(text) => failed.push(format!("{} {}: {text}", call.module, call.name)),
                Ok(task) => {
                    let (code, text) = ended(task, Duration::from_secs(2));
                    done += usize::from(code == DONE);
                    if is_the_hosts_failure(call, code, &text) {
                        failed.push(format!("{} {}: {code}, {text}", call.module, call.name));
                    }
                }
            }
        }
    }
    println!("{done} of {} calls were made {TIMES} times", table().len());
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    node.finish();
}

fn spawn<'n>(node: &'n Node, data: &Path, call: &Call<'_>, seed: u64) -> Result<Task<'n>, String> {
    let name = format!("{}-{}-{seed}", call.module.replace('_', "-"), call.name.replace('_', "-"));
    let module = wat::parse_str(module(call, seed)).map_err(|e| e.to_string())?;
    let task = node
        .container(&name)
        .image(&guests::of(&name, module))
        .args([format!("/{name}.wasm")])
        .engine(Engine::Wasmer)
        .bind(data, "/data", ["rbind", "rw"])
        .try_create()
        .map_err(|refused| refused.to_string())?;
    task.try_start().map_err(|refused| refused.to_string())?;
    Ok(task)
}

/// A thread's description above 2 GiB made the host fail, because a thread gets its address as a signed number.
#[test]
fn a_thread_that_is_described_high_in_memory_is_refused() {
    let node = Node::start();
    let module = r#"(module
        (import "wasix_32v1" "thread_spawn_v2" (func $spawn (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        (memory (export "memory") 33000 65536 shared)
        (func (export "wasi_thread_start") (param i32 i32))
        (func (export "_start") (call $exit (call $spawn (i32.const 0x80000010) (i32.const 512)))))"#;
    let image = guests::of("high", wat::parse_str(module).unwrap());
    let ended = node.container("high").image(&image).args(["/high.wasm"]).engine(Engine::Wasmer).to_its_end();
    // EAGAIN, in WASI's numbers.
    assert_eq!((ended.code, ended.stderr.as_str()), (6, ""), "{ended:?}");
    node.finish();
}
