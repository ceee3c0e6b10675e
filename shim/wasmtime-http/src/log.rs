//! Where a guest's log goes.

use std::io::Write;

use crate::output::Output;

#[derive(Clone)]
pub(crate) enum Log {
    /// To the end of what the server's guests have written, whose writer the guest waits for.
    Queued(Output),
    /// To standard error at once.
    Direct,
}

impl Log {
    /// Writes a line, and waits for room where it is queued.
    pub(crate) async fn write(&self, line: String) {
        match self {
            Log::Queued(output) => output.tell_when_there_is_room(line).await,
            // A reader that is gone for good: there is nobody to tell.
            Log::Direct => drop(std::io::stderr().write_all(line.as_bytes())),
        }
    }
}
