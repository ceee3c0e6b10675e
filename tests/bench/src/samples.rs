//! The figures, by row and contender.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::contender::Contender;
use crate::rows::Row;

/// Every sample, in the order of measuring.
pub(crate) struct Samples<R = Row>(BTreeMap<R, BTreeMap<String, Vec<f64>>>);

impl<R> Default for Samples<R> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl Samples {
    /// Adds a sample.
    pub(crate) fn add(&mut self, row: Row, contender: &Contender, value: f64) {
        self.add_of(row, &contender.name, value);
    }
}

impl<R: Copy + Ord> Samples<R> {
    /// Adds a sample of the contender of this name.
    pub(crate) fn add_of(&mut self, row: R, contender: &str, value: f64) {
        self.0.entry(row).or_default().entry(contender.to_owned()).or_default().push(value);
    }

    /// The rows that have samples.
    pub(crate) fn rows(&self) -> impl Iterator<Item = R> + '_ {
        self.0.keys().copied()
    }

    /// The median of a contender in a row; None without samples.
    pub(crate) fn median(&self, row: R, contender: &str) -> Option<f64> {
        median(self.0.get(&row)?.get(contender)?)
    }

    /// All samples of a row, by contender.
    pub(crate) fn of(&self, row: R) -> &BTreeMap<String, Vec<f64>> {
        &self.0[&row]
    }
}

fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    let lower = sorted[(sorted.len() - 1) / 2];
    Some(f64::midpoint(lower, upper))
}

/// A duration in the rows' unit.
pub(crate) fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn medians() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[4.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }
}
