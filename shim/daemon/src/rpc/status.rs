//! Makes the answer to a call that failed: its RPC code and the text for the client. Also finds the reason that the counters count.

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
        // The code that containerd's shim for runc returns; its clients look at the text.
        Error::Runtime { .. } => Code::UNKNOWN,
        Error::Host(HostError::File { .. } | HostError::System { .. })
        | Error::Worker(_)
        | Error::Hook { .. }
        | Error::Compiler { .. } => Code::INTERNAL,
    }
}

/// Returns the reason under which a failed creation is counted. Returns None if another call ended the creation, because that is no
/// refusal.
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
    fn a_server_that_cannot_listen_is_a_failed_precondition_and_the_client_gets_its_text() {
        let text = "cannot listen at 0.0.0.0:80 (the default): Permission denied; write a port from 1024 on";
        let ttrpc::Error::RpcStatus(status) = ttrpc::Error::from(Error::Address(text.to_owned())) else {
            panic!("another kind of error")
        };
        assert_eq!((status.code(), status.message.as_str()), (Code::FAILED_PRECONDITION, text));
    }

    #[test]
    fn refusals_are_counted_by_reason_and_late_calls_are_not_counted() {
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
