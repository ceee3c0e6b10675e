//! What a message quotes of a tenant's: at most so much that it can still be read, and that a log line or an answer that is
//! sent again at each retry costs nothing. An image, a pod and a guest may have names of megabytes.

use std::borrow::Cow;

/// As many characters of one thing are quoted.
pub const MOST: usize = 200;
/// A whole message is no longer: for what is quoted without a mark at its ends.
const LONGEST_MESSAGE: usize = 8000;
/// What stands for the rest.
const MORE: &str = "...";

/// The beginning of a text, to be quoted.
#[must_use]
pub fn cut(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(MOST) {
        Some((end, _)) => Cow::Owned(format!("{}{MORE}", &text[..end])),
        None => Cow::Borrowed(text),
    }
}

/// A message that others have written, an engine or a parser, with what it quotes cut: each word, and each text between
/// quotation marks. What is left keeps its beginning and its end, where the reason is.
#[must_use]
pub fn shortened(message: &str) -> Cow<'_, str> {
    if message.len() <= MOST {
        return Cow::Borrowed(message);
    }
    let mut short = String::with_capacity(message.len().min(2 * LONGEST_MESSAGE));
    // How long the word is that is being read, and what ends the quotation that it is in.
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
