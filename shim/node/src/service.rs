//! Restarts containerd and schedules a rollback: by systemd, by a command of the administrator's, or not at all.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use zbus::blocking::{Connection, Proxy, connection};
use zbus::zvariant::{OwnedObjectPath, Value};

use crate::error::{Error, Result};
use crate::host::Host;
use crate::node::Rollback;
use crate::private_bus;
use crate::run;
use crate::state::HOME_VARIABLE;

pub(crate) const BUS: &str = "/run/dbus/system_bus_socket";
pub(crate) const BUS_VARIABLE: &str = "DBUS_SYSTEM_BUS_ADDRESS";
pub(crate) const SOCKET: &str = "/run/systemd/private";
/// Names another place of systemd's socket on the host.
pub(crate) const SOCKET_VARIABLE: &str = "CATAMARAN_SYSTEMD_SOCKET";
const SYSTEMD: &str = "org.freedesktop.systemd1";
/// The time limit of one call on the bus.
const CALL: Duration = Duration::from_secs(25);
/// The time limit of a restart: as long as systemd itself waits by default, for the stop and for the start.
const RESTART: Duration = Duration::from_secs(150);
const PAUSE: Duration = Duration::from_millis(100);

/// How containerd is restarted.
pub(crate) trait Services {
    /// Returns an error if this service manager cannot restart that unit.
    fn check(&self, unit: Option<&str>) -> Result<()>;
    fn restart(&self, unit: Option<&str>) -> Result<()>;
    fn arm(&self, rollback: &Rollback<'_>) -> Result<()>;
    fn disarm(&self, id: &str) -> Result<()>;
    /// The unit of a process.
    fn unit_of(&self, pid: u32) -> Option<String>;
}

/// systemd, by the host's D-Bus; without a bus, as on kind's nodes, by systemd's own socket.
pub(crate) struct Systemd<'h> {
    host: &'h Host,
    connection: Connection,
}

impl<'h> Systemd<'h> {
    pub(crate) fn connect(host: &'h Host) -> Result<Self> {
        let bus = std::env::var(BUS_VARIABLE);
        let socket = std::env::var_os(SOCKET_VARIABLE).map(PathBuf::from);
        let by_bus = || {
            let usual = || format!("unix:path={}", host.at(Path::new(BUS)).display());
            let address = bus.clone().unwrap_or_else(|_| usual());
            let made = connection::Builder::address(address.as_str()).and_then(|it| it.method_timeout(CALL).build());
            asked(made).map_err(|e| format!("at {address}: {e}"))
        };
        let by_socket = || {
            let path = host.at(socket.as_deref().unwrap_or(Path::new(SOCKET)));
            asked(private_bus::connect(&path, CALL)).map_err(|e| format!("at {}: {e}", path.display()))
        };
        // A place that is named in the environment is the only one tried.
        let made = match (&bus, &socket) {
            (Ok(_), _) => by_bus(),
            (_, Some(_)) => by_socket(),
            _ => by_bus().or_else(|bus| by_socket().map_err(|socket| format!("{bus}; {socket}"))),
        };
        let connection = made.map_err(|why| {
            Error::refused(
                format!("systemd does not answer {why}"),
                "run where the host's /run is there; on a node without systemd say how containerd is restarted with \
                 --restart-command, or restart it yourself with --restart none",
            )
        })?;
        Ok(Self { host, connection })
    }

    fn manager(&self) -> zbus::Result<Proxy<'_>> {
        manager(&self.connection)
    }

    fn unit(&self, name: &str) -> zbus::Result<Proxy<'_>> {
        let path: OwnedObjectPath = self.manager()?.call("LoadUnit", &(name,))?;
        uncached(&self.connection, path)
    }

    fn do_restart(&self, name: &str) -> zbus::Result<std::result::Result<(), String>> {
        let unit = self.unit(name)?;
        let _: OwnedObjectPath = self.manager()?.call("RestartUnit", &(name, "replace"))?;
        let until = Instant::now() + RESTART;
        loop {
            let (job, _): (u32, OwnedObjectPath) = unit.get_property("Job")?;
            if job == 0 {
                break;
            }
            if Instant::now() > until {
                return Ok(Err(format!("its restart was not done after {} s", RESTART.as_secs())));
            }
            sleep(PAUSE);
        }
        let state: String = unit.get_property("ActiveState")?;
        let sub: String = unit.get_property("SubState")?;
        Ok(if state == "active" { Ok(()) } else { Err(format!("after its restart it is {state} ({sub})")) })
    }
}

