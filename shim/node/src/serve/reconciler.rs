//! The working thread: does at once what the mode file says, and checks an installed node again and again.
//!
//! ```text
//! mode file --> install    a glance: as it was left? --> ready, again after the interval
//!           |              else, and once at the start: the whole installation
//!           '-> uninstall  once; refused or failed, again later
//! failed: again after 1 s, doubled up to the interval. Taken back: later, because each attempt restarts containerd twice
//! ```

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::board::{Board, State};
use super::mode::Mode;
use super::stop::{Stop, Stoppable, Stopped};
use crate::change::Ended;
use crate::error::{Error, On, Result};
use crate::handler::Options;
use crate::host::Host;
use crate::install::{Done, Installer, Settings, Stamps};
use crate::node::Node;
use crate::programs::Programs;
use crate::state;

/// The pause between two looks at the mode file.
pub(crate) const LOOK: Duration = Duration::from_secs(2);
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// The pause before a change that was taken back is tried again; it doubles each time, up to `LAST_AFTER_ROLLBACK`, because each attempt
/// restarts containerd twice.
const AFTER_ROLLBACK: Duration = Duration::from_secs(300);
const LAST_AFTER_ROLLBACK: Duration = Duration::from_secs(3600);

pub(crate) const INSTALLS: &str = "catamaran_installs_total";
pub(crate) const UNINSTALLS: &str = "catamaran_uninstalls_total";
pub(crate) const RECONCILES: &str = "catamaran_reconciles_total";

/// The options of the command line.
#[derive(Debug, Clone)]
pub(crate) struct Wish {
    pub(crate) handler: String,
    /// Read for each pass. These two files are this process's own.
    pub(crate) options_file: Option<PathBuf>,
    pub(crate) mode_file: PathBuf,
    pub(crate) interval: Duration,
}

/// A node to check, which needs no service manager, and one to work on, connected anew each time.
pub(crate) trait Nodes {
    fn to_look(&self) -> &dyn Node;
    /// Returns an error if there is no service manager.
    fn to_work(&self, work: &mut dyn FnMut(&dyn Node) -> Result<Done>) -> Result<Done>;
}

/// The result of a pass that did not fail.
enum Outcome {
    /// Nothing had to be done.
    Intact,
    /// The installer has worked.
    Worked(Done),
}

pub(crate) struct Reconciler<'a> {
    host: &'a Host,
    nodes: &'a dyn Nodes,
    settings: &'a Settings,
    wish: &'a Wish,
    programs: &'a Programs,
    board: &'a Board,
    stop: &'a Stop,
    mode: Option<Mode>,
    /// When the next pass is due; None if only a change of the mode is awaited.
    due: Option<Instant>,
    failures: u32,
    /// Stamps of the programs that this process has proven.
    stamps: Option<Stamps>,
    /// The last message in the log.
    logged: String,
}

impl<'a> Reconciler<'a> {
    pub(crate) fn new(
        host: &'a Host,
        nodes: &'a dyn Nodes,
        settings: &'a Settings,
        wish: &'a Wish,
        programs: &'a Programs,
        board: &'a Board,
        stop: &'a Stop,
    ) -> Self {
        Self {
            host,
            nodes,
            settings,
            wish,
            programs,
            board,
            stop,
            mode: None,
            due: None,
            failures: 0,
            stamps: None,
            logged: String::new(),
        }
    }

    /// Works until it is asked to end.
    pub(crate) fn run(mut self) {
        while !self.stop.wait(Duration::ZERO) {
            if self.turn(Instant::now()).is_err() {
                break;
            }
            let wait = self.due.map_or(LOOK, |due| due.saturating_duration_since(Instant::now()));
            self.stop.wait(wait.min(LOOK));
        }
    }

    /// Reads the mode, and does what is due. Returns an error if the process was asked to end meanwhile.
    pub(crate) fn turn(&mut self, now: Instant) -> std::result::Result<(), Stopped> {
        let mode = match Mode::read(&self.wish.mode_file) {
            Ok(mode) => mode,
            Err(e) => {
                self.mode = None;
                self.tell(State::Failed, &e.to_string());
                return Ok(());
            }
        };
        if self.mode != Some(mode) {
            self.mode = Some(mode);
            self.failures = 0;
            self.due = Some(now);
            self.tell(State::Working, "the mode is new: looking at the node");
        }
        if self.due.is_none_or(|due| due > now) {
            return Ok(());
        }
        let begin = Instant::now();
        let passed = catch_unwind(AssertUnwindSafe(|| match mode {
            Mode::Install => self.install(),
            Mode::Uninstall => self.uninstall(false),
            Mode::UninstallForce => self.uninstall(true),
        }));
        let outcome = match passed {
            Ok(outcome) => outcome,
            Err(why) if why.is::<Stopped>() => return Err(Stopped),
            Err(_) => Err(Error::failed("a bug in catamaran broke this pass off", "report it with the lines above")),
        };
        // The caller's clock has advanced too, by the length of the pass.
        let now = now + begin.elapsed();
        match mode {
            Mode::Install => self.after_install(now, &outcome),
            Mode::Uninstall | Mode::UninstallForce => self.after_uninstall(now, &outcome),
        }
        Ok(())
    }

    fn options(&self) -> Result<Options> {
        let Some(file) = &self.wish.options_file else { return Ok(Options::default()) };
        let text = fs::read_to_string(file).on("reading", file)?;
        Options::parse(&file.display().to_string(), &text)
    }

