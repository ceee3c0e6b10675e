//! One container of a suite, however it ends.

use std::time::Duration;

use catamaran_harness::{Container, Output};

/// How a program of a suite ended.
pub(crate) struct Attempt {
    /// Its output and code.
    pub(crate) output: Output,
    /// It did not end within its limit and was killed.
    pub(crate) hung: bool,
}

impl Attempt {
    /// Runs the container to its end, or kills it at the limit.
    ///
    /// # Panics
    /// When it cannot be created or removed.
    pub(crate) fn make(order: &Container<'_>, limit: Duration) -> Self {
        let task = order.clone().limit(limit).spawn();
        match task.try_wait(limit) {
            Ok(_) => Self { output: task.delete(), hung: false },
            Err(_) => Self { output: task.discard(), hung: true },
        }
    }

    /// How it ended, for a test that never ended by itself.
    pub(crate) fn end(&self) -> String {
        let told: Vec<&str> = self.output.stderr.lines().take(LINES).collect();
        let how =
            if self.hung { "it did not end and was killed".into() } else { format!("exit code {}", self.output.code) };
        format!("the program broke off: {how}\n{}", told.join("\n"))
    }
}

/// Enough of a panic to see where it is.
const LINES: usize = 12;
