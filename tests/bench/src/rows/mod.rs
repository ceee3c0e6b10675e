//! The measurements, one row each, with the project's goal if this run can check it.

mod crowded;
mod starts;

use std::borrow::Cow;

use catamaran_bench::programs::work::Work;
use serde::Serialize;

pub(crate) use crowded::{Crowded, Together};
pub(crate) use starts::{Program, Start};

/// A row of the table. The order here is the table's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Row {
    HelloWall,
    Create,
    FirstOutput,
    HelloCpu,
    TwentyStarts,
    Pss,
    PssShim,
    PssContainer,
    Dirty,
    DirtyShim,
    DirtyContainer,
    Processes,
    Threads,
    IdleCpu,
    WakeUps,
    ToOutput(Program, Start),
    SmallFileFirst,
    SmallFileLater,
    SmallLayerFirst,
    SmallLayerLater,
    MiddleFileFirst,
    MiddleFileLater,
    MiddleLayerFirst,
    MiddleLayerLater,
    LargeFileFirst,
    LargeFileLater,
    LargeLayerFirst,
    LargeLayerLater,
    Stampede(Together),
    StampedeBesideLoad(Together),
    StampedeCompiles,
    CodePss,
    CodeDirty,
    Compute(Work),
    PodPss,
    PodShim,
    PodSandbox,
    PodContainer,
    Containers(Crowded),
    Pods(Crowded),
}

/// A row in words.
#[derive(Serialize)]
pub(crate) struct Words {
    pub(crate) title: Cow<'static, str>,
    pub(crate) unit: &'static str,
    #[serde(skip)]
    pub(crate) decimals: usize,
    /// Empty if there is none. `x` stands for the other shim's figure.
    pub(crate) goal: &'static str,
}

/// A measurement with a row of its own.
pub(crate) trait InWords: Copy + Ord {
    /// The row in words.
    fn words(self) -> Words;
}

impl InWords for Row {
    fn words(self) -> Words {
        let (title, unit, decimals, goal) = match self {
            Self::HelloWall => ("hello, ctr run --rm: wall", "ms", 1, "<= 0.65 x"),
            Self::Create => ("- shim start and Create", "ms", 1, "<= 15, <= 0.3 x"),
            Self::FirstOutput => ("- Start to first output", "ms", 2, "<= 2"),
            Self::HelloCpu => ("- CPU of the whole run", "ms", 1, "<= 0.5 x"),
            Self::TwentyStarts => ("20 starts, 8 at a time", "ms", 0, "<= 400 (1 s for 50)"),
            Self::Pss => ("idle container of 20: PSS", "MB", 2, "<= 1.2 (of 50)"),
            Self::PssShim => ("- shim", "MB", 2, ""),
            Self::PssContainer => ("- in the container", "MB", 2, ""),
            Self::Dirty => ("idle container of 20: private dirty", "MB", 2, ""),
            Self::DirtyShim => ("- shim", "MB", 2, ""),
            Self::DirtyContainer => ("- in the container", "MB", 2, ""),
            Self::Processes => ("processes a container", "", 1, "2 (3 a CRI pod)"),
            Self::Threads => ("threads a container", "", 1, ""),
            Self::IdleCpu => ("idle CPU of 20", "% of a core", 3, "<= 0.1 (of 50)"),
            Self::WakeUps => ("wake-ups of 20", "1/s", 1, ""),
            Self::ToOutput(program, start) => return start.words(program),
            Self::SmallFileFirst => ("module of 0.1 MB, a file: Create, empty cache", "ms", 0, ""),
            Self::SmallFileLater => ("- Create, later", "ms", 1, "<= 60"),
            Self::SmallLayerFirst => ("- a layer: Create, empty cache", "ms", 0, ""),
            Self::SmallLayerLater => ("- Create, later", "ms", 1, "<= 60"),
            Self::MiddleFileFirst => ("module of 5 MB, a file: Create, empty cache", "ms", 0, ""),
            Self::MiddleFileLater => ("- Create, later", "ms", 1, "<= 60"),
            Self::MiddleLayerFirst => ("- a layer: Create, empty cache", "ms", 0, ""),
            Self::MiddleLayerLater => ("- Create, later", "ms", 1, "<= 60"),
            Self::LargeFileFirst => ("module of 50 MB (10 of code), a file: Create, empty cache", "ms", 0, ""),
            Self::LargeFileLater => ("- Create, later", "ms", 1, "<= 60"),
            Self::LargeLayerFirst => ("- a layer: Create, empty cache", "ms", 0, ""),
            Self::LargeLayerLater => ("- Create, later", "ms", 1, "<= 60"),
            Self::Stampede(together) => return together.words(""),
            Self::StampedeBesideLoad(together) => return together.words(" beside load"),
            Self::StampedeCompiles => ("10 at once: compiles, the optimiser's too", "", 0, "2"),
            Self::CodePss => ("15 MB module, 20 idle: PSS in the container", "MB", 2, ""),
            Self::CodeDirty => ("- private dirty in the container", "MB", 2, ""),
            Self::Compute(work) => (work.title(), "ms", 1, ""),
            Self::PodPss => ("idle pod of 20 by CRI, one container: PSS", "MB", 2, ""),
            Self::PodShim => ("- shim", "MB", 2, ""),
            Self::PodSandbox => ("- holder, runc's: pause", "MB", 3, ""),
            Self::PodContainer => ("- container", "MB", 2, ""),
            Self::Containers(figure) => return figure.words("containers"),
            Self::Pods(figure) => return figure.words("pods by CRI"),
        };
        Words { title: title.into(), unit, decimals, goal }
    }
}
