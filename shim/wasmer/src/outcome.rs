//! How a guest ended, as a container's exit code, with the reason on standard error.

use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::Arc;

use catamaran_worker::EXIT_TRAPPED;
use wasmer::RuntimeError;
use wasmer_wasix::WasiRuntimeError;
use wasmer_wasix::wasmer_wasix_types::wasi;

use crate::demangled::demangled;

/// Frames of a trap's backtrace: enough to see a recursion, and a message that a termination log holds (4 KiB).
const FRAMES: usize = 20;

/// Returns the container's exit code, by how its first process ended.
pub(crate) fn code(ended: Result<wasi::ExitCode, Arc<WasiRuntimeError>>) -> u8 {
    match ended {
        Ok(code) => low_byte(code.raw()),
        Err(e) => {
            say(&format!("catamaran: the guest could not run: {e}\n"));
            EXIT_TRAPPED
        }
    }
}

/// Ends the process for a trap of the guest: as a fault of one thread ends a native program, whatever the others do.
pub(crate) fn trapped(e: &RuntimeError) -> ! {
    stop(&message(e))
}

/// Ends the process as one that aborted, with a text that ends in a newline.
pub(crate) fn stop(text: &str) -> ! {
    say(text);
    exit(EXIT_TRAPPED)
}

/// Says that the guest ended itself with a signal that stands for a fault.
pub(crate) fn aborted(signal: u8) {
    say(&match i32::from(signal) {
        libc::SIGABRT => "catamaran: the guest aborted\n".to_owned(),
        signal => format!("catamaran: the guest ended itself with signal {signal}\n"),
    });
}

/// Ends the process at once: other threads may be in guest code, and no exit handler is meant for them.
#[allow(unsafe_code, reason = "_exit(2) has no safe form in the standard library")]
pub(crate) fn exit(code: u8) -> ! {
    // SAFETY: the call takes a number and does not return. Nothing is buffered in this process that it would lose.
    unsafe { libc::_exit(code.into()) }
}

/// The part of an exit code that the kernel keeps.
pub(crate) fn low_byte(code: i32) -> u8 {
    code.to_le_bytes()[0]
}

/// Writes in one call, so that no line of another thread comes between. Nobody is left to tell if it fails.
fn say(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// The text for a trap: first the reason, then where, with function names if the module has them.
pub(crate) fn message(e: &RuntimeError) -> String {
    let mut text = match e.clone().to_trap() {
        Some(trap) => format!("catamaran: the guest trapped: wasm trap: {}\n", trap.message()),
        None => format!("catamaran: the guest was stopped: {}\n", e.message()),
    };
    let frames = e.trace();
    if !frames.is_empty() {
        text.push_str("wasm backtrace:\n");
    }
    for (n, frame) in frames.iter().take(FRAMES).enumerate() {
        let unnamed = || format!("<wasm function {}>", frame.func_index());
        let function = frame.function_name().map_or_else(unnamed, demangled);
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{n:>5}: {:#8x} - {}!{function}", frame.module_offset(), frame.module_name());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::low_byte;

    #[test]
    fn an_exit_code_keeps_its_low_eight_bits() {
        for (code, kept) in [(0, 0), (1, 1), (126, 126), (255, 255), (256, 0), (-1, 255)] {
            assert_eq!(low_byte(code), kept);
        }
    }
}
