//! Tables in Markdown, between their comments.

use super::DOCUMENT;

/// After a table, and an empty line.
const END: &str = "\n<!-- end of table -->";

/// A table's text.
pub(super) fn table<const N: usize>(columns: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let line = |cells: [String; N]| format!("| {} |\n", cells.join(" | "));
    let head = line(columns.map(str::to_owned)) + &line([const { "---" }; N].map(str::to_owned));
    rows.map(line).fold(head, |text, line| text + &line)
}

/// The cells of a table's rows, without its head.
pub(super) fn rows(page: &str, name: &str, columns: usize) -> Vec<Vec<String>> {
    let (_, table, _) = parts(page, name);
    let cells = |line: &str| line.trim_matches(['|', ' ']).split(" | ").map(str::to_owned).collect::<Vec<_>>();
    let rows: Vec<_> = table.lines().skip(2).map(cells).collect();
    for row in &rows {
        assert_eq!(row.len(), columns, "{DOCUMENT}, the table {name}: {row:?}");
    }
    rows
}

/// The text before a table, the table, and the text after it.
pub(super) fn parts<'a>(page: &'a str, name: &str) -> (&'a str, &'a str, &'a str) {
    let begin = format!("<!-- table: {name} -->\n\n");
    let start = page.find(&begin).unwrap_or_else(|| panic!("{DOCUMENT} has no line {:?}", begin.trim())) + begin.len();
    let length = page[start..].find(END).unwrap_or_else(|| panic!("{DOCUMENT}: the table {name} has no end"));
    (&page[..start], &page[start..start + length], &page[start + length..])
}
