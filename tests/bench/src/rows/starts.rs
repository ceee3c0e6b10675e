//! The starts of real programs, from Create to the first output, quiet and beside load.

use super::Words;

/// A program that is large to compile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Program {
    Go6,
    Go14,
    CPython,
    /// After another one on the same interpreter.
    Application,
    Go49,
}

/// A start of one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Start {
    /// With an empty cache.
    First,
    FirstBesideLoad,
    /// On the optimiser's code.
    Later,
    LaterBesideLoad,
}

impl Start {
    pub(super) fn words(self, program: Program) -> Words {
        let name = match program {
            Program::Go6 => "Go, 6 MB",
            Program::Go14 => "Go's vet, 14 MB",
            Program::CPython => "CPython",
            Program::Application => "a second application on one interpreter",
            Program::Go49 => "Go's compiler, 49 MB",
        };
        let first = match program {
            Program::Go6 => "<= 600 (Wasmer 900)",
            Program::Go14 => "<= 1500 (2200)",
            Program::CPython => "<= 1200 (1800)",
            Program::Application => "",
            Program::Go49 => "<= 5000 (7500)",
        };
        let (title, goal) = match self {
            Self::First => (format!("{name}: to first output, empty cache").into(), first),
            Self::FirstBesideLoad => ("- beside load".into(), "<= 0.5 x"),
            Self::Later => ("- later".into(), "<= 50 (80)"),
            Self::LaterBesideLoad => ("- later, beside load".into(), ""),
        };
        let decimals = usize::from(matches!(self, Self::Later | Self::LaterBesideLoad));
        Words { title, unit: "ms", decimals, goal }
    }
}
