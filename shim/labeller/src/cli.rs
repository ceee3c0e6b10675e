//! The command line.

use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Parser, Subcommand};

use crate::args::{Listen, Mode, Place};
use crate::error::{Error, Result};
use crate::uninstall;
use crate::watch;
use crate::wish::Keys;

pub(crate) const OK: u8 = 0;
pub(crate) const FAILED: u8 = 1;
/// clap's own exit code.
const MISUSED: u8 = 2;

/// Every exit code, and what it means.
pub(crate) const EXITS: [(u8, &str); 3] = [
    (OK, "watch: ended by SIGTERM or SIGINT; uninstall: all nodes have uninstalled, or there is no installer"),
    (
        FAILED,
        "watch: cannot run; uninstall: not all nodes have uninstalled, or it was ended by a signal; the text says why",
    ),
    (MISUSED, "the command line is wrong"),
];

fn exits() -> String {
    EXITS.iter().fold("Exit codes:".to_owned(), |text, (code, means)| format!("{text}\n  {code}  {means}"))
}

/// Labels the nodes that run Wasm pods, and uninstalls Catamaran from all nodes.
#[derive(Debug, Parser)]
#[command(
    name = "catamaran-labeller",
    version,
    after_help = exits()
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Labels each node whose installer is ready and whose kubelet lists the handler, until a signal ends it.
    Watch(WatchArgs),
    /// Writes the mode into the ConfigMap, and waits until every installer reports that it has uninstalled.
    Uninstall(UninstallArgs),
}

#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    #[command(flatten)]
    pub(crate) place: Place,
    /// The handler that a node's kubelet must list.
    #[arg(long, default_value = "catamaran", value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) handler: String,
    /// The label that a ready node gets, with the value "true".
    #[arg(long, default_value = "catamaran.wasm/ready", value_name = "KEY", value_parser = key)]
    pub(crate) ready_label: String,
    /// The label that a ready node gets, with the version: the app.kubernetes.io/version of its installer's pod.
    #[arg(long, default_value = "catamaran.wasm/version", value_name = "KEY", value_parser = key)]
    pub(crate) version_label: String,
    /// The key of a taint, of any effect, that is removed from a node once it is ready. Without it, taints stay.
    #[arg(long, value_name = "KEY", value_parser = key)]
    pub(crate) startup_taint: Option<String>,
    /// The address of /healthz and /readyz: an address and a port, or a port alone such as :8891.
    #[arg(long, default_value = ":8891", value_name = "ADDRESS", value_parser = Listen::parse)]
    pub(crate) listen: Listen,
}

#[derive(Debug, Args)]
pub(crate) struct UninstallArgs {
    #[command(flatten)]
    pub(crate) place: Place,
    /// The mode to write. A node whose pods use the handler refuses uninstall, but not uninstall-force.
    #[arg(long, default_value = "uninstall", value_name = "MODE")]
    pub(crate) mode: Mode,
    /// The port of the installers' /status.
    #[arg(long, default_value_t = 8890, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: u16,
    /// How long to wait for all nodes. Must be less than helm's own time-out, so that the list of missing nodes is shown. A
    /// kubelet takes up to two minutes to pass on a changed ConfigMap.
    #[arg(long, default_value_t = 270, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) timeout: u64,
}

impl WatchArgs {
    pub(crate) fn settings(self) -> Result<watch::Settings> {
        if self.ready_label == self.version_label {
            return Err(Error::SameLabel(self.ready_label));
        }
        Ok(watch::Settings {
            namespace: self.place.namespace,
            selector: self.place.selector,
            config_map: self.place.config_map,
            keys: Keys {
                handler: self.handler,
                ready: self.ready_label,
                version: self.version_label,
                taint: self.startup_taint,
            },
            pass_every: watch::PASS_EVERY,
        })
    }
}

impl UninstallArgs {
    pub(crate) fn settings(&self) -> uninstall::Settings {
        uninstall::Settings {
            mode: self.mode,
            port: self.port,
            timeout: Duration::from_secs(self.timeout),
            ask_every: uninstall::ASK_EVERY,
            stale: uninstall::STALE,
            failed_for: uninstall::FAILED_FOR,
            gone_for: uninstall::GONE_FOR,
        }
    }
}

