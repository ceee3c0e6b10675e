//! The report as a table.

use crate::report::{Report, Table};
use crate::rows::InWords;

/// Prints it.
pub(crate) fn print(report: &Report) {
    let machine = &report.machine;
    let containerd = report.versions.get("containerd").map(String::as_str).unwrap_or_default();
    println!(
        "{}: {}, {} cores, Linux {}, containerd {containerd}",
        report.date, machine.cpu, machine.cores, machine.kernel
    );
    println!("medians of one interleaved run; Catamaran's build: {}", report.build);
    println!("\"/ NAME\": the first column divided by NAME's; a goal in \"x\" limits this ratio to another Wasm shim");
    if report.build != "release" {
        println!("NOT a release build: these figures are for developing only");
    }
    println!();
    print_rows(&report.shims);
    print_rows(&report.servers);
}

fn print_rows<R: InWords>(table: &Table<R>) {
    let mut lines = vec![head(table)];
    lines.extend(table.samples.rows().into_iter().map(|row| line(table, row)));
    if lines.len() == 1 {
        return;
    }
    for text in aligned(&lines) {
        println!("{text}");
    }
    println!();
}

/// The ratios of each of our columns to each of the others. A ratio's title omits the name of our first column.
fn ratios<R: InWords>(table: &Table<R>) -> Vec<(&String, &String, String)> {
    let (ours, others) = table.contenders.split_at(table.ours);
    let ratio = |(place, own): (usize, &'_ String), other: &String| match place {
        0 => format!("/ {other}"),
        _ => format!("{own} / {other}"),
    };
    ours.iter()
        .enumerate()
        .flat_map(|(place, own)| others.iter().map(move |other| (own, other, ratio((place, own), other))))
        .collect()
}

fn head<R: InWords>(table: &Table<R>) -> Vec<String> {
    let mut cells = vec!["".to_owned(), "unit".to_owned()];
    cells.extend(table.contenders.iter().cloned());
    cells.extend(ratios(table).into_iter().map(|(_, _, title)| title));
    cells.push("goal".into());
    cells
}

fn line<R: InWords>(table: &Table<R>, row: R) -> Vec<String> {
    let words = row.words();
    let median = |name: &String| table.samples.median(row, name);
    let mut cells = vec![words.title.into_owned(), words.unit.to_owned()];
    cells.extend(
        table.contenders.iter().map(|name| cell(median(name), words.decimals, table.samples.failed(row, name))),
    );
    cells.extend(ratios(table).into_iter().map(|(own, other, _)| {
        // A ratio to zero means nothing.
        let theirs = median(other).filter(|&theirs| theirs > 0.0);
        median(own).zip(theirs).map_or("-".to_owned(), |(ours, theirs)| format!("{:.2}", ours / theirs))
    }));
    cells.push(words.goal.to_owned());
    cells
}

/// A median, and how many of all turns failed.
fn cell(median: Option<f64>, decimals: usize, (failed, all): (usize, usize)) -> String {
    let failed = (failed > 0).then(|| format!("failed {failed} of {all}"));
    match (median.map(|value| format!("{value:.decimals$}")), failed) {
        (Some(value), Some(failed)) => format!("{value}, {failed}"),
        (Some(text), None) | (None, Some(text)) => text,
        (None, None) => "-".to_owned(),
    }
}

/// Pads the columns: words stand at the left, figures at the right.
fn aligned(lines: &[Vec<String>]) -> Vec<String> {
    let columns = lines[0].len();
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let text = |line: &Vec<String>| {
        let mut text = String::new();
        for (column, cell) in line.iter().enumerate() {
            let width = widths[column];
            // The first two and the last are words.
            if column < 2 || column + 1 == columns {
                text.push_str(&format!("{cell:<width$}  "));
            } else {
                text.push_str(&format!("{cell:>width$}  "));
            }
        }
        text.trim_end().to_owned()
    };
    lines.iter().map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::{aligned, cell};

    #[test]
    fn a_cell_shows_the_median_and_the_failed_turns() {
        assert_eq!(cell(Some(1.25), 1, (0, 4)), "1.2");
        assert_eq!(cell(Some(1.25), 2, (3, 5)), "1.25, failed 3 of 5");
        assert_eq!(cell(None, 0, (5, 5)), "failed 5 of 5");
        assert_eq!(cell(None, 0, (0, 0)), "-");
    }

    #[test]
    fn the_cells_of_a_column_are_aligned() {
        let line = |cells: [&str; 4]| cells.map(str::to_owned).to_vec();
        let lines = [line(["", "unit", "runc", "goal"]), line(["wall", "ms", "1.5", "<= 2"])];
        assert_eq!(aligned(&lines), ["      unit  runc  goal", "wall  ms     1.5  <= 2"]);
    }
}
