//! Where our answers differ from those of runc's shim, each with its reason. What is not in here is a failure.

use catamaran_harness::direct::{Answer, Call};
use containerd_shim_protos::ttrpc::Code;

/// Refusals to which runc's shim gives no code (Unknown, with runc's text), and ours one that says what is the matter. None
/// of these is NotFound, which containerd takes for a task that is gone.
const CODED: [(Call, Code); 9] = [
    // Two clients that create one id: the second is told so.
    (Call::Create, Code::ALREADY_EXISTS),
    (Call::Start, Code::FAILED_PRECONDITION),
    (Call::Delete, Code::FAILED_PRECONDITION),
    (Call::Pause, Code::FAILED_PRECONDITION),
    (Call::Resume, Code::FAILED_PRECONDITION),
    (Call::Update, Code::FAILED_PRECONDITION),
    // It has criu asked, where there is one.
    (Call::Checkpoint, Code::UNIMPLEMENTED),
    (Call::Exec, Code::FAILED_PRECONDITION),
    // What no kernel knows is the request's fault.
    (Call::Signal99, Code::INVALID_ARGUMENT),
];

/// Whether ours may answer so where runc's shim answers otherwise.
pub(crate) fn is_listed(call: Call, ours: Answer, theirs: Answer) -> bool {
    // Where there is no terminal, runc's shim says that it was resized.
    let unsaid = call == Call::ResizePty && theirs == Answer::Done && ours == Answer::Refused(Code::INVALID_ARGUMENT);
    unsaid
        || theirs == Answer::Refused(Code::UNKNOWN)
            && CODED.iter().any(|(coded, code)| *coded == call && ours == Answer::Refused(*code))
}
