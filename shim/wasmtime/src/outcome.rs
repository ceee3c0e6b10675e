//! Turns a guest's end into a container's exit code, and writes the reason to standard error.

use std::io::Write;
use std::process::ExitCode;

use catamaran_worker::EXIT_TRAPPED;
use wasmtime::{Error, Result, Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

/// Returns the guest's exit code: its own, 0 if it returned, 134 for a trap or an error of the host.
pub fn exit_code(ended: Result<()>) -> ExitCode {
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => match e.downcast_ref::<I32Exit>() {
            Some(exit) => ExitCode::from(low_byte(exit.0)),
            None => {
                // One write, so that a line of another process cannot come between. If it fails, nobody is left to
                // tell.
                let _ = std::io::stderr().write_all(message(&e).as_bytes());
                ExitCode::from(EXIT_TRAPPED)
            }
        },
    }
}

/// Returns the part of an exit code that the kernel keeps.
fn low_byte(code: i32) -> u8 {
    code.to_le_bytes()[0]
}

/// Puts the reason first, for readers of one line; then the backtrace, with function names if the module has them.
pub fn message(e: &Error) -> String {
    let backtrace = e.downcast_ref::<WasmBacktrace>();
    let reason = match (e.downcast_ref::<Trap>(), backtrace) {
        (Some(trap), _) => format!("the guest trapped: {trap}"),
        // A failing host call: the backtrace is the error's outer text, the reason its root.
        (None, Some(_)) => format!("the guest was stopped: {}", e.root_cause()),
        (None, None) => format!("the guest could not run: {e:#}"),
    };
    match backtrace {
        Some(backtrace) => format!("catamaran: {reason}\n{backtrace}\n"),
        None => format!("catamaran: {reason}\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::{ExitCode, I32Exit, exit_code, low_byte};

    #[test]
    fn an_exit_code_keeps_its_low_eight_bits() {
        for (code, kept) in [(0, 0), (1, 1), (126, 126), (255, 255), (256, 0), (-1, 255)] {
            assert_eq!(low_byte(code), kept);
        }
    }

    #[test]
    fn every_way_to_end_has_an_exit_code() {
        assert_eq!(exit_code(Ok(())), ExitCode::SUCCESS);
        assert_eq!(exit_code(Err(I32Exit(255).into())), ExitCode::from(255));
        assert_eq!(exit_code(Err(wasmtime::Error::msg("the host failed"))), ExitCode::from(134));
    }
}