/// Checks a key of a label or taint: a name of up to 63 characters, optionally after a domain and "/".
fn key(text: &str) -> std::result::Result<String, String> {
    let (domain, name) = text.split_once('/').map_or((None, text), |(domain, name)| (Some(domain), name));
    let plain = |c: char| c.is_ascii_alphanumeric();
    let fits = |part: &str, most: usize, more: &[char]| {
        (1..=most).contains(&part.len())
            && part.starts_with(plain)
            && part.ends_with(plain)
            && part.chars().all(|c| plain(c) || more.contains(&c))
    };
    let domain_fits = |domain: &str| {
        fits(domain, 253, &['-', '.'])
            && domain.split('.').all(|part| fits(part, 63, &['-']))
            && !domain.contains(|c: char| c.is_ascii_uppercase())
    };
    match fits(name, 63, &['-', '_', '.']) && domain.is_none_or(domain_fits) {
        true => Ok(text.to_owned()),
        false => Err("expected a key of a Kubernetes label or taint, such as catamaran.wasm/ready".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    const PLACE: [&str; 6] = ["--namespace", "ns", "--selector", "a=b", "--config-map", "mode"];

    fn parse(command: &str, more: &[&str]) -> std::result::Result<Cli, clap::Error> {
        Cli::try_parse_from(["catamaran-labeller", command].iter().chain(&PLACE).chain(more))
    }

    #[test]
    fn the_reference_has_every_exit_code_of_the_labeller() {
        catamaran_reference::matches(
            "exit codes of the labeller",
            ["code", "meaning"],
            EXITS.map(|(code, means)| [code.to_string(), means.to_owned()]),
        );
    }

    #[test]
    fn the_definition_of_the_command_line_is_valid() {
        Cli::command().debug_assert();
    }

    #[test]
    fn watch_has_the_charts_defaults() {
        let Command::Watch(args) = parse("watch", &[]).unwrap().command else { panic!("another command") };
        assert_eq!(args.listen, Listen::Everywhere(8891));
        let settings = args.settings().unwrap();
        let keys = Keys {
            handler: "catamaran".to_owned(),
            ready: "catamaran.wasm/ready".to_owned(),
            version: "catamaran.wasm/version".to_owned(),
            taint: None,
        };
        assert_eq!(settings.keys, keys);
    }

    #[test]
    fn one_key_for_two_labels_is_refused() {
        let more = ["--ready-label", "a/b", "--version-label", "a/b"];
        let Command::Watch(args) = parse("watch", &more).unwrap().command else { panic!("another command") };
        let e = args.settings().unwrap_err().to_string();
        assert!(e.contains("--ready-label and --version-label are both \"a/b\""), "{e}");
    }

    #[test]
    fn a_wrong_command_line_ends_with_exit_code_2() {
        for (command, more) in [
            ("watch", &["--listen", "8891"][..]),
            ("watch", &["--ready-label", "-x"]),
            ("watch", &["--startup-taint", "a/b/c"]),
            ("uninstall", &["--mode", "install"]),
            ("uninstall", &["--timeout", "0"]),
            ("uninstall", &["--port", "0"]),
        ] {
            assert_eq!(parse(command, more).unwrap_err().exit_code(), i32::from(MISUSED), "{command} {more:?}");
        }
        let none = Cli::try_parse_from([
            "catamaran-labeller",
            "uninstall",
            "--namespace",
            "ns",
            "--selector",
            "",
            "--config-map",
            "m",
        ]);
        assert_eq!(none.unwrap_err().exit_code(), i32::from(MISUSED));
    }

    #[test]
    fn keys_are_those_that_kubernetes_takes() {
        for good in ["a", "A.b_c-9", "catamaran.wasm/ready", "a-b.c/D"] {
            assert!(key(good).is_ok(), "{good}");
        }
        let long = "x".repeat(64);
        for bad in ["", "/", "a/", "/a", "a/b/c", "-a", "a.", "Upper.case/a", "a..b/c", "a b", long.as_str()] {
            assert!(key(bad).is_err(), "{bad}");
        }
    }
}
