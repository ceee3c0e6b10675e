//! Where a guest's log goes.

use std::io::Write;

use crate::output::Output;

#[derive(Clone)]
pub(crate) enum Log {
    /// To the end of the queue of all guests' output, in which the guest waits for room.
    Queued(Output),
    /// To standard error at once.
    Direct,
}

impl Log {
    /// Writes a line, and waits for room if it is queued.
    pub(crate) async fn write(&self, line: String) {
        match self {
            Log::Queued(output) => output.tell_when_there_is_room(line).await,
            // An error means that the reader is gone for good: there is nobody to tell.
            Log::Direct => drop(std::io::stderr().write_all(line.as_bytes())),
        }
    }
}
