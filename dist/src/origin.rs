//! What a release is made from: a version, a commit, and the one time that is written everywhere.

use std::path::Path;
use std::process::Command;

use crate::error::{Error, Result};
use crate::run;

/// The version, the commit and the time of a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The workspace's version, such as `0.1.0`.
    pub version: String,
    /// The commit in hexadecimal digits, with `-modified` behind it when the folder is not as it was committed.
    pub revision: String,
    /// Seconds since 1970: `SOURCE_DATE_EPOCH`, or the time of the commit.
    pub time: u64,
}

impl Origin {
    /// Reads them from a clone. What is given wins over what git says.
    ///
    /// # Errors
    /// `epoch` is no number, or git is needed and cannot answer.
    pub fn read(source: &Path, epoch: Option<&str>, revision: Option<String>) -> Result<Self> {
        let time = match epoch {
            Some(text) => text.parse().map_err(|_| {
                Error::new(
                    format!("SOURCE_DATE_EPOCH is \"{text}\", expected seconds since 1970 as a whole number"),
                    "write for example SOURCE_DATE_EPOCH=1790000000, or unset it: the commit's time is taken then",
                )
            })?,
            None => {
                let text = git(source, &["log", "-1", "--format=%ct"])?;
                text.parse().map_err(|_| {
                    Error::new(format!("git says \"{text}\" for the commit's time"), "set SOURCE_DATE_EPOCH")
                })?
            }
        };
        let revision = match revision {
            Some(revision) => revision,
            None => committed(source)?,
        };
        Ok(Self { version: env!("CARGO_PKG_VERSION").to_owned(), revision, time })
    }

    /// The time as RFC 3339 writes it.
    pub fn date(&self) -> String {
        rfc3339(self.time)
    }
}

fn committed(source: &Path) -> Result<String> {
    let mut revision = git(source, &["rev-parse", "HEAD"])?;
    if !git(source, &["status", "--porcelain", "--untracked-files=no"])?.is_empty() {
        revision.push_str("-modified");
    }
    Ok(revision)
}

fn git(source: &Path, args: &[&str]) -> Result<String> {
    let mut command = Command::new("git");
    command.arg("-C").arg(source).args(args);
    run::text(&mut command, "clone the repository with git, or give both SOURCE_DATE_EPOCH and --revision")
        .map(|text| text.trim().to_owned())
}

fn rfc3339(time: u64) -> String {
    let (days, seconds) = (time / 86_400, time % 86_400);
    // The Gregorian calendar repeats every 400 years of 146,097 days. Years begin in March here, so that a leap day ends one.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    format!("{:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z", era * 400 + year + next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_the_calendar_has_them() {
        for (time, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(time), expected);
        }
    }

    #[test]
    fn a_time_that_is_no_number_is_refused_by_its_name_and_value() {
        let error = Origin::read(Path::new("/"), Some("yesterday"), Some("abc".into())).err();
        let text = error.map(|error| error.to_string()).unwrap_or_default();
        assert!(text.contains("SOURCE_DATE_EPOCH is \"yesterday\""), "{text}");
    }
}
