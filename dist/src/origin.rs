//! The origin of a release: a version, a commit, and the one time that is written everywhere.

use std::path::Path;
use std::process::Command;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::error::{Error, Result};
use crate::run;

/// The version, the commit and the time of a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The workspace's version, such as `0.1.0`.
    pub version: String,
    /// The commit in hexadecimal digits, followed by `-modified` if the folder differs from the commit.
    pub revision: String,
    /// Seconds since 1970: `SOURCE_DATE_EPOCH`, or the time of the commit.
    pub time: u64,
}

impl Origin {
    /// Reads the origin from a clone. Arguments win over git's answers.
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

    /// The time in the form of RFC 3339.
    ///
    /// # Errors
    /// The time is later than the year 9999.
    pub fn date(&self) -> Result<String> {
        let time = i64::try_from(self.time).ok().and_then(|time| OffsetDateTime::from_unix_timestamp(time).ok());
        time.and_then(|time| time.format(&Rfc3339).ok()).ok_or_else(|| {
            Error::new(
                format!("the time {} is none that can be written", self.time),
                "set SOURCE_DATE_EPOCH to seconds since 1970",
            )
        })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_rfc_3339_has_them_and_later_ones_are_refused() {
        let at = |time| Origin { version: String::new(), revision: String::new(), time }.date();
        assert_eq!(at(951_782_400).unwrap(), "2000-02-29T00:00:00Z");
        assert!(at(u64::MAX).unwrap_err().to_string().contains("18446744073709551615"));
    }

    #[test]
    fn a_time_that_is_no_number_is_refused_by_its_name_and_value() {
        let error = Origin::read(Path::new("/"), Some("yesterday"), Some("abc".into())).err();
        let text = error.map(|error| error.to_string()).unwrap_or_default();
        assert!(text.contains("SOURCE_DATE_EPOCH is \"yesterday\""), "{text}");
    }
}
