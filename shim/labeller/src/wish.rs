//! What the cluster's administrator wants: which labels and which taint, and whether the nodes are to be installed.

/// What is looked for on a node, and by which keys it is said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Keys {
    pub(crate) handler: String,
    pub(crate) ready: String,
    pub(crate) version: String,
    /// None: taints are left alone.
    pub(crate) taint: Option<String>,
}

/// What the installers are to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Install,
    /// With force or without.
    Uninstall,
    /// There is no ConfigMap, or another word in it. The installers do nothing then, and are not ready.
    Unknown,
}

impl Mode {
    pub(crate) fn parse(word: Option<&str>) -> Self {
        match word.map(str::trim) {
            Some("install") => Self::Install,
            Some("uninstall" | "uninstall-force") => Self::Uninstall,
            _ => Self::Unknown,
        }
    }
}
