//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};

/// All was done, or all is well.
pub(crate) const OK: u8 = 0;
/// A step failed; run the command again.
pub(crate) const FAILED: u8 = 1;
/// Refused: nothing was changed.
pub(crate) const REFUSED: u8 = 3;
/// The change did not prove itself, and was taken back.
pub(crate) const ROLLED_BACK: u8 = 4;
/// `status`: not installed.
pub(crate) const NOT_INSTALLED: u8 = 5;
/// `status` and `doctor`: something is wrong.
pub(crate) const UNWELL: u8 = 6;
/// The files are in place; containerd is to be restarted by hand, and the command to be run again.
pub(crate) const RESTART_NEEDED: u8 = 7;

/// Puts a node in order for WebAssembly pods, and leaves no trace when it is uninstalled.
#[derive(Debug, Parser)]
#[command(
    name = "catamaran",
    version,
    after_help = "Exit codes: 0 done, or well; 1 a step failed, run it again; 2 a wrong command line; 3 refused, nothing was changed; \
                  4 taken back, containerd runs by the configuration of before; 5 not installed (status); 6 something is wrong (status, \
                  doctor); 7 restart containerd, then run it again (--restart none)."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) node: NodeArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What all commands take.
#[derive(Debug, Args)]
pub(crate) struct NodeArgs {
    /// The folder where the host's root file system is, such as /host in a container.
    #[arg(long, global = true, default_value = "/", value_hint = ValueHint::DirPath)]
    pub(crate) root: PathBuf,
    /// The socket of the containerd that runs the node's pods; without it, the one that the kubelet talks to.
    #[arg(long, global = true, value_name = "SOCKET", value_hint = ValueHint::FilePath)]
    pub(crate) containerd_socket: Option<PathBuf>,
    /// The folder on the node for the programs, one folder a version in it; without it /opt/catamaran, or what the distribution needs.
    #[arg(long, global = true, value_name = "FOLDER", value_hint = ValueHint::DirPath)]
    pub(crate) programs_dir: Option<PathBuf>,
    /// How the answer is written.
    #[arg(short, long, global = true, default_value = "text", value_name = "FORM")]
    pub(crate) output: Form,
    /// How containerd is restarted: by systemd, or by the administrator after the command.
    #[arg(long, global = true, default_value = "systemd", value_name = "WHO")]
    pub(crate) restart: Restart,
    /// A command of the host's shell that restarts containerd, where there is no systemd.
    #[arg(long, global = true, value_name = "COMMAND", conflicts_with = "restart")]
    pub(crate) restart_command: Option<String>,
    /// The systemd unit that runs containerd; without it, the one that its process belongs to.
    #[arg(long, global = true, value_name = "UNIT")]
    pub(crate) unit: Option<String>,
    /// After how many seconds a change that has not proven itself is taken back.
    #[arg(long, global = true, default_value_t = 300, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) rollback_after: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    Text,
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Restart {
    Systemd,
    None,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Installs this version, or mends what others changed. Run twice it changes nothing.
    Install {
        /// The handler's name in containerd and in the RuntimeClass.
        #[arg(long, default_value = "catamaran", value_name = "NAME")]
        handler: String,
        /// A JSON file with the handler's options: {"default_engine": "wasmer"}.
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        options_file: Option<PathBuf>,
        /// The folder that holds the programs to install; without it, this program's own.
        #[arg(long, value_name = "FOLDER", value_hint = ValueHint::DirPath)]
        from: Option<PathBuf>,
    },
    /// Removes everything: the handler, the programs, the cache. containerd's files become what they were, byte for byte.
    Uninstall {
        /// Goes on although pods use the handler, and says which it breaks.
        #[arg(long)]
        force: bool,
    },
    /// Says what is installed, and whether pods can run.
    Status,
    /// Looks for everything that may be wrong, runs a test program on each engine, and says what to do.
    Doctor,
    /// Prints a script that completes this command's words in a shell.
    Completion { shell: clap_complete::Shell },
    /// Writes the manual pages into a folder.
    Man {
        #[arg(value_hint = ValueHint::DirPath)]
        folder: PathBuf,
    },
    /// Takes a change back whose installer is gone; a timer runs it.
    #[command(hide = true)]
    Rollback {
        id: String,
        #[arg(long)]
        after: Option<u64>,
    },
    /// Enters a root and becomes another program there.
    #[command(hide = true)]
    Enter {
        folder: PathBuf,
        program: PathBuf,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
}
