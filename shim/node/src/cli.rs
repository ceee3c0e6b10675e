//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};

use crate::serve::ServeArgs;

pub(crate) const OK: u8 = 0;
pub(crate) const FAILED: u8 = 1;
/// clap's own.
const MISUSED: u8 = 2;
pub(crate) const REFUSED: u8 = 3;
pub(crate) const ROLLED_BACK: u8 = 4;
pub(crate) const NOT_INSTALLED: u8 = 5;
pub(crate) const UNWELL: u8 = 6;
pub(crate) const RESTART_NEEDED: u8 = 7;

/// Every exit code, and what it means.
pub(crate) const EXITS: [(u8, &str); 8] = [
    (OK, "done, or all is well"),
    (FAILED, "a step failed; the text says which, and running the command again goes on from there"),
    (MISUSED, "the command line is wrong"),
    (REFUSED, "refused; nothing was changed"),
    (ROLLED_BACK, "the change was not proven and was taken back: containerd runs by its earlier configuration"),
    (NOT_INSTALLED, "status: not installed"),
    (
        UNWELL,
        "status, doctor: something is wrong; inspect: the module would be refused; compare: it runs on no engine; cache verify: an \
         artifact is damaged; cache warm: an image was not compiled",
    ),
    (RESTART_NEEDED, "with --restart none: the files are in place; restart containerd, then run the command again"),
];

fn exits() -> String {
    EXITS.iter().fold("Exit codes:".to_owned(), |text, (code, means)| format!("{text}\n  {code}  {means}"))
}

/// Puts a node in order for WebAssembly pods, and leaves no trace when it is uninstalled.
#[derive(Debug, Parser)]
#[command(
    name = "catamaran",
    version,
    after_help = exits()
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) node: NodeArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of all commands.
#[derive(Debug, Args)]
pub(crate) struct NodeArgs {
    /// The folder where the host's root file system is, such as /host in a container.
    #[arg(long, global = true, default_value = "/", value_hint = ValueHint::DirPath)]
    pub(crate) root: PathBuf,
    /// The socket of the containerd that runs the node's pods; without it, the one that the kubelet talks to.
    #[arg(long, global = true, value_name = "SOCKET", value_hint = ValueHint::FilePath)]
    pub(crate) containerd_socket: Option<PathBuf>,
    /// The node's folder for the programs, one folder a version in it; without it /opt/catamaran, or what the distribution needs.
    #[arg(long, global = true, value_name = "FOLDER", value_hint = ValueHint::DirPath)]
    pub(crate) programs_dir: Option<PathBuf>,
    /// The form of the answer.
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
    /// Seconds after which a change that is not proven is taken back.
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
    /// Installs this version, or repairs an installation that others changed. A second run changes nothing.
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
        /// A folder on the node for links by the names of runwasi's shims: k3s and rke2 write the handlers wasmtime and wasmer for them.
        #[arg(long, value_name = "FOLDER", value_hint = ValueHint::DirPath)]
        runwasi_names: Option<PathBuf>,
    },
    /// Removes everything: the handler, the programs, the cache. containerd's files become what they were, byte for byte.
    Uninstall {
        /// Goes on although pods use the handler, and names the pods that it breaks.
        #[arg(long)]
        force: bool,
    },
    /// Reports what is installed, and whether pods can run.
    Status,
    /// Looks for everything that may be wrong, runs a test program on each engine, and gives a remedy for each problem.
    Doctor,
    /// Keeps the node in the state that a file names, and reports that state, until SIGTERM: for a container on each node.
    Serve(ServeArgs),
    /// Reports what a module is, which engine would run it and why, and what would be refused.
    Inspect(InspectArgs),
    /// Runs a module on both engines, and compares start, memory, processor time, exit code and output.
    Compare(CompareArgs),
    /// Manages the cache of machine code.
    Cache {
        #[command(subcommand)]
        action: CacheAction,
    },
    /// Prints a completion script for a shell.
    Completion { shell: clap_complete::Shell },
    /// Writes the manual pages into a folder.
    Man {
        #[arg(value_hint = ValueHint::DirPath)]
        folder: PathBuf,
    },
    /// Takes a change back whose installer is gone. A timer runs this command.
    #[command(hide = true)]
    Rollback {
        id: String,
        #[arg(long)]
        after: Option<u64>,
    },
    /// Enters a root and executes another program there.
    #[command(hide = true)]
    Enter {
        folder: PathBuf,
        program: PathBuf,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
}

