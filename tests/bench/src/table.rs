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
    println!(
        "\"/ NAME\": the first column divided by theirs; a goal in \"x\" is about that, against another Wasm shim"
    );
    if report.build != "release" {
        println!("NOT a release build: these figures are for developing only");
    }
    println!();
    print_rows(&report.shims);
    print_rows(&report.servers);
}

fn print_rows<R: InWords>(table: &Table<R>) {
    let mut lines = vec![head(table)];
    lines.extend(table.samples.rows().map(|row| line(table, row)));
    if lines.len() == 1 {
        return;
    }
    for text in aligned(&lines) {
        println!("{text}");
    }
    println!();
}

/// The ratios: each of ours to each of the others. The first of ours is not named.
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
    let shown =
        |value: Option<f64>, decimals: usize| value.map_or("-".to_owned(), |value| format!("{value:.decimals$}"));
    let mut cells = vec![words.title.into_owned(), words.unit.to_owned()];
    cells.extend(table.contenders.iter().map(|name| shown(median(name), words.decimals)));
    cells.extend(ratios(table).into_iter().map(|(own, other, _)| {
        // A ratio to zero means nothing.
        let theirs = median(other).filter(|&theirs| theirs > 0.0);
        shown(median(own).zip(theirs).map(|(ours, theirs)| ours / theirs), 2)
    }));
    cells.push(words.goal.to_owned());
    cells
}

/// Columns of one width: words to the left, figures to the right.
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
    use super::aligned;

    #[test]
    fn figures_stand_below_each_other() {
        let line = |cells: [&str; 4]| cells.map(str::to_owned).to_vec();
        let lines = [line(["", "unit", "runc", "goal"]), line(["wall", "ms", "1.5", "<= 2"])];
        assert_eq!(aligned(&lines), ["      unit  runc  goal", "wall  ms     1.5  <= 2"]);
    }
}
