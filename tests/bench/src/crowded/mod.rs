//! A crowded node: hundreds of idle containers, or pods of the CRI. The time for one more, the time to list all, and the memory that grows
//! with them.

pub(crate) mod containers;
pub(crate) mod pods;

use std::thread::sleep;
use std::time::{Duration, Instant};

use catamaran_harness::Node;

use crate::census::{self, Memory};
use crate::rows::Crowded;
use crate::samples::milliseconds;

/// How often a short operation is measured.
const AGAIN: usize = 5;
/// The time after the last start before all count as idle.
const CALM: Duration = Duration::from_secs(2);
const WINDOW: Duration = Duration::from_secs(5);

/// The figures of every crowd.
const ROWS: [Crowded; 14] = [
    Crowded::Size,
    Crowded::Starts,
    Crowded::FirstTenth,
    Crowded::LastTenth,
    Crowded::OneBefore,
    Crowded::OneMore,
    Crowded::OneAfter,
    Crowded::List,
    Crowded::Pss,
    Crowded::Dirty,
    Crowded::IdleCpu,
    Crowded::Containerd,
    Crowded::ContainerdAfter,
    Crowded::Deletes,
];

/// The figures of a crowd as they come.
type Figures = Vec<(Crowded, f64)>;

/// Takes the figures of the starts: the duration of each, and of all together (`wall`).
fn starts(durations: &[Duration], wall: Duration, figures: &mut Figures) {
    let tenth = (durations.len() / 10).max(1);
    let milliseconds_of = |some: &[Duration]| some.iter().map(|one| milliseconds(*one)).collect::<Vec<_>>();
    figures.push((Crowded::Size, durations.len() as f64));
    figures.push((Crowded::Starts, milliseconds(wall) / durations.len() as f64));
    figures.extend(milliseconds_of(&durations[..tenth]).into_iter().map(|value| (Crowded::FirstTenth, value)));
    figures.extend(
        milliseconds_of(&durations[durations.len() - tenth..]).into_iter().map(|value| (Crowded::LastTenth, value)),
    );
}

/// Measures the memory and CPU time of the processes of `size` idle containers or pods.
fn idle(processes: &[u32], size: usize, figures: &mut Figures) {
    sleep(CALM);
    let ran = || processes.iter().map(|pid| census::deeds(*pid).nanoseconds).sum::<u64>();
    let (before, begin) = (ran(), Instant::now());
    sleep(WINDOW);
    let busy = (ran() - before) as f64 / 1e9;
    figures.push((Crowded::IdleCpu, 100.0 * busy / begin.elapsed().as_secs_f64()));
    let all = processes.iter().fold(Memory::default(), |sum, pid| {
        let memory = census::memory(*pid);
        Memory { pss: sum.pss + memory.pss, dirty: sum.dirty + memory.dirty }
    });
    figures.push((Crowded::Pss, all.pss / size as f64));
    figures.push((Crowded::Dirty, all.dirty / size as f64));
}

/// Measures something several times.
fn again(figure: Crowded, figures: &mut Figures, mut measure: impl FnMut(usize) -> Duration) {
    figures.extend((0..AGAIN).map(|number| (figure, milliseconds(measure(number)))));
}

/// How long something takes.
fn timed(work: impl FnOnce()) -> Duration {
    let begin = Instant::now();
    work();
    begin.elapsed()
}

/// containerd's private memory in MB.
fn containerd(node: &Node) -> f64 {
    census::memory(node.containerd_pid()).dirty
}
