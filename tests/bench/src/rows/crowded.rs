//! Many at once: ten first starts of one module, and hundreds of containers or pods on a node.

use super::Words;

/// A figure of ten first starts at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Together {
    /// Of one alone.
    One,
    Ten,
    /// Ten divided by one, of the same round.
    Ratio,
}

/// A figure of a crowded node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Crowded {
    /// How many there are.
    Size,
    /// The wall time of all starts, for each.
    Starts,
    /// A start among the first tenth, from its call to its answer.
    FirstTenth,
    LastTenth,
    /// One more, before there are any.
    OneBefore,
    /// One more beside all of them.
    OneMore,
    /// One more when they are gone.
    OneAfter,
    /// A list of all.
    List,
    /// The usage of all, as a kubelet asks for it.
    Stats,
    Pss,
    Dirty,
    IdleCpu,
    /// containerd's private memory beside all of them, less that before.
    Containerd,
    /// When they are gone.
    ContainerdAfter,
    Deletes,
}

impl Together {
    pub(super) fn words(self, around: &str) -> Words {
        let (title, unit, decimals, goal) = match self {
            Self::One => (format!("a first start, 5 MB{around}: ctr run"), "ms", 0, ""),
            Self::Ten => ("- 10 at once".to_owned(), "ms", 0, ""),
            Self::Ratio => ("- 10 at once / 1".to_owned(), "", 2, "<= 1.2"),
        };
        Words { title: title.into(), unit, decimals, goal }
    }
}

impl Crowded {
    pub(super) fn words(self, what: &str) -> Words {
        let (title, unit, decimals, goal) = match self {
            Self::Size => {
                return Words { title: format!("crowded node: {what}").into(), unit: "", decimals: 0, goal: "" };
            }
            Self::Starts => ("- starts, several at a time: wall for each", "ms", 1, ""),
            Self::FirstTenth => ("- one of the first tenth", "ms", 0, ""),
            Self::LastTenth => ("- one of the last tenth", "ms", 0, "as the first"),
            Self::OneBefore => ("- one more, before them", "ms", 1, ""),
            Self::OneMore => ("- one more beside all", "ms", 1, "as before"),
            Self::OneAfter => ("- one more when they are gone", "ms", 1, "as before"),
            Self::List => ("- list", "ms", 1, ""),
            Self::Stats => ("- usage of all", "ms", 1, ""),
            Self::Pss => ("- each: PSS", "MB", 2, ""),
            Self::Dirty => ("- each: private dirty", "MB", 2, ""),
            Self::IdleCpu => ("- idle CPU of all", "% of a core", 2, ""),
            Self::Containerd => ("- containerd's private memory: more by", "MB", 1, ""),
            Self::ContainerdAfter => ("- when they are gone: more by", "MB", 1, ""),
            Self::Deletes => ("- deletes, several at a time: wall for each", "ms", 1, ""),
        };
        Words { title: title.into(), unit, decimals, goal }
    }
}
