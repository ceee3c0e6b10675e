//! Makes the answer of a call that failed: its RPC code, and the text for the client. Names the reason for the counters too.

use catamaran_cache::counters::Reason;
use catamaran_host::Error as HostError;
use catamaran_worker::quote::shortened;
use containerd_shim_protos::ttrpc::{self, Code};

use crate::error::{Error, printable};

impl From<Error> for ttrpc::Error {
    fn from(e: Error) -> Self {
        ttrpc::Error::RpcStatus(ttrpc::get_status(code(&e), printable(&shortened(&e.to_string()))))
    }
}

fn code(e: &Error) -> Code {
    match e {
        Error::Host(HostError::Refused { .. }) => Code::INVALID_ARGUMENT,
        Error::Host(HostError::Unavailable { .. })
        | Error::Module { .. }
        | Error::Declined { .. }
        | Error::Transition { .. }
        | Error::Occupied(_)
        | Error::Address(_)
        | Error::Logger { .. }
        | Error::Closing => Code::FAILED_PRECONDITION,
        Error::NotFound(_) => Code::NOT_FOUND,
        Error::Exists(_) => Code::ALREADY_EXISTS,
        Error::Uncheckpointed(_) => Code::UNIMPLEMENTED,
        // The same code as from containerd's shim for runc, whose clients look at the text.
        Error::Runtime { .. } => Code::UNKNOWN,
        Error::Host(HostError::File { .. } | HostError::System { .. })
        | Error::Worker(_)
        | Error::Hook { .. }
        | Error::Compiler { .. } => Code::INTERNAL,
    }
}

/// Returns the reason that a failed creation is counted under. Returns None if a concurrent event ended it, because nothing was refused.
pub(super) fn reason(e: &Error) -> Option<Reason> {
    Some(match e {
        Error::Host(HostError::Refused { .. }) => Reason::Spec,
        Error::Host(HostError::Unavailable { .. }) | Error::Address(_) => Reason::Node,
        Error::Module { .. } => Reason::Module,
        Error::Declined { .. } => Reason::Engine,
        Error::Compiler { .. } => Reason::Compiler,
        Error::Hook { .. } => Reason::Hook,
        Error::Logger { .. } => Reason::Logger,
        Error::Runtime { .. } => Reason::Runtime,
        Error::Worker(_) => Reason::Worker,
        Error::Host(HostError::File { .. } | HostError::System { .. }) | Error::Occupied(_) => Reason::System,
        Error::NotFound(_)
        | Error::Exists(_)
        | Error::Transition { .. }
        | Error::Closing
        | Error::Uncheckpointed(_) => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_cannot_be_had_is_a_precondition_and_its_text_reaches_the_client() {
        let text = "cannot listen at 0.0.0.0:80 (the default): Permission denied; write a port from 1024 on";
        let ttrpc::Error::RpcStatus(status) = ttrpc::Error::from(Error::Address(text.to_owned())) else {
            panic!("another kind of error")
        };
        assert_eq!((status.code(), status.message.as_str()), (Code::FAILED_PRECONDITION, text));
    }

    #[test]
    fn refusals_have_a_reason_and_answers_to_late_calls_have_none() {
        let id = || "x".to_owned();
        let system = |kind: std::io::ErrorKind| Error::system("reading", kind.into());
        for (error, expected) in [
            (Error::refused("a", "b", "c"), Some(Reason::Spec)),
            (Error::unavailable("a", "b", "c"), Some(Reason::Node)),
            (Error::Module { module: id(), reason: id() }, Some(Reason::Module)),
            (Error::Address(id()), Some(Reason::Node)),
            (Error::Declined { module: id(), declined: Vec::new() }, Some(Reason::Engine)),
            (Error::Compiler { module: id(), reason: id() }, Some(Reason::Compiler)),
            (system(std::io::ErrorKind::StorageFull), Some(Reason::System)),
            (Error::NotFound(id()), None),
            (Error::Exists(id()), None),
            (Error::Closing, None),
        ] {
            assert_eq!(reason(&error), expected, "{error}");
        }
    }
}