/// The module to inspect.
#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// A file, or the name of an image in the node's containerd.
    #[arg(value_name = "FILE|IMAGE", value_hint = ValueHint::FilePath)]
    pub(crate) what: String,
    /// containerd's namespace of the image.
    #[arg(long, default_value = "k8s.io", value_name = "NAMESPACE")]
    pub(crate) namespace: String,
    /// A JSON file with the handler's options; without it, those of the installed handler.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) options_file: Option<PathBuf>,
}

/// The module to run, and how often.
#[derive(Debug, Args)]
pub(crate) struct CompareArgs {
    /// A file, or the name of an image in the node's containerd.
    #[arg(value_name = "FILE|IMAGE", value_hint = ValueHint::FilePath)]
    pub(crate) what: String,
    /// The module's arguments.
    #[arg(last = true, value_name = "ARGS")]
    pub(crate) args: Vec<String>,
    /// containerd's namespace of the image.
    #[arg(long, default_value = "k8s.io", value_name = "NAMESPACE")]
    pub(crate) namespace: String,
    /// How many later starts are measured, besides the first one: their medians are shown.
    #[arg(long, default_value_t = 5, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) runs: u32,
    /// Seconds that a start and a run may take each, before the guest is killed.
    #[arg(long, default_value_t = 60, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) timeout: u64,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CacheAction {
    /// Lists the entries: module, engine, tier, bytes, last use.
    List,
    /// Removes entries that no process uses.
    Prune {
        /// Only entries that were not used for this long, such as 90m, 12h or 30d.
        #[arg(long, value_name = "TIME", value_parser = crate::units::seconds)]
        older_than: Option<u64>,
        /// The least recently used entries, until the others have at most this many bytes, such as 500M or 2G.
        #[arg(long, value_name = "BYTES", value_parser = crate::units::bytes)]
        to_bytes: Option<u64>,
    },
    /// Compiles the modules of images now, for the engine that would run them, so that their first starts find machine code.
    Warm {
        /// The names of images in the node's containerd, or files.
        #[arg(value_name = "IMAGE", required = true)]
        images: Vec<String>,
        /// containerd's namespace of the images.
        #[arg(long, default_value = "k8s.io", value_name = "NAMESPACE")]
        namespace: String,
        /// The Kubernetes namespace of the pods that will run them: the machine code counts towards its share of the cache.
        #[arg(long, default_value = "default", value_name = "NAMESPACE")]
        pod_namespace: String,
    },
    /// Verifies the checksum of every artifact, and names the damaged ones.
    Verify {
        /// Removes the damaged artifacts: their modules are compiled again at their next start.
        #[arg(long)]
        remove: bool,
    },
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::{Path, PathBuf};

    use clap::CommandFactory;

    use super::Cli;

    /// Options of containerd, of the kubelet and of distributions.
    const OF_OTHERS: [&str; 8] = [
        "address",
        "config",
        "container-runtime-endpoint",
        "kubelet-args-file",
        "name",
        "root-dir",
        "runtime-config-path",
        "version",
    ];

    fn own(command: &clap::Command) -> BTreeSet<String> {
        let here = command.get_arguments().filter_map(|arg| arg.get_long().map(str::to_owned));
        here.chain(command.get_subcommands().flat_map(own)).collect()
    }

    fn texts(folder: &Path) -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        entries.flat_map(|path| if path.is_dir() { texts(&path) } else { vec![path] }).collect()
    }

    /// A remedy that names a missing option helps nobody.
    #[test]
    fn every_option_that_a_text_names_exists() {
        let known = own(&Cli::command());
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut files = texts(&here.join("src"));
        files.push(here.join("../../docs/node.md"));
        let mut seen = 0;
        for file in files.iter().filter(|file| file.extension().is_some_and(|end| end == "rs" || end == "md")) {
            let text = fs::read_to_string(file).unwrap();
            let words = text.split(|c: char| !c.is_ascii_lowercase() && c != '-');
            for option in words.filter_map(|word| word.strip_prefix("--")) {
                // `-->` and `---` are lines of drawings.
                let option = option.trim_end_matches('-');
                if option.is_empty() || option.starts_with('-') {
                    continue;
                }
                let there = known.contains(option) || OF_OTHERS.contains(&option);
                assert!(there, "{} names the option --{option}, which no command has", file.display());
                seen += 1;
            }
        }
        assert!(seen > 20, "only {seen} options were found");
    }
}