/// Returns the connection if systemd answers on it.
fn asked(made: zbus::Result<Connection>) -> zbus::Result<Connection> {
    let connection = made?;
    let _: String = manager(&connection)?.get_property("Version")?;
    Ok(connection)
}

fn manager(connection: &Connection) -> zbus::Result<Proxy<'_>> {
    let path = OwnedObjectPath::try_from("/org/freedesktop/systemd1")?;
    let builder = zbus::blocking::proxy::Builder::new(connection).destination(SYSTEMD)?.path(path)?;
    builder.interface("org.freedesktop.systemd1.Manager")?.cache_properties(zbus::proxy::CacheProperties::No).build()
}

fn uncached(connection: &Connection, path: OwnedObjectPath) -> zbus::Result<Proxy<'_>> {
    let builder = zbus::blocking::proxy::Builder::new(connection).destination(SYSTEMD)?.path(path)?;
    builder.interface("org.freedesktop.systemd1.Unit")?.cache_properties(zbus::proxy::CacheProperties::No).build()
}

fn needs_unit(unit: Option<&str>) -> Result<&str> {
    unit.ok_or_else(|| {
        Error::refused(
            "containerd runs in no systemd unit, so that systemd cannot restart it",
            "name its unit with --unit, say how it is restarted with --restart-command, or restart it yourself with --restart none",
        )
    })
}

impl Services for Systemd<'_> {
    fn check(&self, unit: Option<&str>) -> Result<()> {
        let name = needs_unit(unit)?;
        let state = self.unit(name).and_then(|unit| unit.get_property::<String>("LoadState"));
        match state.as_deref() {
            Ok("loaded") => Ok(()),
            Ok(other) => Err(Error::refused(
                format!("systemd says of the unit {name}: {other}"),
                "name containerd's unit with --unit (systemctl status PID says which it is)",
            )),
            Err(e) => Err(Error::refused(
                format!("systemd does not say how the unit {name} is: {e}"),
                "look at the host's D-Bus",
            )),
        }
    }

    fn restart(&self, unit: Option<&str>) -> Result<()> {
        let name = needs_unit(unit)?;
        let why = match self.do_restart(name) {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(why)) => why,
            Err(e) => e.to_string(),
        };
        Err(Error::failed(format!("{name} was restarted: {why}"), format!("look at `journalctl -u {name}`")))
    }

    fn arm(&self, rollback: &Rollback<'_>) -> Result<()> {
        let (timer, service) = units(rollback.id);
        let words = words(rollback);
        let program = rollback.program.to_string_lossy().into_owned();
        // Hand on the variables that name other places than the usual ones, as paths of the host.
        let home = std::env::var(HOME_VARIABLE).ok();
        let bus = std::env::var(BUS_VARIABLE).ok().and_then(|address| self.host.address(&address));
        let socket = std::env::var(SOCKET_VARIABLE).ok();
        let handed_on = [(HOME_VARIABLE, home), (BUS_VARIABLE, bus), (SOCKET_VARIABLE, socket)];
        let environment: Vec<String> =
            handed_on.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", value?))).collect();
        let after = u64::try_from(rollback.after.as_micros()).unwrap_or(u64::MAX);
        let description = "Takes a change of containerd's configuration back, unless it proves itself (catamaran)";
        let of_timer: Vec<(&str, Value<'_>)> = vec![
            ("Description", description.into()),
            ("TimersMonotonic", vec![("OnActiveSec", after)].into()),
            ("AccuracyUSec", 1_000_000_u64.into()),
            ("RemainAfterElapse", false.into()),
        ];
        let of_service: Vec<(&str, Value<'_>)> = vec![
            ("Description", description.into()),
            ("Type", "oneshot".into()),
            ("CollectMode", "inactive-or-failed".into()),
            ("ExecStart", vec![(program, words, false)].into()),
            ("Environment", environment.into()),
        ];
        let asked = (timer.as_str(), "replace", of_timer, vec![(service.as_str(), of_service)]);
        let made: zbus::Result<OwnedObjectPath> = self.manager().and_then(|m| m.call("StartTransientUnit", &asked));
        made.map(drop).map_err(|e| {
            Error::failed(
                format!("systemd does not take the timer {timer}, which would take the change back: {e}"),
                "nothing was changed; look at `journalctl -b -u systemd` or the host's D-Bus",
            )
        })
    }

    fn disarm(&self, id: &str) -> Result<()> {
        let (timer, _) = units(id);
        let stopped: zbus::Result<OwnedObjectPath> =
            self.manager().and_then(|m| m.call("StopUnit", &(timer.as_str(), "replace")));
        match stopped {
            // The timer has elapsed: its rollback finds a change that is done, and does nothing.
            Err(zbus::Error::MethodError(name, ..)) if name.ends_with(".NoSuchUnit") => Ok(()),
            Err(e) => Err(Error::failed(
                format!("the timer {timer} cannot be stopped: {e}"),
                format!("run `systemctl stop {timer}`"),
            )),
            Ok(_) => Ok(()),
        }
    }

    fn unit_of(&self, pid: u32) -> Option<String> {
        let path: OwnedObjectPath = self.manager().ok()?.call("GetUnitByPID", &(pid,)).ok()?;
        let name: String = uncached(&self.connection, path).ok()?.get_property("Id").ok()?;
        name.ends_with(".service").then_some(name)
    }
}