    fn install(&mut self) -> Result<Outcome> {
        let options = self.options()?;
        if let Some(stamps) = &self.stamps {
            let node = Stoppable::new(self.nodes.to_look(), self.stop);
            let found = self.installer(&node).glance(self.programs, &self.wish.handler, &options, stamps)?;
            let Some(found) = found else { return Ok(Outcome::Intact) };
            eprintln!("catamaran: {found}");
        }
        if self.failures == 0 {
            // The result is worth a line in the log, even if it is the same line as before.
            self.logged.clear();
        }
        self.tell(State::Working, "installing");
        self.stamps = None;
        let done = self.nodes.to_work(&mut |node| {
            let node = Stoppable::new(node, self.stop);
            self.installer(&node).install(self.programs, &self.wish.handler, &options)
        })?;
        if done.ended == Ended::Proven {
            self.stamps = done.folder.as_deref().map(|folder| Stamps::read(self.host, folder));
        }
        Ok(Outcome::Worked(done))
    }

    fn uninstall(&mut self, force: bool) -> Result<Outcome> {
        self.stamps = None;
        let state = state::look(self.host)?;
        let mut work = |node: &dyn Node| {
            let node = Stoppable::new(node, self.stop);
            self.installer(&node).uninstall(force)
        };
        // If nothing is installed, nothing is restarted: the node may have no service manager.
        let done = match (&state.installed, &state.pending) {
            (None, None) => work(self.nodes.to_look()),
            _ => self.nodes.to_work(&mut work),
        };
        done.map(Outcome::Worked)
    }

    fn installer<'i>(&'i self, node: &'i dyn Node) -> Installer<'i> {
        // The progress of a repeated attempt would be that of the first one.
        let say: &dyn Fn(&str) = match self.failures {
            0 => &|words| eprintln!("catamaran: {words} ..."),
            _ => &|_| (),
        };
        Installer { host: self.host, node, settings: self.settings, say }
    }

    fn after_install(&mut self, now: Instant, outcome: &Result<Outcome>) {
        // A glance that failed has changed nothing.
        if self.stamps.is_none() || matches!(outcome, Ok(Outcome::Worked(_))) {
            self.count(INSTALLS, outcome);
        }
        self.board.count(
            RECONCILES,
            match outcome {
                Ok(Outcome::Intact) => "intact",
                Ok(Outcome::Worked(done)) if done.ended == Ended::Proven => "mended",
                Ok(Outcome::Worked(_)) | Err(_) => "failed",
            },
        );
        match outcome {
            Ok(Outcome::Worked(done)) if done.ended == Ended::RestartNeeded => self.failed(
                now,
                State::Failed,
                "containerd's configuration is written, and containerd is to be restarted by hand (--restart none)\n  What to do: \
                 restart containerd on this node; the next look proves it",
            ),
            Ok(_) => {
                self.failures = 0;
                self.due = Some(now + self.wish.interval);
                let message = format!("the handler {:?} runs {}", self.wish.handler, self.programs.name);
                self.tell(State::Ready, &message);
            }
            Err(e) => self.after_error(now, e),
        }
    }

    fn after_uninstall(&mut self, now: Instant, outcome: &Result<Outcome>) {
        self.count(UNINSTALLS, outcome);
        match outcome {
            Ok(Outcome::Worked(done)) if done.ended == Ended::RestartNeeded => self.failed(
                now,
                State::Failed,
                "containerd's configuration is restored, and containerd is to be restarted by hand (--restart none)\n  What to do: \
                 restart containerd on this node; the next look removes the programs",
            ),
            Ok(outcome) => {
                self.failures = 0;
                self.due = None;
                let broken = match outcome {
                    Outcome::Worked(done) => done.broken.as_slice(),
                    Outcome::Intact => &[],
                };
                let mut message = "nothing of Catamaran is left on this node".to_owned();
                if !broken.is_empty() {
                    message += &format!("; these pods run on, and can neither be executed in nor deleted: {}", broken.join(", "));
                }
                self.tell(State::Uninstalled, &message);
            }
            Err(e) => self.after_error(now, e),
        }
    }

    fn count(&self, metric: &'static str, outcome: &Result<Outcome>) {
        match outcome {
            Ok(Outcome::Intact) => {}
            Ok(Outcome::Worked(done)) => self.board.count(metric, done_word(done)),
            Err(e) => self.board.count(metric, error_word(e)),
        }
    }

    fn after_error(&mut self, now: Instant, e: &Error) {
        let state = if matches!(e, Error::Refused(_)) { State::Refused } else { State::Failed };
        self.failed(now, state, &e.to_string());
        if matches!(e, Error::RolledBack(_)) {
            let doubled = AFTER_ROLLBACK.saturating_mul(1 << (self.failures - 1).min(16));
            self.due = Some(now + doubled.min(LAST_AFTER_ROLLBACK));
        }
    }

    /// Reports a failure, and schedules the next attempt.
    fn failed(&mut self, now: Instant, state: State, message: &str) {
        let doubled = FIRST_RETRY.saturating_mul(1 << self.failures.min(16));
        self.failures += 1;
        self.due = Some(now + doubled.min(self.wish.interval));
        self.tell(state, message);
    }

    /// Reports to the server, and to the log once for each change.
    fn tell(&mut self, state: State, message: &str) {
        self.board.tell(self.mode, state, message);
        let line = format!("{}: {message}", self.mode.map_or("no mode", Mode::word));
        if state != State::Working && line != self.logged {
            eprintln!("catamaran: {line}");
            self.logged = line;
        }
    }
}

fn done_word(done: &Done) -> &'static str {
    match done {
        Done { ended: Ended::RestartNeeded, .. } => "restart-needed",
        Done { changed: true, .. } => "changed",
        Done { .. } => "unchanged",
    }
}

fn error_word(e: &Error) -> &'static str {
    match e {
        Error::Refused(_) => "refused",
        Error::Failed(_) => "failed",
        Error::RolledBack(_) => "rolled-back",
    }
}

#[cfg(test)]
mod tests;
