//! A file of specs, each with its reason: a line with the spec's name, and below it the reason, indented.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Reads a file.
///
/// # Panics
/// When a line has no reason, or a reason has no line.
pub fn read(path: &Path) -> BTreeMap<String, String> {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    parse(&text).unwrap_or_else(|trouble| panic!("{}: {trouble}", path.display()))
}

fn parse(text: &str) -> Result<BTreeMap<String, String>, String> {
    let mut found: Vec<(String, String)> = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty()) {
        match (line.strip_prefix(' '), found.last_mut()) {
            (None, _) => found.push((line.to_owned(), String::new())),
            (Some(reason), Some((_, reasons))) => reasons.extend([reason.trim(), " "]),
            (Some(_), None) => return Err(format!("{line:?} is the reason of nothing; write the name above it")),
        }
    }
    match found.iter().find(|(_, reason)| reason.is_empty()) {
        Some((name, _)) => Err(format!("{name:?} has no reason; write it below, indented")),
        None => Ok(found.into_iter().collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn every_expected_failure_has_a_reason() {
        let read = parse("# why\na spec\n  for want\n  of time\n\nanother\n  too\n").unwrap();
        assert_eq!(read["a spec"].trim(), "for want of time");
        assert_eq!(read.len(), 2);
        assert!(parse("a spec\n").is_err_and(|trouble| trouble.contains("\"a spec\" has no reason")));
        assert!(parse("  why\n").is_err_and(|trouble| trouble.contains("the reason of nothing")));
    }
}
