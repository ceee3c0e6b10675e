//! Ends the process at once when host code panics: with 134, and a line on standard error that says where.
//!
//! The panic hook ends it, before anything is unwound. After unwinding it would be too late: a value dropped on the way may tell
//! another thread that the guest has ended well, and that thread ends the process with 0.
#![allow(unsafe_code, reason = "_exit(2) and write(2) have no safe form that a hook could use")]

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, set_hook};

use nix::libc;

use crate::EXIT_TRAPPED;

/// The most bytes of a panic's message, so that a termination log holds the line.
const MOST_BYTES: usize = 1024;

thread_local! {
    /// Whether this thread is in [`caught`].
    static CAUGHT: Cell<bool> = const { Cell::new(false) };
}

/// Has every panic from now on end the process, on any thread.
pub(crate) fn end_the_process() {
    set_hook(Box::new(|panic| {
        // The flag is gone only if the thread itself is ending.
        if CAUGHT.try_with(Cell::get).unwrap_or(false) {
            return;
        }
        say(&line(panic));
        // SAFETY: the call takes a number and does not return. Nothing is buffered in this process that it would lose.
        unsafe { libc::_exit(EXIT_TRAPPED.into()) }
    }));
}

/// Runs code of a library that may panic where it should return an error. If it does, returns None, and the caller must not use
/// the code's arguments again.
pub fn caught<T>(code: impl FnOnce() -> T) -> Option<T> {
    let outer = CAUGHT.replace(true);
    let done = catch_unwind(AssertUnwindSafe(code)).ok();
    CAUGHT.set(outer);
    done
}

/// Returns a panic as one line.
fn line(panic: &PanicHookInfo<'_>) -> String {
    let place = panic.location().map_or_else(|| "an unknown place".to_owned(), |place| place.to_string());
    let text = panic.payload_as_str().unwrap_or("no message");
    let mut line = format!("catamaran: the host failed: panic at {}: {text}", shortened(&place)).replace('\n', " ");
    let end = (0..=MOST_BYTES.min(line.len())).rev().find(|&end| line.is_char_boundary(end)).unwrap_or(0);
    line.truncate(end);
    line.push('\n');
    line
}

/// Returns a place in a library without the build machine's folder.
fn shortened(place: &str) -> &str {
    let library = place.split_once("/registry/src/").and_then(|(_, rest)| rest.split_once('/'));
    library.map_or(place, |(_, file)| file)
}

/// Writes the line by one write(2), without a lock that the thread may hold already. A failure cannot be reported to anybody.
fn say(line: &str) {
    // SAFETY: the bytes outlive the call, which only reads them.
    unsafe { libc::write(libc::STDERR_FILENO, line.as_ptr().cast(), line.len()) };
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::sync::{Arc, Mutex};
    use std::{env, thread};

    use super::{caught, end_the_process, shortened};

    /// The variable that says how the process panics.
    const WAY: &str = "CATAMARAN_TEST_PANIC";

    /// Tells a success when it is dropped, as a guard of a thread does.
    struct Success;

    impl Drop for Success {
        fn drop(&mut self) {
            std::process::exit(0);
        }
    }

    /// Panics in one of the ways; exits with 1 if the hook does not end this process.
    #[test]
    #[ignore = "run by the test below, in a process of its own"]
    fn process_that_panics() {
        end_the_process();
        let poison = Arc::new(Mutex::new(()));
        let panics = || panic!("on\npurpose");
        match env::var(WAY).unwrap().as_str() {
            "here" => panics(),
            "a guard that tells a success" => {
                let _success = Success;
                panics();
            }
            "caught" => _ = std::panic::catch_unwind(panics),
            "another thread" => _ = thread::spawn(panics).join(),
            "a lock held" => {
                let _held = poison.lock().unwrap();
                panics();
            }
            "behind one that is let through" => {
                assert!(caught(|| panic!("let through")).is_none());
                panics();
            }
            other => unreachable!("{other}"),
        }
        std::process::exit(1);
    }

    #[test]
    fn a_panic_ends_the_process_wherever_it_is() {
        for way in [
            "here",
            "a guard that tells a success",
            "caught",
            "another thread",
            "a lock held",
            "behind one that is let through",
        ] {
            let ended = Command::new(env::current_exe().unwrap())
                .args(["--exact", "panics::tests::process_that_panics", "--ignored", "--nocapture"])
                .env(WAY, way)
                .output()
                .unwrap();
            let says = String::from_utf8(ended.stderr).unwrap();
            assert_eq!(ended.status.code(), Some(134), "{way}: {says}");
            assert!(says.starts_with("catamaran: the host failed: panic at "), "{way}: {says}");
            assert!(says.ends_with(": on purpose\n") && says.lines().count() == 1, "{way}: {says}");
        }
    }

    #[test]
    fn a_panics_location_names_only_the_library() {
        let there = "/home/me/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/library-1.2.3/src/lib.rs:4:5";
        assert_eq!(shortened(there), "library-1.2.3/src/lib.rs:4:5");
        assert_eq!(shortened("shim/worker/src/lib.rs:4:5"), "shim/worker/src/lib.rs:4:5");
    }
}
