//! The administrator's wishes: which labels and which taint, and whether the nodes are to be installed.

/// The handler that a node must list, and the keys of the labels and the taint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Keys {
    pub(crate) handler: String,
    pub(crate) ready: String,
    pub(crate) version: String,
    /// None leaves taints alone.
    pub(crate) taint: Option<String>,
}

/// The installers' task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Install,
    /// By force or not.
    Uninstall,
    /// There is no ConfigMap, or another word in it. In this mode the installers do nothing, and are not ready.
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
