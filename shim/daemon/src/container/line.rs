//! The log's lines about a container's processes: an event, the process's id, and fields.
//!
//! ```text
//! created id=web engine=wasmtime chosen=module world=command module="/app.wasm" ...
//! ```
//!
//! Programs of the node's administrator read these lines: docs/reference.md has every event and field.

use std::fmt::{Debug, Display, Write as _};

use catamaran_cache::order::Origin;
use log::info;

use crate::artifact::Code;
use crate::engine::words::words;

words! {
    /// What happened.
    Event {
        Created = "created",
        Executed = "executed",
        NotRun = "not run",
        OutOfMemory = "out of memory: the kernel killed in the cgroup of",
        Ended = "ended",
        CleanedUp = "cleaned up by others:",
    }
}

words! {
    /// A field of a line.
    Field {
        Id = "id",
        Engine = "engine",
        Chosen = "chosen",
        World = "world",
        Listen = "listen",
        Module = "module",
        Digest = "digest",
        Artifact = "artifact",
        CompileMilliseconds = "compile_milliseconds",
        Tier = "tier",
        Native = "native",
        Runtime = "runtime",
        Holder = "holder",
        Pid = "pid",
        Code = "code",
        Milliseconds = "milliseconds",
    }
}

/// A line of the log.
pub(crate) struct Line(String);

impl Line {
    pub(crate) fn new(event: Event, id: impl Display) -> Self {
        Self(event.to_string()).with(Field::Id, id)
    }

    pub(crate) fn with(mut self, field: Field, value: impl Display) -> Self {
        // Writing to a String cannot fail.
        let _ = write!(self.0, " {field}={value}");
        self
    }

    pub(crate) fn with_quoted(self, field: Field, value: impl Debug) -> Self {
        self.with(field, format_args!("{value:?}"))
    }

    /// Adds a field without a value.
    pub(crate) fn with_word(mut self, field: Field) -> Self {
        let _ = write!(self.0, " {field}");
        self
    }

    /// Adds the fields of a worker's machine code.
    pub(crate) fn with_code(self, code: &Code) -> Self {
        let line = self
            .with_quoted(Field::Module, &code.module)
            .with(Field::Digest, format_args!("sha256:{}", code.digest))
            .with(Field::Artifact, code.origin.word());
        let line = match code.origin {
            Origin::Compiled(milliseconds) => line.with(Field::CompileMilliseconds, milliseconds),
            Origin::Hit | Origin::Shared => line,
        };
        line.with(Field::Tier, code.tier.word())
    }

    /// Writes the line.
    pub(crate) fn log(self) {
        info!("{}", self.0);
    }

    /// Writes the line with an explanation behind it.
    pub(crate) fn log_with(self, words: impl Display) {
        info!("{}: {words}", self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_an_event_an_id_and_fields() {
        let line = Line::new(Event::NotRun, format_args!("{}/{}", "web", "probe")).with(Field::Code, 127);
        assert_eq!(line.0, "not run id=web/probe code=127");
        let line = Line::new(Event::Created, "web").with_word(Field::Holder).with_quoted(Field::Module, "/a b.wasm");
        assert_eq!(line.0, "created id=web holder module=\"/a b.wasm\"");
    }
}
