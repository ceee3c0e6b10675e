//! What is read of an image's documents, on both sides of the process without rights, for `tests/fuzz`.

use super::config::Config;
use super::reader::{self, CONFIG};
use super::record::Record;
use super::summary::Summary;

/// The number that stands for a configuration; an index or a manifest has 0 to 3.
pub const CONFIGURATION: u8 = CONFIG;

/// Returns what the process without rights writes of a document.
pub fn written(number: u8, resolved: bool, document: &[u8]) -> String {
    reader::written(number, resolved, document)
}

/// Reads what that process says of a document, and writes down what the driver believes of it.
///
/// # Errors
/// What is refused, or the reason that was written.
pub fn believed(number: u8, written: &[u8], document: &[u8]) -> Result<String, String> {
    match number {
        CONFIG => Config::read(written).map(|config| Config::write(&Ok(config))),
        _ => Summary::parse(written, document).map(|summary| Summary::write(&Ok(summary))),
    }
}

/// Reads what containerd's CRI plugin wrote of a container's image: the image's name.
///
/// # Errors
/// What is refused.
pub fn record(extension: &[u8]) -> Result<String, String> {
    Record::resolved(extension).map(|record| record.name)
}
