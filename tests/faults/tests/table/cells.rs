//! The table's rows and columns.

use catamaran_harness::Engine;

/// The victim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// The program that containerd runs, up to its answer.
    Starter,
    /// The server that the start program forks, up to the end of the first Create.
    Server,
    /// The shim of a single container.
    Alone,
    /// The shim of a pod, while the pod's second container is in that step.
    Shim,
    Intermediate,
    Worker,
    /// The search in a container's tree and volumes.
    Search,
    Driver,
    Compile,
    Containerd,
    /// As [`Who::Shim`], with a native container as the second one.
    NativeShim,
    /// A command of runc.
    Runc,
    /// A native container's process.
    Native,
}

/// The moment of death.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// From containerd's exec on.
    Bootstrap,
    Create,
    /// After Create.
    Created,
    Start,
    Running,
    /// A server that gets its stop signal while it has a request under way.
    Stop,
    Kill,
    Delete,
}

/// The program of the pod's second container, and of the single container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Guest {
    /// It prints that it is ready, and sleeps.
    Command(Engine),
    /// A component that serves HTTP.
    Server,
}

impl Guest {
    const ALL: [Self; 3] = [Self::Command(Engine::Wasmtime), Self::Command(Engine::Wasmer), Self::Server];

    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Command(engine) => engine.name(),
            Self::Server => "wasmtime-http",
        }
    }

    pub(crate) fn engine(self) -> Engine {
        match self {
            Self::Command(engine) => engine,
            Self::Server => Engine::Wasmtime,
        }
    }
}

impl Who {
    pub(crate) const ALL: [Self; 13] = [
        Self::Starter,
        Self::Server,
        Self::Alone,
        Self::Shim,
        Self::Intermediate,
        Self::Worker,
        Self::Search,
        Self::Driver,
        Self::Compile,
        Self::Containerd,
        Self::NativeShim,
        Self::Runc,
        Self::Native,
    ];

    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Starter => "start program",
            Self::Server => "server, new",
            Self::Alone => "shim of one",
            Self::Shim => "shim of a pod",
            Self::Intermediate => "intermediate",
            Self::Worker => "worker",
            Self::Search => "search",
            Self::Driver => "compile driver",
            Self::Compile => "compile process",
            Self::Containerd => "containerd",
            Self::NativeShim => "shim, native",
            Self::Runc => "runc",
            Self::Native => "native process",
        }
    }

    /// The steps in which the victim exists. Commands have no Stop step, because their Kill covers it.
    pub(crate) fn steps(self, guest: Guest) -> impl Iterator<Item = Step> {
        use Step::{Bootstrap, Create, Created, Delete, Kill, Running, Start, Stop};
        let steps: &[Step] = match self {
            Self::Starter | Self::Server => &[Bootstrap],
            Self::Alone => &[Start, Stop, Kill, Delete],
            Self::Shim | Self::NativeShim | Self::Containerd => &[Create, Created, Start, Running, Stop, Kill, Delete],
            Self::Intermediate | Self::Search | Self::Driver | Self::Compile => &[Create],
            Self::Worker => &[Create, Created, Start, Running, Stop, Kill],
            Self::Runc => &[Create, Start, Delete],
            Self::Native => &[Created, Start, Running, Kill],
        };
        steps.iter().copied().filter(move |step| *step != Stop || guest == Guest::Server)
    }

    /// Whether the pod's second container is a native one.
    pub(crate) fn is_native(self) -> bool {
        matches!(self, Self::NativeShim | Self::Runc | Self::Native)
    }

    /// Whether it is the shim of a pod.
    pub(crate) fn is_pods_shim(self) -> bool {
        matches!(self, Self::Shim | Self::NativeShim)
    }

    /// Whether the victim differs with the guest's program.
    fn is_programs(self) -> bool {
        matches!(self, Self::Intermediate | Self::Worker | Self::Compile)
    }
}

impl Who {
    /// Whether the victim is killed at once: it makes no calls that belong to the step.
    pub(crate) fn dies_at_once(self, step: Step) -> bool {
        matches!(step, Step::Created | Step::Running)
            || matches!((self, step), (Self::Worker | Self::Native, Step::Kill))
    }
}

impl Step {
    #[rustfmt::skip]
    pub(crate) const ALL: [Self; 8] = [
        Self::Bootstrap, Self::Create, Self::Created, Self::Start, Self::Running, Self::Stop, Self::Kill, Self::Delete,
    ];
}

/// The extent of the trials.
pub(crate) struct Extent {
    /// Points in each step that has a length.
    pub(crate) points: usize,
    /// All rows with all guests.
    everything: bool,
    /// The only requested row, or the only guest.
    only: Option<String>,
}

impl Extent {
    /// Reads `CATAMARAN_FAULTS`: the number of points of a cell, and after a blank the only row to run, or the guest whose rows to run.
    /// Without the variable each cell has few points, and rows that are the same with every guest run with one.
    pub(crate) fn wanted() -> Self {
        const NAME: &str = "CATAMARAN_FAULTS";
        let Ok(text) = std::env::var(NAME) else { return Self { points: 2, everything: false, only: None } };
        let (points, only) = text.split_once(' ').map_or((text.as_str(), None), |(points, only)| (points, Some(only)));
        let points = points.parse().ok().filter(|points| (1..=10_000).contains(points));
        let points = points.unwrap_or_else(|| panic!("{NAME} is {text:?}: write a number of points, from 1 to 10000"));
        let mut names = Who::ALL.iter().map(|who| who.words()).chain(Guest::ALL.iter().map(|guest| guest.words()));
        let known = only.is_none_or(|only| names.any(|name| name == only));
        assert!(known, "{NAME} is {text:?}: there is no such row, and no such guest");
        Self { points, everything: true, only: only.map(str::to_owned) }
    }

    pub(crate) fn rows(&self) -> Vec<(Who, Guest)> {
        let all = Guest::ALL.into_iter().flat_map(|guest| Who::ALL.map(|who| (who, guest)));
        let wanted = |words: [&str; 2]| self.only.as_ref().is_none_or(|only| words.contains(&only.as_str()));
        all.filter(|(who, guest)| wanted([who.words(), guest.words()]))
            .filter(|(who, guest)| !who.is_native() || *guest == Guest::ALL[0])
            .filter(|(who, guest)| self.everything || who.is_programs() || *guest == Guest::ALL[0])
            .collect()
    }
}
