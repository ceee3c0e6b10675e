//! Reports failed guests on the container's standard error.

use catamaran_wasmtime::outcome;
use wasmtime::Error;

use crate::guest::Limit;
use crate::output::Output;

/// Reports how guests ended.
pub(crate) struct Report {
    output: Output,
    /// How long a request may take.
    pub(crate) limit: Limit,
}

impl Report {
    pub(crate) fn new(output: Output, limit: Limit) -> Self {
        Self { output, limit }
    }

    /// Reports a guest that trapped, exited, or met an error of the host.
    pub(crate) fn failed(&self, error: &Error) {
        self.output.tell(outcome::message(error));
    }

    pub(crate) fn answered_with(&self, code: &impl std::fmt::Debug) {
        self.output.tell(format!("catamaran: the guest answered with an error: {code:?}\n"));
    }

    pub(crate) fn returned_without_response(&self) {
        self.output.tell("catamaran: the guest returned without a response\n".to_owned());
    }

    pub(crate) fn did_not_answer(&self) {
        let limit = self.limit.unwrap_or_default();
        self.output.tell(format!("catamaran: the guest was stopped: it did not answer within {limit:?}\n"));
    }

    pub(crate) fn computed_for_too_long(&self) {
        let limit = self.limit.unwrap_or_default();
        self.output.tell(format!("catamaran: the guest was stopped: it computed for {limit:?} without a pause\n"));
    }
}
