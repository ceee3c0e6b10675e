//! Reads the messages and enumerations of a `.proto` file, by their last names.

use crate::Declared;

pub(crate) fn read(text: &str) -> Declared {
    let mut declared = Declared::default();
    let mut open: Vec<(String, String)> = Vec::new();
    let mut statement = String::new();
    for letter in without_comments(text).chars() {
        match letter {
            '{' => {
                let mut words = statement.split_whitespace().map(str::to_owned);
                let (kind, name) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
                if kind == "message" {
                    declared.messages.entry(name.clone()).or_default();
                }
                open.push((kind, name));
            }
            '}' => drop(open.pop()),
            ';' => {
                let around = open.last().map(|(kind, name)| (kind.as_str(), name.as_str()));
                declare(&mut declared, around, &statement);
            }
            letter => {
                statement.push(letter);
                continue;
            }
        }
        statement.clear();
    }
    declared
}

/// `TYPE NAME = NUMBER` in a message, `NAME = NUMBER` in an enumeration.
fn declare(declared: &mut Declared, around: Option<(&str, &str)>, statement: &str) {
    let Some((left, right)) = statement.split_once('=') else { return };
    let Some(number) = right.split(['[', ' ']).find(|word| !word.is_empty()) else { return };
    let Some((kind, name)) = around else { return };
    let left = left.trim();
    if kind == "enum" {
        if let Ok(number) = number.parse() {
            declared.enums.entry(name.to_owned()).or_default().insert(number, left.to_owned());
        }
    } else if kind == "message"
        && let Ok(number) = number.parse()
        && let Some((kind, field)) = left.rsplit_once(char::is_whitespace)
    {
        let fields = declared.messages.entry(name.to_owned()).or_default();
        fields.insert(field.to_owned(), (number, last_names(kind)));
    }
}

/// `repeated .api.v1.Port` is `repeated Port`, `map<string, api.Any>` is `map<string,Any>`.
fn last_names(kind: &str) -> String {
    let words = kind
        .split_whitespace()
        .map(|word| word.split(',').map(|part| part.rsplit('.').next().unwrap_or(part)).collect::<Vec<_>>().join(","));
    words.collect::<Vec<_>>().join(" ").replace(", ", ",")
}

fn without_comments(text: &str) -> String {
    let mut rest = text;
    let mut kept = String::new();
    while let Some(at) = rest.find("/*") {
        kept.push_str(&rest[..at]);
        rest = rest[at..].split_once("*/").map_or("", |(_, after)| after);
    }
    kept.push_str(rest);
    kept.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}
