//! Exports to `tests/fuzz` the parsers of an image's documents, in the reader and in the driver.

use super::config::Config;
use super::reader::{self, CONFIG};
use super::record::Record;
use super::summary::Summary;

/// The type's number for a configuration. An index or a manifest has 0 to 3.
pub const CONFIGURATION: u8 = CONFIG;

/// Returns the summary that the process without rights writes about a document.
pub fn written(number: u8, resolved: bool, document: &[u8]) -> String {
    reader::written(number, resolved, document)
}

/// Reads such a summary of `document` as the driver does, and writes down the result.
///
/// # Errors
/// If the driver refuses the summary, or the summary itself reports a refusal.
pub fn believed(number: u8, written: &[u8], document: &[u8]) -> Result<String, String> {
    match number {
        CONFIG => Config::read(written).map(|config| Config::write(&Ok(config))),
        _ => Summary::parse(written, document).map(|summary| Summary::write(&Ok(summary))),
    }
}

/// Reads the CRI plugin's record of a container. Returns the image's name.
///
/// # Errors
/// If the record is refused.
pub fn record(extension: &[u8]) -> Result<String, String> {
    Record::resolved(extension).map(|record| record.name)
}
