//! The administrator's settings: the names of handler, labels and taint, and the mode.

/// The handler that a ready node must list, and the keys of the labels and the taint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Keys {
    pub(crate) handler: String,
    pub(crate) ready: String,
    pub(crate) version: String,
    /// None if taints are left alone.
    pub(crate) taint: Option<String>,
}

/// The installers' task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Install,
    /// The modes uninstall and uninstall-force.
    Uninstall,
    /// There is no ConfigMap, or it has another word. The installers then do nothing, and are not ready.
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
