//! Talks to systemd (org.freedesktop.systemd1(5)). Blocks, so only the short-lived actions `scope` and `limits` use it.
//!
//! The D-Bus client is our own (`dbus`), because zbus (5.19) cannot use systemd's private socket. There systemd gives its well-known name,
//! org.freedesktop.systemd1, as the sender of each message; zbus accepts only unique names and panics (tried with the answer of systemd 252
//! in `tests`). The bus of dbus-daemon, with unique names, is not on every node, and systemd's own tools do without it. Development build,
//! stripped: with zbus the helper has 8.3 MB instead of 4.7, 20,800 relocations instead of 9,400, and takes 0.1 ms longer to start.

mod dbus;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use catamaran_cgroup::request::{Answer, Property, Request};
use catamaran_cgroup::scope;
use catamaran_host::errand;

use self::dbus::{Body, Connection, Kind, Message};
use crate::error::Result;

const EXISTS: &str = "org.freedesktop.systemd1.UnitExists";
const NOT_THERE: [&str; 2] = ["org.freedesktop.systemd1.NoSuchUnit", "org.freedesktop.DBus.Error.UnknownObject"];

/// Carries out the order on standard input.
pub(crate) fn answer() -> Result<()> {
    errand::carry_out(|(request, limit): (Request, Duration)| carry_out(Path::new(scope::SOCKET), &request, limit))?;
    Ok(())
}

/// Carries out the request, within `limit`.
pub(super) fn carry_out(socket: &Path, request: &Request, limit: Duration) -> Answer {
    let doing = |e: io::Error| Answer::Failed(format!("{}: {e}", socket.display()));
    match Connection::open(socket, Instant::now() + limit) {
        Ok(connection) => {
            let mut manager = Manager { connection, ended: HashMap::new() };
            let done = match request {
                Request::Start { unit, properties } => manager.start(unit, properties),
                Request::Change { unit, properties } => manager.change(unit, properties),
                Request::Stop { unit } => manager.stop(unit),
            };
            done.unwrap_or_else(doing)
        }
        Err(e) => doing(e),
    }
}

/// A conversation with systemd's manager object.
struct Manager {
    connection: Connection,
    /// The results of ended jobs, by the job's path. A job's signal may arrive before the reply that names the job.
    ended: HashMap<String, String>,
}

/// The result of a call.
enum Reply {
    Returned(Message),
    /// The error's name, and its text.
    Error(String, String),
}

impl Manager {
    fn start(&mut self, unit: &str, properties: &[Property]) -> io::Result<Answer> {
        let mut body = Body::default();
        // "replace": this job replaces those queued for the unit.
        body.text(unit).text("replace").properties(properties);
        // No auxiliary units.
        body.no_units();
        let call = |manager: &mut Self| manager.call("StartTransientUnit", "ssa(sv)a(sa(sv))", &body);
        let mut reply = call(self)?;
        if matches!(&reply, Reply::Error(name, _) if name == EXISTS) {
            // A failed unit stays until it is reset. A reset does not remove any other unit.
            self.forget(unit)?;
            reply = call(self)?;
        }
        match reply {
            Reply::Returned(message) => match self.wait(&message.path()?)?.as_str() {
                "done" => Ok(Answer::Done),
                other => {
                    self.forget(unit)?;
                    Ok(Answer::Failed(format!("its job ended with \"{other}\"")))
                }
            },
            Reply::Error(name, _) if name == EXISTS => Ok(Answer::Exists),
            Reply::Error(name, text) => Ok(Answer::Failed(format!("{name}: {text}"))),
        }
    }

    fn change(&mut self, unit: &str, properties: &[Property]) -> io::Result<Answer> {
        let mut body = Body::default();
        // `runtime` is true: the change ends with the unit.
        body.text(unit).flag(true).properties(properties);
        Ok(match self.call("SetUnitProperties", "sba(sv)", &body)? {
            Reply::Returned(_) => Answer::Done,
            Reply::Error(name, text) => Answer::Failed(format!("{name}: {text}")),
        })
    }

    fn stop(&mut self, unit: &str) -> io::Result<Answer> {
        let mut body = Body::default();
        body.text(unit).text("replace");
        let answer = match self.call("StopUnit", "ss", &body)? {
            Reply::Returned(message) => match self.wait(&message.path()?)?.as_str() {
                "done" => Answer::Done,
                other => Answer::Failed(format!("its job ended with \"{other}\"")),
            },
            // The unit ended with its last process.
            Reply::Error(name, _) if NOT_THERE.contains(&name.as_str()) => Answer::Done,
            Reply::Error(name, text) => Answer::Failed(format!("{name}: {text}")),
        };
        self.forget(unit)?;
        Ok(answer)
    }

    /// Makes systemd forget a failed unit. Ignores the error if the unit did not fail or is gone.
    fn forget(&mut self, unit: &str) -> io::Result<()> {
        let mut body = Body::default();
        body.text(unit);
        self.call("ResetFailedUnit", "s", &body).map(drop)
    }

    fn call(&mut self, method: &str, signature: &str, body: &Body) -> io::Result<Reply> {
        let serial = self.connection.call(method, signature, body)?;
        loop {
            let message = self.connection.receive()?;
            if message.reply_to == Some(serial) {
                return Ok(match message.kind {
                    Kind::Error => {
                        let name = message.error.clone().unwrap_or_default();
                        Reply::Error(name, message.text().unwrap_or_default())
                    }
                    _ => Reply::Returned(message),
                });
            }
            self.note(&message)?;
        }
    }

    /// Waits until a job has ended. Returns its result: "done", or another word.
    fn wait(&mut self, job: &str) -> io::Result<String> {
        loop {
            if let Some(result) = self.ended.remove(job) {
                return Ok(result);
            }
            let message = self.connection.receive()?;
            self.note(&message)?;
        }
    }

    fn note(&mut self, message: &Message) -> io::Result<()> {
        if message.kind == Kind::Signal && message.member.as_deref() == Some("JobRemoved") {
            let (job, result) = message.job_removed()?;
            self.ended.insert(job, result);
        }
        Ok(())
    }
}
