//! Reads the structures of a file of `src/api`, as rustfmt lays them out, in the words of a `.proto` file.

use crate::Declared;

pub(crate) fn read(text: &str) -> Declared {
    let mut declared = Declared::default();
    let (mut message, mut values) = (None, None);
    let mut attribute = None;
    for line in text.lines().map(str::trim) {
        let words: Vec<_> = line.split_whitespace().collect();
        match words[..] {
            [_, "struct", name, ..] => message = Some(declared.messages.entry(name.to_owned()).or_default()),
            [_, "enum", name, ..] => values = Some(declared.enums.entry(name.to_owned()).or_default()),
            ["}"] => (message, values) = (None, None),
            [name, "=", number] => {
                let values = values.as_mut().expect("a value is in an enumeration");
                values.insert(number.trim_end_matches(',').parse().unwrap(), name.to_owned());
            }
            _ => {}
        }
        if let Some(words) = line.strip_prefix("#[prost(").and_then(|rest| rest.strip_suffix(")]")) {
            attribute = Some(words);
        } else if let Some(attribute) = attribute.take() {
            let (name, kind) = line.trim_end_matches(',').split_once(": ").expect("a field follows its attribute");
            let name = name.trim_start_matches("pub(crate) ").trim_start_matches("r#");
            let fields = message.as_mut().expect("a field is in a structure");
            fields.insert(name.to_owned(), field(attribute, kind));
        }
    }
    declared
}

/// The number and type of a field: `message, repeated, tag = "2"` of a `Vec<Port>` is 2, `repeated Port`.
fn field(attribute: &str, kind: &str) -> (u32, String) {
    let (words, number) = attribute.split_once(", tag = ").expect("a field has a number");
    let number = number.trim_matches('"').parse().unwrap();
    let inner = kind.rsplit(['<', ' ']).next().unwrap().trim_end_matches('>');
    let quoted = words.split('"').nth(1).unwrap_or_default();
    let (word, repeated) = match words.split_once(", ") {
        Some((word, "repeated")) => (word, "repeated "),
        Some((word, "optional")) => (word, ""),
        _ => (words, ""),
    };
    let kind = match word {
        "message" => inner.to_owned(),
        _ if word.starts_with("bytes") => "bytes".to_owned(),
        _ if word.starts_with("enumeration") => quoted.to_owned(),
        _ if word.starts_with("btree_map") => format!("map<{}>", quoted.replace("message", inner).replace(", ", ",")),
        _ => word.to_owned(),
    };
    (number, format!("{repeated}{kind}"))
}
