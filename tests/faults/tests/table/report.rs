//! The printed table.

use crate::cells::{Guest, Step, Who};

/// The result of one cell.
#[derive(Default)]
pub(crate) struct Cell {
    /// The points at which the victim died.
    pub(crate) killed: usize,
    /// The points that the victim did not reach this time.
    pub(crate) missed: usize,
    /// Failures, and their places.
    pub(crate) troubles: Vec<String>,
}

pub(crate) struct Row {
    pub(crate) who: Who,
    pub(crate) guest: Guest,
    pub(crate) cells: Vec<(Step, Cell)>,
}

impl Row {
    fn cell(&self, step: Step) -> Option<&Cell> {
        self.cells.iter().find(|(own, _)| *own == step).map(|(_, cell)| cell)
    }

    /// All failures of this row.
    pub(crate) fn troubles(&self) -> Vec<String> {
        let name = |step: &Step| format!("{}, {}, {step:?}", self.who.words(), self.guest.words());
        let all = self.cells.iter();
        let mut found: Vec<String> = all
            .clone()
            .flat_map(|(step, cell)| cell.troubles.iter().map(move |t| format!("{}: {t}", name(step))))
            .collect();
        found.extend(
            all.filter(|(_, cell)| cell.killed == 0).map(|(step, _)| format!("{}: nobody was killed", name(step))),
        );
        found
    }
}

fn words(cell: Option<&Cell>) -> String {
    match cell {
        None => "-".to_owned(),
        Some(cell) if !cell.troubles.is_empty() => {
            format!("{} of {} NOT", cell.troubles.len(), cell.killed + cell.missed)
        }
        Some(cell) if cell.missed > 0 => format!("{} clean, {} missed", cell.killed, cell.missed),
        Some(cell) => format!("{} clean", cell.killed),
    }
}

/// Prints the table and its sums on standard output.
pub(crate) fn print(rows: &[Row]) {
    let mut lines = vec![vec!["who dies".to_owned(), "guest".to_owned()]];
    lines[0].extend(Step::ALL.iter().map(|step| format!("{step:?}")));
    for row in rows {
        let mut line = vec![row.who.words().to_owned(), row.guest.words().to_owned()];
        line.extend(Step::ALL.iter().map(|step| words(row.cell(*step))));
        lines.push(line);
    }
    let width = |n: usize| lines.iter().map(|line| line[n].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..lines[0].len()).map(width).collect();
    for line in &lines {
        let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        println!("{}", cells.collect::<Vec<_>>().join(" | ").trim_end());
    }
    let cells = rows.iter().flat_map(|row| &row.cells).map(|(_, cell)| cell);
    let (killed, missed) = cells.clone().fold((0, 0), |(k, m), cell| (k + cell.killed, m + cell.missed));
    let bad: usize = cells.map(|cell| cell.troubles.len()).sum();
    println!("\n{killed} deaths, {bad} of them not clean; {missed} points that the victim did not reach");
}
