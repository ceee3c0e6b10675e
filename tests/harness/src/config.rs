//! What a node's containerd is told.

use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Plugins that reach for things outside the node's folder, or that cost start-up time and are used by no test.
const DISABLED: [&str; 7] = [
    "io.containerd.nri.v1.nri",
    "io.containerd.internal.v1.opt",
    "io.containerd.internal.v1.tracing",
    "io.containerd.snapshotter.v1.blockfile",
    "io.containerd.snapshotter.v1.btrfs",
    "io.containerd.snapshotter.v1.devmapper",
    "io.containerd.snapshotter.v1.erofs",
];

const CRI: [&str; 3] = ["io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime"];

/// The drop-in for who installs by hand: what the nodes are configured with.
pub(crate) const DROP_IN: &str = include_str!("../../../runtimeclass/containerd-v3.toml");

/// How a node differs from the ordinary one.
#[derive(Clone, Debug, Default)]
pub struct Options {
    pub(crate) cri: bool,
    pub(crate) network: bool,
    pub(crate) extra: String,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) programs: Vec<(String, PathBuf)>,
}

impl Options {
    /// The ordinary node: no CRI plugin.
    pub fn new() -> Self {
        Self::default()
    }

    /// Serves CRI too, with the handlers `runc` and `catamaran`, and pods in the host's network alone: see
    /// [`Options::network`].
    #[must_use]
    pub fn cri(mut self) -> Self {
        self.cri = true;
        self
    }

    /// Has the CRI give pods networks of their own, on a bridge of the node's.
    #[must_use]
    pub fn network(mut self) -> Self {
        self.network = true;
        self
    }

    /// Adds text at the end of containerd's configuration.
    #[must_use]
    pub fn config(mut self, toml: &str) -> Self {
        self.extra.push_str(toml);
        self.extra.push('\n');
        self
    }

    /// Sets a variable for containerd, which its shims inherit.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Runs copies of our programs that lie in the node's folder, with `file` in place of the one that is called `name`.
    #[must_use]
    pub fn program(mut self, name: &str, file: &Path) -> Self {
        self.programs.push((name.to_owned(), file.to_owned()));
        self
    }

    /// containerd's configuration file, version 3, with everything below the node's folder. `plugins` is where those of
    /// CNI are.
    pub(crate) fn to_toml(&self, dir: &Path, plugins: &Path) -> String {
        let (dir, plugins) = (dir.display(), plugins.display());
        let mut disabled: Vec<&str> = DISABLED.to_vec();
        if !self.cri {
            disabled.extend(CRI);
        }
        let mut text = format!(
            "version = 3\nimports = ['{dir}/conf.d/*.toml']\nroot = '{dir}/root'\nstate = '{dir}/state'\noom_score = 0\ndisabled_plugins = {disabled:?}\n\n\
             [grpc]\n  address = '{dir}/containerd.sock'\n\n[ttrpc]\n  address = '{dir}/containerd.sock.ttrpc'\n\n\
             [debug]\n  level = 'info'\n"
        );
        if self.cri {
            // Root may be without CAP_SYS_RESOURCE, then lowering oom_score_adj is refused: containerd is told not to try.
            let _ = write!(
                text,
                "\n[plugins.'io.containerd.cri.v1.runtime']\n  restrict_oom_score_adj = true\n  \
                 netns_mounts_under_state_dir = true\n\
                 \n[plugins.'io.containerd.cri.v1.runtime'.cni]\n  bin_dirs = ['{plugins}']\n  conf_dir = '{dir}/cni/conf'\n\
                 \n[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]\n  \
                 runtime_type = 'io.containerd.runc.v2'\n"
            );
        }
        text.push('\n');
        text.push_str(&self.extra);
        text
    }
}
