//! Makes the answer of a call that failed: its RPC code, and the text for the client.

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
        | Error::Logger { .. }
        | Error::Closing => Code::FAILED_PRECONDITION,
        Error::NotFound(_) => Code::NOT_FOUND,
        Error::Exists(_) => Code::ALREADY_EXISTS,
        Error::Uncheckpointed(_) => Code::UNIMPLEMENTED,
        // As containerd's shim for runc has it, whose clients look at the text.
        Error::Runtime { .. } => Code::UNKNOWN,
        Error::Host(HostError::File { .. } | HostError::System { .. })
        | Error::Worker(_)
        | Error::Hook { .. }
        | Error::Compiler { .. } => Code::INTERNAL,
    }
}
