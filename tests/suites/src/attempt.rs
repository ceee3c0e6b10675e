//! One container of a suite, however it ends.

use std::time::Duration;

use catamaran_harness::{Container, Output};

/// The end of a suite's program.
pub(crate) struct Attempt {
    /// Its output and code.
    pub(crate) output: Output,
    /// Whether it did not end within its limit and was killed.
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

    /// A description of its end, for a test that never ended by itself.
    pub(crate) fn end(&self) -> String {
        let told: Vec<&str> = self.output.stderr.lines().take(LINES).collect();
        let how =
            if self.hung { "it did not end and was killed".into() } else { format!("exit code {}", self.output.code) };
        format!("the program broke off: {how}\n{}", told.join("\n"))
    }
}

/// The lines of a panic that show where it is.
const LINES: usize = 12;