fn units(id: &str) -> (String, String) {
    (format!("catamaran-rollback-{id}.timer"), format!("catamaran-rollback-{id}.service"))
}

/// The arguments of a rollback, its own name first.
fn words(rollback: &Rollback<'_>) -> Vec<String> {
    ["catamaran", "rollback", rollback.id].map(str::to_owned).to_vec()
}

/// A command of the administrator's, run by the host's shell.
pub(crate) struct Shell<'h> {
    pub(crate) host: &'h Host,
    pub(crate) command: String,
}

impl Services for Shell<'_> {
    fn check(&self, _: Option<&str>) -> Result<()> {
        Ok(())
    }

    fn restart(&self, _: Option<&str>) -> Result<()> {
        let output = run::on_host(self.host, Path::new("/bin/sh"), &["-c", &self.command], RESTART);
        let failed = |why: String| {
            Error::failed(
                format!("--restart-command ({}): {why}", self.command),
                "run that command on the host and look at its answer",
            )
        };
        let output = output.map_err(|e| failed(e.to_string()))?;
        if output.status.success() { Ok(()) } else { Err(failed(format!("{}: {}", output.status, output.words()))) }
    }

    fn arm(&self, rollback: &Rollback<'_>) -> Result<()> {
        let seconds = rollback.after.as_secs().to_string();
        let mut command = run::host_command(self.host, rollback.program).map_err(|e| {
            Error::failed(format!("{} cannot be started: {e}", rollback.program.display()), "report this")
        })?;
        // The rollback gets a process group of its own, so that a signal that ends the installer spares it.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        command.args(&words(rollback)[1..]).args(["--after", &seconds, "--restart-command", &self.command]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let started: std::io::Result<_> = Command::spawn(&mut command);
        started.map(drop).map_err(|e| {
            Error::failed(
                format!("{} cannot be started, which would take the change back: {e}", rollback.program.display()),
                "nothing was changed; look whether programs can be executed from that folder",
            )
        })
    }

    fn disarm(&self, _: &str) -> Result<()> {
        // The rollback finds that its change is done, and ends.
        Ok(())
    }

    fn unit_of(&self, _: u32) -> Option<String> {
        None
    }
}

/// No service manager: the administrator restarts containerd.
pub(crate) struct Nobody;

impl Services for Nobody {
    fn check(&self, _: Option<&str>) -> Result<()> {
        Ok(())
    }

    fn restart(&self, _: Option<&str>) -> Result<()> {
        Ok(())
    }

    fn arm(&self, _: &Rollback<'_>) -> Result<()> {
        Ok(())
    }

    fn disarm(&self, _: &str) -> Result<()> {
        Ok(())
    }

    fn unit_of(&self, _: u32) -> Option<String> {
        None
    }
}

/// A service manager that did not answer, kept for the doctor's report.
pub(crate) struct Missing(pub(crate) Error);

impl Missing {
    fn again(&self) -> Error {
        Error::Refused(self.0.problem().clone())
    }
}

impl Services for Missing {
    fn check(&self, _: Option<&str>) -> Result<()> {
        Err(self.again())
    }

    fn restart(&self, _: Option<&str>) -> Result<()> {
        Err(self.again())
    }

    fn arm(&self, _: &Rollback<'_>) -> Result<()> {
        Err(self.again())
    }

    fn disarm(&self, _: &str) -> Result<()> {
        Err(self.again())
    }

    fn unit_of(&self, _: u32) -> Option<String> {
        None
    }
}
