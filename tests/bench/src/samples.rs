//! The figures, by row and contender, and the turns that failed.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use catamaran_bench::median;

use crate::rows::Row;

/// Every sample, in the order of measuring.
pub(crate) struct Samples<R = Row> {
    values: BTreeMap<R, BTreeMap<String, Vec<f64>>>,
    failures: BTreeMap<R, BTreeMap<String, usize>>,
}

impl<R> Default for Samples<R> {
    fn default() -> Self {
        Self { values: BTreeMap::new(), failures: BTreeMap::new() }
    }
}

/// A contender's column and side, for its turns.
#[derive(Clone, Copy)]
pub(crate) struct Side<'a> {
    /// Its column.
    pub(crate) name: &'a str,
    pub(crate) is_ours: bool,
}

impl<R: Copy + Ord> Samples<R> {
    /// Runs one turn of a contender, keeps its figures, and returns whether it succeeded. A peer's failed turn counts as failed in each of
    /// `rows`.
    ///
    /// # Panics
    /// When a turn of our own fails.
    pub(crate) fn turn(&mut self, side: Side<'_>, rows: &[R], work: impl FnOnce() -> Vec<(R, f64)>) -> bool {
        let figures = if side.is_ours { Ok(work()) } else { catch_unwind(AssertUnwindSafe(work)) };
        let Ok(figures) = figures else {
            eprintln!("a turn of {} failed: see above", side.name);
            for row in rows {
                *self.failures.entry(*row).or_default().entry(side.name.to_owned()).or_default() += 1;
            }
            return false;
        };
        for (row, value) in figures {
            self.values.entry(row).or_default().entry(side.name.to_owned()).or_default().push(value);
        }
        true
    }

    /// The rows that have samples or failures.
    pub(crate) fn rows(&self) -> Vec<R> {
        let mut rows: Vec<R> = self.values.keys().chain(self.failures.keys()).copied().collect();
        rows.sort();
        rows.dedup();
        rows
    }

    /// The median of a contender in a row; None without samples.
    pub(crate) fn median(&self, row: R, contender: &str) -> Option<f64> {
        median(self.values.get(&row)?.get(contender)?)
    }

    /// How many turns of a contender failed in a row of the table, and the number of its figures and failures together.
    pub(crate) fn failed(&self, row: R, contender: &str) -> (usize, usize) {
        let failed = self.failures.get(&row).and_then(|all| all.get(contender)).copied().unwrap_or(0);
        let figures = self.values.get(&row).and_then(|all| all.get(contender)).map_or(0, Vec::len);
        (failed, figures + failed)
    }

    /// Whether a turn failed.
    pub(crate) fn any_failed(&self) -> bool {
        !self.failures.is_empty()
    }

    /// All samples of a row, by contender.
    pub(crate) fn values_of(&self, row: R) -> BTreeMap<String, Vec<f64>> {
        self.values.get(&row).cloned().unwrap_or_default()
    }

    /// The failures of a row, by contender.
    pub(crate) fn failures_of(&self, row: R) -> BTreeMap<String, usize> {
        self.failures.get(&row).cloned().unwrap_or_default()
    }
}

/// A duration in the rows' unit.
pub(crate) fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::{Samples, Side, median};

    const PEER: Side<'_> = Side { name: "peer", is_ours: false };

    #[test]
    fn a_peer_that_fails_is_counted_and_the_run_goes_on() {
        let mut samples = Samples::default();
        assert!(samples.turn(PEER, &[1, 2], || vec![(1, 3.0), (2, 5.0)]));
        assert!(!samples.turn(PEER, &[1, 2], || panic!("this panic is part of a test that passes")));
        assert!(samples.turn(PEER, &[1], || vec![(1, 4.0)]));
        assert_eq!((samples.median(1, "peer"), samples.failed(1, "peer")), (Some(3.5), (1, 3)));
        assert_eq!((samples.median(2, "peer"), samples.failed(2, "peer")), (Some(5.0), (1, 2)));
        assert!(!samples.turn(PEER, &[3], || panic!("this one too")));
        assert_eq!((samples.rows(), samples.median(3, "peer")), (vec![1, 2, 3], None));
    }

    #[test]
    #[should_panic(expected = "ours failed")]
    fn a_failure_of_our_own_ends_the_run() {
        let ours = Side { name: "ours", is_ours: true };
        Samples::default().turn(ours, &[1], || panic!("ours failed"));
    }

    #[test]
    fn the_median_of_an_even_number_of_samples_is_between_the_middle_two() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[4.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }
}
