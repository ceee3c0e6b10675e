//! `catamaran` puts a node in order: it installs the shim, its handler and its programs, and leaves no trace when it removes them.
//!
//! ```text
//! cli --> install: install, uninstall, rollback      look: status, doctor      serve: install again and again, metrics
//!           |- layout (containerd, root_file, process)   which containerd, where its handler belongs
//!           |- programs                                  a folder for each version
//!           |- plan (handler) --> judge                  the files; containerd's own word on them
//!           '- change (state, files, aliases)           written down, armed, swapped, restarted, proven; or taken back
//!                `- node: real (service, grpc, canary, run)
//! ```

mod aliases;
mod cache;
mod canary;
mod change;
mod cli;
mod compare;
mod container;
mod containerd;
mod counters;
mod error;
#[cfg(test)]
mod fake;
mod files;
mod grpc;
mod handler;
mod helper;
mod host;
mod image;
mod inspect;
mod install;
mod judge;
mod layout;
mod look;
mod node;
mod plan;
mod policy;
mod private_bus;
mod process;
mod programs;
mod real;
mod root_file;
mod run;
mod serve;
mod service;
mod state;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tree;
mod units;

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{CommandFactory, Parser};
use serde_json::{Value, json};

use crate::change::Ended;
use crate::cli::{
    Cli, Command, FAILED, Form, NOT_INSTALLED, NodeArgs, OK, REFUSED, RESTART_NEEDED, ROLLED_BACK, Restart, UNWELL,
};
use crate::error::{Error, On, Result};
use crate::handler::Options;
use crate::helper::own_folder;
use crate::host::Host;
use crate::install::{Done, Installer, Settings};
use crate::layout::Wanted;
use crate::look::Status;
use crate::programs::Programs;
use crate::real::Real;
use crate::service::{Nobody, Services, Shell, Systemd};

/// A command's answer: the text, the JSON, the exit code.
type Answer = (String, Value, u8);

fn main() -> ExitCode {
    let cli = Cli::parse();
    let form = cli.node.output;
    let (text, value, code) = carry_out(cli).unwrap_or_else(|e| of_error(&e));
    match form {
        // Failures and refusals go to standard error.
        Form::Text if [FAILED, REFUSED, ROLLED_BACK].contains(&code) => eprintln!("catamaran: {text}"),
        Form::Text => print!("{text}"),
        Form::Json => println!("{value:#}"),
    }
    ExitCode::from(code)
}

fn of_error(error: &Error) -> Answer {
    let (kind, code) = match error {
        Error::Refused(_) => ("refused", REFUSED),
        Error::Failed(_) => ("failed", FAILED),
        Error::RolledBack(_) => ("rolled-back", ROLLED_BACK),
    };
    let problem = error.problem();
    let value = json!({"error": {"kind": kind, "found": problem.found, "remedy": problem.remedy}});
    (problem.to_string(), value, code)
}

fn carry_out(cli: Cli) -> Result<Answer> {
    let host = Host::new(&cli.node.root);
    match cli.command {
        Command::Enter { folder, program, words } => {
            let e = run::enter(&folder, &program, &words);
            return Err(e).on("running", &program);
        }
        Command::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "catamaran", &mut script);
            let script = String::from_utf8_lossy(&script).into_owned();
            return Ok((script.clone(), json!({"script": script}), OK));
        }
        Command::Man { folder } => {
            fs::create_dir_all(&folder).on("making the folder", &folder)?;
            clap_mangen::generate_to(Cli::command(), &folder).on("writing into", &folder)?;
            return Ok((
                format!("Manual pages are in {}: man {0}/catamaran.1\n", folder.display()),
                json!({"folder": folder}),
                OK,
            ));
        }
        Command::Inspect(ref args) => return inspect::run(&host, &cli.node, args),
        Command::Compare(ref args) => return compare::run(&host, &cli.node, args),
        Command::Cache { ref action } => return cache::run(&host, &cli.node, action),
        Command::Rollback { ref id, after: Some(seconds) } => await_end(&host, id, Duration::from_secs(seconds)),
        _ => (),
    }
    let settings = Settings {
        wanted: Wanted { socket: cli.node.containerd_socket.clone(), prefix: cli.node.programs_dir.clone() },
        unit: cli.node.unit.clone(),
        by_hand: cli.node.restart == Restart::None,
        rollback_after: Duration::from_secs(cli.node.rollback_after),
        runwasi_names: match &cli.command {
            Command::Install { runwasi_names, .. } => runwasi_names.clone(),
            Command::Serve(args) => args.runwasi_names.clone(),
            _ => None,
        },
    };
    if let Command::Serve(args) = &cli.command {
        let from = args.from.clone().map_or_else(own_folder, Ok)?;
        let programs = Programs::find(&from, install::VERSION)?;
        let connect = || services(&host, &cli.node, &cli.command);
        serve::run(&host, &settings, args, &programs, &connect)?;
        return Ok((String::new(), json!({"ended": true}), OK));
    }
    let node = Real { host: &host, services: services(&host, &cli.node, &cli.command)? };
    let say = |words: &str| eprintln!("catamaran: {words} ...");
    let installer = Installer { host: &host, node: &node, settings: &settings, say: &say };
    match cli.command {
        Command::Install { handler, options_file, from, .. } => {
            let options = options_file.as_deref().map_or_else(|| Ok(Options::default()), options)?;
            let from = from.map_or_else(own_folder, Ok)?;
            let programs = Programs::find(&from, install::VERSION)?;
            installer.install(&programs, &handler, &options).map(|done| of_install(&done, &handler))
        }
        Command::Uninstall { force } => installer.uninstall(force).map(|done| of_uninstall(&done)),
        Command::Status => look::status(&installer).map(|status| of_status(&status)),
        Command::Rollback { id, .. } => installer.roll_back(&id).map(|back| {
            let text = if back { "The change was taken back.\n" } else { "There was nothing to take back.\n" };
            (text.to_owned(), json!({"taken_back": back}), OK)
        }),
        _ => Ok(of_doctor(&look::doctor(&installer))),
    }
}

