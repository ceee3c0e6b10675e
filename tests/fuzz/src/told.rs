//! What is said about an input.

/// The text of an error has at most so many bytes: `quote::shortened` bounds it, and each of its control characters is written out.
const LONGEST: usize = 64 << 10;

/// Looks at what is told about an input that was refused, and says whether it was taken.
pub(crate) fn taken<T>(read: Result<T, String>) -> bool {
    match read {
        Ok(_) => true,
        Err(text) => {
            printable(&text);
            false
        }
    }
}

/// A text for a client's terminal.
pub(crate) fn printable(text: &str) {
    assert!(
        text.len() <= LONGEST,
        "a message of {} bytes: {}...",
        text.len(),
        text.chars().take(200).collect::<String>()
    );
    assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "a control character in {text:?}");
}
