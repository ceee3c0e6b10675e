//! The configuration of a node's containerd.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use crate::programs::Programs;

/// Plugins that touch things outside the node's folder, or cost start-up time without a test that uses them.
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

/// How a node differs from the ordinary one.
#[derive(Clone, Debug, Default)]
pub struct Options {
    pub(crate) cri: bool,
    pub(crate) sandbox: String,
    pub(crate) version_2: bool,
    pub(crate) network: bool,
    pub(crate) extra: String,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) installed: bool,
    pub(crate) programs: Vec<(String, PathBuf)>,
}

impl Options {
    /// The ordinary node: no CRI plugin.
    pub fn new() -> Self {
        Self::default()
    }

    /// Serves CRI too, with the handlers `runc` and `catamaran`, and pods in the host's network alone: see
    /// [`Options::network`]. `sandbox` is the image of their sandbox containers.
    #[must_use]
    pub(crate) fn cri(mut self, sandbox: &str) -> Self {
        self.cri = true;
        self.sandbox = sandbox.to_owned();
        self
    }

    /// Makes the CRI give pods networks of their own, on a bridge of the node's.
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

    /// Runs copies of our programs that lie in the node's folder: for [`Node::replace_programs`](crate::Node::replace_programs)
    /// and its like.
    #[must_use]
    pub fn installed(mut self) -> Self {
        self.installed = true;
        self
    }

    /// The same, with `file` in place of the program that is called `name`.
    #[must_use]
    pub fn program(mut self, name: &str, file: &Path) -> Self {
        self.programs.push((name.to_owned(), file.to_owned()));
        self.installed()
    }

    /// Writes containerd's configuration in the form of version 2, which containerd 1 had and 2 still reads.
    #[must_use]
    pub fn version_2(mut self) -> Self {
        self.version_2 = true;
        self
    }

    /// Returns the files of containerd's configuration by their names below the node's folder. `plugins` is the folder of CNI's plugins.
    pub(crate) fn files(&self, dir: &Path, plugins: &Path) -> Vec<(&'static str, String)> {
        let (version, form, drop_in) = match self.version_2 {
            false => (3, VERSION_3, include_str!("../../../runtimeclass/containerd-v3.toml")),
            true => (2, VERSION_2, include_str!("../../../runtimeclass/containerd-v2.toml")),
        };
        // containerd 2.0 has one folder of plugins, later versions have several.
        let one_folder = Programs::provide().version.starts_with("2.0.");
        let bin_dir = if one_folder { VERSION_2.bin_dir } else { form.bin_dir };
        let mut disabled: Vec<&str> = DISABLED.to_vec();
        if !self.cri {
            disabled.extend(CRI);
        }
        let (folder, plugins) = (dir.display(), plugins.display());
        let mut text = format!(
            "version = {version}\nimports = ['{folder}/conf.d/*.toml']\nroot = '{folder}/root'\nstate = '{folder}/state'\n\
             oom_score = 0\ndisabled_plugins = {disabled:?}\n\n[grpc]\n  address = '{folder}/containerd.sock'\n\n\
             [ttrpc]\n  address = '{folder}/containerd.sock.ttrpc'\n\n[debug]\n  level = 'info'\n\n"
        );
        if self.cri {
            // Without CAP_SYS_RESOURCE even root may not lower oom_score_adj: this setting keeps containerd from trying.
            let _ = write!(
                text,
                "[plugins.'{runtime}']\n  restrict_oom_score_adj = true\n  netns_mounts_under_state_dir = true\n{sandbox}\n\
                 [plugins.'{runtime}'.cni]\n  {bin_dir}\n  conf_dir = '{folder}/cni/conf'\n\n\
                 [plugins.'{runtime}'.containerd.runtimes.runc]\n  runtime_type = 'io.containerd.runc.v2'\n\n",
                runtime = form.runtime,
                sandbox = form.sandbox.replace("IMAGE", &self.sandbox),
                bin_dir = bin_dir.replace("FOLDER", &plugins.to_string()),
            );
        }
        text.push_str(&self.extra);
        let mut files = vec![("config.toml", text)];
        if self.cri {
            files.push(("conf.d/catamaran.toml", drop_in.to_owned()));
        }
        files
    }
}

/// The words that differ between the two forms of the configuration.
struct Form {
    /// The CRI's plugin.
    runtime: &'static str,
    /// The key for the sandbox's image: in that table, or in a table after it.
    sandbox: &'static str,
    bin_dir: &'static str,
}

const VERSION_2: Form = Form {
    runtime: "io.containerd.grpc.v1.cri",
    sandbox: "  sandbox_image = 'IMAGE'\n",
    bin_dir: "bin_dir = 'FOLDER'",
};
const VERSION_3: Form = Form {
    runtime: "io.containerd.cri.v1.runtime",
    sandbox: "\n[plugins.'io.containerd.cri.v1.images'.pinned_images]\n  sandbox = 'IMAGE'\n",
    bin_dir: "bin_dirs = ['FOLDER']",
};
