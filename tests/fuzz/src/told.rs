//! Checks of texts about an input.

/// The limit of an error's text in bytes: `quote::shortened` bounds it, and writes out each of its control characters.
const LONGEST: usize = 64 << 10;

/// Checks the text about a refused input, and returns whether the input was accepted.
pub(crate) fn taken<T>(read: Result<T, String>) -> bool {
    match read {
        Ok(_) => true,
        Err(text) => {
            printable(&text);
            false
        }
    }
}

/// Checks a text for a client's terminal.
pub(crate) fn printable(text: &str) {
    assert!(
        text.len() <= LONGEST,
        "a message of {} bytes: {}...",
        text.len(),
        text.chars().take(200).collect::<String>()
    );
    assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "a control character in {text:?}");
}
