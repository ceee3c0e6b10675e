//! The parsers of an image's documents, on both sides of the process without rights, for `tests/fuzz`.

use super::config::Config;
use super::reader::{self, CONFIG};
use super::record::Record;
use super::summary::Summary;

/// The number that stands for a configuration; an index or a manifest has 0 to 3.
pub const CONFIGURATION: u8 = CONFIG;

/// Returns what the process without rights writes about a document.
pub fn written(number: u8, resolved: bool, document: &[u8]) -> String {
    reader::written(number, resolved, document)
}

/// Reads that process's words about a document, and writes down what the driver believes of them.
///
/// # Errors
/// If they are refused, or are themselves the reason for a refusal.
pub fn believed(number: u8, written: &[u8], document: &[u8]) -> Result<String, String> {
    match number {
        CONFIG => Config::read(written).map(|config| Config::write(&Ok(config))),
        _ => Summary::parse(written, document).map(|summary| Summary::write(&Ok(summary))),
    }
}

/// Reads the record of containerd's CRI plugin about a container's image, and returns the image's name.
///
/// # Errors
/// If the record is refused.
pub fn record(extension: &[u8]) -> Result<String, String> {
    Record::resolved(extension).map(|record| record.name)
}
