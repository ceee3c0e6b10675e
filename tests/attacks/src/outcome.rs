//! An attack's outcome, and its form on a line.

use nix::errno::Errno;

/// An attack's gain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing: the error numbers, or another reason.
    Denied(String),
    /// Its aim.
    Open(String),
    /// This machine cannot try it, for this reason.
    Absent(String),
}

impl Outcome {
    /// The outcome of several ways to one aim: one open way is enough.
    pub fn new<'a>(ways: impl IntoIterator<Item = (&'a str, Result<i64, Errno>)>) -> Self {
        let (mut open, mut denied) = (Vec::new(), Vec::new());
        for (name, result) in ways {
            match result {
                Ok(_) => open.push(name),
                Err(e) => {
                    let e = format!("{e:?}");
                    if !denied.contains(&e) {
                        denied.push(e);
                    }
                }
            }
        }
        if open.is_empty() { Outcome::Denied(denied.join(", ")) } else { Outcome::Open(open.join(", ")) }
    }

    /// As one line without breaks.
    pub fn to_line(&self) -> String {
        let (word, text) = match self {
            Outcome::Denied(text) => ("denied", text),
            Outcome::Open(text) => ("open", text),
            Outcome::Absent(text) => ("absent", text),
        };
        format!("{word} {}", text.replace(char::is_control, " "))
    }

    /// Reads a line of [`Outcome::to_line`].
    pub fn parse(line: &str) -> Option<Self> {
        let (word, text) = line.split_once(' ')?;
        let text = text.to_owned();
        match word {
            "denied" => Some(Outcome::Denied(text)),
            "open" => Some(Outcome::Open(text)),
            "absent" => Some(Outcome::Absent(text)),
            _ => None,
        }
    }
}

impl From<Result<i64, Errno>> for Outcome {
    fn from(result: Result<i64, Errno>) -> Self {
        match result {
            Ok(value) => Outcome::Open(format!("the call answered {value}")),
            Err(e) => Outcome::Denied(format!("{e:?}")),
        }
    }
}
