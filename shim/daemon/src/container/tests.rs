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
        ("0 to 255".to_owned(), "The guest's own code. A component's `run` and `exit` know only 0 and 1.".to_owned()),
        ("1".to_owned(), "Also a server that cannot go on; standard error says why.".to_owned()),
        (NOT_RUN.to_string(), "An exec whose program exists but cannot run; a line on standard error says why.".to_owned()),
        (NOT_FOUND.to_string(), "An exec whose program does not exist; a line on standard error says where it was looked for.".to_owned()),
        (
            "128".to_owned(),
            "With the reason `StartError`: the container was refused and never ran; the message says why. The number is containerd's."
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
        signal(Signal::SIGSEGV, "SIGSEGV, of a native container or by a fault in Catamaran itself."),
        signal(Signal::SIGPIPE, "SIGPIPE, of a WASIX guest that does not handle it."),
        signal(Signal::SIGTERM, "SIGTERM, of a guest that does not handle it."),
        ("128 + n".to_owned(), "Signal n ended the process, or the guest raised it itself.".to_owned()),
        (child::LOST.to_string(), "Also an end whose code the shim could not learn; its log says so.".to_owned()),
    ];
    matches("exit codes of containers", ["code", "meaning"], rows.map(|(code, means)| [code, means]));
}

fn event(event: Event) -> &'static str {
    match event {
        Event::Created => "A container was created, and waits for its start.",
        Event::Executed => "An exec was started.",
        Event::NotRun => "An exec could not run; the reason follows.",
        Event::OutOfMemory => "The kernel killed in a container's cgroup because memory ran out.",
        Event::Ended => "The process of a container or an exec has ended.",
        Event::CleanedUp => "containerd took the shim for dead, and had another process remove the container.",
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
             options, or none of these.",
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
