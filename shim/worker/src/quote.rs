//! Cuts a message's quotations of a tenant's text, because an image, a pod and a guest may have names of megabytes: the message
//! stays readable, and a log line or an answer that is sent again at each retry costs nothing.

use std::borrow::Cow;

/// The most characters of one quotation.
pub const MOST: usize = 200;
/// The most bytes kept of a message, which bounds quotations without quotation marks too.
const LONGEST_MESSAGE: usize = 8000;
/// The mark that stands for the rest.
const MORE: &str = "...";

/// Returns the beginning of a text, for a quotation.
#[must_use]
pub fn cut(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(MOST) {
        Some((end, _)) => Cow::Owned(format!("{}{MORE}", &text[..end])),
        None => Cow::Borrowed(text),
    }
}

/// Cuts the quotations in a message of an engine or a parser: each word, and each text between quotation marks. A message that is
/// still too long keeps its beginning and its end, where the reason is.
#[must_use]
pub fn shortened(message: &str) -> Cow<'_, str> {
    if message.len() <= MOST {
        return Cow::Borrowed(message);
    }
    let mut short = String::with_capacity(message.len().min(2 * LONGEST_MESSAGE));
    // The lengths of the current word and of the current quotation, and the mark that ends that quotation.
    let (mut word, mut quoted, mut mark) = (0, 0, None);
    for c in message.chars() {
        let ends = mark == Some(c);
        if ends || (mark.is_none() && matches!(c, '"' | '`')) {
            mark = if ends { None } else { Some(c) };
            (word, quoted) = (0, 0);
            short.push(c);
            continue;
        }
        word = if c.is_whitespace() { 0 } else { word + 1 };
        quoted += usize::from(mark.is_some());
        match word.max(quoted) {
            ..=MOST => short.push(c),
            n if n == MOST + 1 => short.push_str(MORE),
            _ => {}
        }
    }
    Cow::Owned(middle_left_out(short))
}

fn middle_left_out(text: String) -> String {
    if text.len() <= LONGEST_MESSAGE {
        return text;
    }
    let edge = |at: usize| (0..=at).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    let (begin, end) = (edge(LONGEST_MESSAGE * 3 / 4), edge(text.len() - LONGEST_MESSAGE / 4));
    format!("{}{MORE}{}", &text[..begin], &text[end..])
}

#[cfg(test)]
mod tests {
    use super::{LONGEST_MESSAGE, MOST, cut, shortened};

    #[test]
    fn a_text_is_cut_at_a_characters_edge() {
        assert_eq!(cut("/app.wasm"), "/app.wasm");
        assert_eq!(cut(&"é".repeat(MOST)), "é".repeat(MOST));
        assert_eq!(cut(&"é".repeat(MOST + 1)), format!("{}...", "é".repeat(MOST)));
    }

    #[test]
    fn only_the_quoted_parts_of_a_message_are_cut() {
        let (long, kept) = ("x".repeat(1 << 20), format!("{}...", "x".repeat(MOST)));
        let blanks = "a ".repeat(1 << 20);
        for (message, short) in [
            (
                format!("import `{long}.y`: {}", "no reason ".repeat(30)),
                format!("import `{kept}`: {}", "no reason ".repeat(30)),
            ),
            (format!("path /{long} is no file"), format!("path /{}... is no file", "x".repeat(MOST - 1))),
            (format!("{:?}: no such file", blanks), format!("\"{}...\": no such file", "a ".repeat(MOST / 2))),
            ("a word ".repeat(60), "a word ".repeat(60)),
        ] {
            assert_eq!(shortened(&message), short);
        }
    }

    #[test]
    fn a_messages_length_is_bounded() {
        for text in ["a ", "\"", "`\"", "\\\" ", "é` "] {
            let message = format!("begin {} end", text.repeat(1 << 20));
            let short = shortened(&message);
            assert!(short.len() <= LONGEST_MESSAGE + 3, "{text:?}: {}", short.len());
            assert!(short.starts_with("begin "), "{text:?}");
        }
        assert!(shortened(&format!("{} end", "a ".repeat(1 << 20))).ends_with(" end"));
    }
}
