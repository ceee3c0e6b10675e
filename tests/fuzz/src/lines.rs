//! Inputs of lines and words: any bytes of the fuzzer mean something, and a human's words mean what they say.

/// The abbreviation of a long text, which a fuzzer is slow to write.
const LONG: u8 = b'~';
const LENGTH: usize = 3000;

/// The word itself if it is in the list, and otherwise any of the list.
pub(crate) fn pick<'a>(word: &str, list: &[&'a str]) -> &'a str {
    let exact = list.iter().find(|known| **known == word);
    exact.or_else(|| list.get(hash(word) as usize % list.len().max(1))).copied().unwrap_or_default()
}

/// A number, decimal or hexadecimal (`0x`), or any other word's hash.
pub(crate) fn number(word: &str) -> u64 {
    let read = match word.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => word.parse(),
    };
    read.unwrap_or_else(|_| hash(word))
}

/// FNV-1a.
pub(crate) fn hash(word: &str) -> u64 {
    word.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

/// The input with each `~` as a long text.
pub(crate) fn widened(input: &[u8]) -> Vec<u8> {
    input
        .iter()
        .flat_map(|byte| {
            std::iter::repeat_n(if *byte == LONG { b'x' } else { *byte }, if *byte == LONG { LENGTH } else { 1 })
        })
        .collect()
}