/// Waits until the rollback is due, or until its change is done.
fn await_end(host: &Host, id: &str, after: Duration) {
    let until = Instant::now() + after;
    let is_pending = || state::look(host).is_ok_and(|state| state.pending.is_some_and(|pending| pending.id == id));
    while Instant::now() < until && is_pending() {
        std::thread::sleep(Duration::from_secs(1));
    }
}

fn services<'h>(host: &'h Host, args: &NodeArgs, command: &Command) -> Result<Box<dyn Services + 'h>> {
    if let Some(command) = &args.restart_command {
        return Ok(Box::new(Shell { host, command: command.clone() }));
    }
    if args.restart == Restart::None {
        return Ok(Box::new(Nobody));
    }
    let systemd = Systemd::connect(host);
    match (systemd, command) {
        (Ok(systemd), _) => Ok(Box::new(systemd)),
        // `status` needs no service manager; the doctor reports that there is none.
        (Err(_), Command::Status) => Ok(Box::new(Nobody)),
        (Err(e), Command::Doctor) => Ok(Box::new(service::Missing(e))),
        (Err(e), _) => Err(e),
    }
}

fn options(file: &Path) -> Result<Options> {
    let text = fs::read_to_string(file).on("reading", file)?;
    Options::parse(&file.display().to_string(), &text)
}

fn of_install(done: &Done, handler: &str) -> Answer {
    let folder = done.folder.as_deref().unwrap_or(Path::new("/")).display();
    let (mut text, code) = match done.ended {
        Ended::RestartNeeded => (
            "containerd's configuration is written. Restart containerd now, then run `catamaran install` again, which proves it.\n".to_owned(),
            RESTART_NEEDED,
        ),
        Ended::Proven if done.changed => (format!("Installed: the handler {handler:?} runs from {folder}.\n"), OK),
        Ended::Proven => (format!("Nothing to do: the handler {handler:?} runs from {folder}.\n"), OK),
    };
    for older in &done.in_use {
        text.push_str(&format!("{} stays until the pods that run from it are gone.\n", older.display()));
    }
    let value = json!({
        "ready": code == OK, "changed": done.changed, "restart_needed": code == RESTART_NEEDED, "programs": done.folder, "in_use": done.in_use,
    });
    (text, value, code)
}

fn of_uninstall(done: &Done) -> Answer {
    let (mut text, code) = match done.ended {
        Ended::RestartNeeded => (
            "containerd's configuration is restored. Restart containerd now, then run `catamaran uninstall` again, which removes the programs.\n"
                .to_owned(),
            RESTART_NEEDED,
        ),
        Ended::Proven => ("Nothing of Catamaran is left on this node.\n".to_owned(), OK),
    };
    for pod in &done.broken {
        text.push_str(&format!("Broken: the pod {pod} runs on; neither exec nor its deletion works any more.\n"));
    }
    (text, json!({"changed": done.changed, "restart_needed": code == RESTART_NEEDED, "broken": done.broken}), code)
}

fn of_status(status: &Status) -> Answer {
    let value = serde_json::to_value(status).unwrap_or_default();
    let code = match () {
        () if !status.problems.is_empty() => UNWELL,
        () if status.installed.is_none() => NOT_INSTALLED,
        () => OK,
    };
    (status.to_string(), value, code)
}

fn of_doctor(checks: &[look::Check]) -> Answer {
    let mut text = String::new();
    for check in checks {
        match &check.problem {
            None => text.push_str(&format!("ok       {}\n", check.what)),
            Some(problem) => text.push_str(&format!("problem  {}\n  {problem}\n", check.what)),
        }
    }
    let well = checks.iter().all(|check| check.problem.is_none());
    (text, json!({"well": well, "checks": checks}), if well { OK } else { UNWELL })
}
