//! Answers that differ from those of runc's shim, each with its reason. A difference that is not listed is a failure.

use catamaran_harness::direct::{Answer, Call};
use containerd_shim_protos::ttrpc::Code;

/// Refusals to which runc's shim gives no code (Unknown, with runc's text), and ours a code that names the problem. None of these is
/// NotFound, by which containerd concludes that the task is gone.
const CODED: [(Call, Code); 9] = [
    // Two clients that create one id: the second learns that it exists.
    (Call::Create, Code::ALREADY_EXISTS),
    (Call::Start, Code::FAILED_PRECONDITION),
    (Call::Delete, Code::FAILED_PRECONDITION),
    (Call::Pause, Code::FAILED_PRECONDITION),
    (Call::Resume, Code::FAILED_PRECONDITION),
    (Call::Update, Code::FAILED_PRECONDITION),
    // runc's shim asks criu, if it is installed.
    (Call::Checkpoint, Code::UNIMPLEMENTED),
    (Call::Exec, Code::FAILED_PRECONDITION),
    // A signal that no kernel knows is the request's fault.
    (Call::Signal99, Code::INVALID_ARGUMENT),
];

/// Whether our answer may differ like this from that of runc's shim.
pub(crate) fn is_listed(call: Call, ours: Answer, theirs: Answer) -> bool {
    // Without a terminal runc's shim answers that it was resized.
    let unsaid = call == Call::ResizePty && theirs == Answer::Done && ours == Answer::Refused(Code::INVALID_ARGUMENT);
    unsaid
        || theirs == Answer::Refused(Code::UNKNOWN)
            && CODED.iter().any(|(coded, code)| *coded == call && ours == Answer::Refused(*code))
}
