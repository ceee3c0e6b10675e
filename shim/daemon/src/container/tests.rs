//! The tables of docs/reference.md about exit codes and lines of the log.

use catamaran_cache::engine::Engine;
use catamaran_cache::order::Origin;
use catamaran_files::search::{NOT_FOUND, NOT_RUN};
use catamaran_host::child;
use catamaran_reference::{code, matches};
use catamaran_worker::EXIT_TRAPPED;
use catamaran_worker::compiler::{Tier, World};
use nix::sys::signal::Signal;
use nix::sys::wait::WaitStatus;
use nix::unistd::Pid;

use super::line::{Event, Field};
use crate::engine::choice::Reason;

fn of_signal(signal: Signal) -> u32 {
    child::exit_code(WaitStatus::Signaled(Pid::from_raw(1), signal, false))
}

#[test]
fn the_reference_has_the_exit_codes_of_containers() {
    let signal = |signal: Signal, means: &str| (of_signal(signal).to_string(), means.to_owned());
    let trapped = u32::from(EXIT_TRAPPED);
    assert_eq!((trapped, child::KILLED), (of_signal(Signal::SIGABRT), of_signal(Signal::SIGKILL)));
    let rows = [
        ("0 to 255".to_owned(), "The guest's own. A component's `run` and `exit` know 0 and 1 alone.".to_owned()),
        ("1".to_owned(), "Also of a server that cannot go on; standard error says why.".to_owned()),
        (NOT_RUN.to_string(), "Of an exec: what it names is there and cannot run; a line on standard error says why.".to_owned()),
        (NOT_FOUND.to_string(), "Of an exec: what it names is not there; a line on standard error says where it was looked for.".to_owned()),
        (
            "128".to_owned(),
            "With the reason `StartError`: the container was refused and never ran; the message says why. It is containerd's number."
                .to_owned(),
        ),
        signal(Signal::SIGINT, "Ctrl-C on the container's terminal."),
        (
            trapped.to_string(),
            "A trap, such as memory out of bounds or an exhausted stack; `abort`; or a failure of the engine's own code. The reason \
             is on standard error."
                .to_owned(),
        ),
        signal(
            Signal::SIGKILL,
            "SIGKILL: with the reason `OOMKilled` the container's memory limit, else the end of the grace period or somebody's kill.",
        ),
        signal(Signal::SIGSEGV, "SIGSEGV: of a native container, or a fault of Catamaran's own."),
        signal(Signal::SIGPIPE, "SIGPIPE, of a WASIX guest that does not handle it."),
        signal(Signal::SIGTERM, "SIGTERM, of a guest that does not handle it."),
        ("128 + n".to_owned(), "Ended by signal n, or raised it itself.".to_owned()),
        (child::LOST.to_string(), "Also an end whose code the shim could not learn; its log says so.".to_owned()),
    ];
    matches("exit codes of containers", ["code", "meaning"], rows.map(|(code, means)| [code, means]));
}

fn event(event: Event) -> &'static str {
    match event {
        Event::Created => "A container, which waits for its start.",
        Event::Executed => "An exec, which has begun.",
        Event::NotRun => "An exec that names nothing that can run; the reason follows.",
        Event::OutOfMemory => "The kernel killed in a container's cgroup because memory ran out.",
        Event::Ended => "The process of a container or an exec.",
        Event::CleanedUp => {
            "A container that containerd had removed by another process, because it took the shim for dead."
        }
    }
}

/// The values of a field, and their meaning.
fn field(field: Field) -> (String, &'static str) {
    let words = |words: &[&str]| words.iter().map(code).collect::<Vec<_>>().join(", ");
    match field {
        Field::Id => ("an id of containerd's, and `/EXEC` behind it for an exec".to_owned(), "The container or exec."),
        Field::Engine => (words(&Engine::ALL.map(Engine::word)), "The engine that runs it."),
        Field::Chosen => (
            Reason::ALL.iter().map(code).collect::<Vec<_>>().join(", "),
            "What decided on the engine: an annotation for the container alone, the pod's annotation, the module's needs, the node's \
             options, or nothing of these.",
        ),
        Field::World => {
            (words(&[World::Command, World::Http].map(World::word)), "What the process is: `http` is a server.")
        }
        Field::Listen => ("an address and a port".to_owned(), "Where a server listens."),
        Field::Module => ("a path in the container, or which layer of the image it is".to_owned(), "The module."),
        Field::Digest => ("`sha256:` and 64 digits".to_owned(), "The digest of the module's bytes."),
        Field::Artifact => (
            words(&[Origin::Hit, Origin::Shared, Origin::Compiled(0)].map(Origin::word)),
            "Where the machine code is from: the cache, another start that was compiling it, or a compile for this start.",
        ),
        Field::CompileMilliseconds => ("a number".to_owned(), "How long that compile took."),
        Field::Tier => {
            (words(&[Tier::Fast, Tier::Best].map(Tier::word)), "The code that it runs on: made quickly, or optimised.")
        }
        Field::Native => ("a path and its kind".to_owned(), "The program of a native container."),
        Field::Runtime => ("a path".to_owned(), "The runtime that made a native container, such as runc."),
        Field::Holder => {
            ("none".to_owned(), "Marks the sandbox container of a pod, which runs no program of an image.")
        }
        Field::Pid => ("a number".to_owned(), "The process, on the node."),
        Field::Code => ("a number".to_owned(), "Its [exit code](#exit-codes-of-containers)."),
        Field::Milliseconds => ("a number".to_owned(), "How long the start took in the shim."),
    }
}

#[test]
fn the_reference_has_every_event_and_field_of_the_log() {
    matches("events of the log", ["event", "meaning"], Event::ALL.iter().map(|it| [code(it), event(*it).to_owned()]));
    let fields = Field::ALL.iter().map(|it| {
        let (values, means) = field(*it);
        [code(it), values, means.to_owned()]
    });
    matches("fields of the log", ["field", "values", "meaning"], fields);
}
