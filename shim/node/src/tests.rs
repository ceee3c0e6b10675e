//! The tables of docs/reference.md about the command `catamaran`.

use catamaran_reference::{code, keys, matches};

use crate::cli::EXITS;
use crate::handler::KNOWN;
use crate::{service, state};

#[test]
fn the_reference_has_every_exit_code_of_the_command() {
    matches(
        "exit codes of catamaran",
        ["code", "meaning"],
        EXITS.map(|(code, means)| [code.to_string(), means.to_owned()]),
    );
}

#[test]
fn the_reference_has_every_variable_of_the_command() {
    let rows = [
        (
            state::HOME_VARIABLE,
            state::HOME,
            "The folder of all that Catamaran keeps on a node: the shim's cache and the installer's state. A shim reads the same variable.",
        ),
        (service::BUS_VARIABLE, service::BUS, "The address of the host's D-Bus, by which systemd is reached."),
        (
            service::SOCKET_VARIABLE,
            service::SOCKET,
            "Systemd's own socket on the host, which is taken without a D-Bus.",
        ),
    ];
    let rows = rows.map(|(name, without, means)| [code(name), code(without), means.to_owned()]);
    matches("variables of catamaran", ["variable", "without it", "meaning"], rows);
}

#[test]
fn the_installer_takes_the_options_that_the_shim_reads() {
    assert_eq!(keys("options"), KNOWN);
}
