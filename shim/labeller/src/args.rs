//! Arguments that both commands share, and how they are parsed.

use std::net::SocketAddr;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, ValueEnum};

/// The place of the installers in the cluster.
#[derive(Debug, Args)]
pub(crate) struct Place {
    /// The namespace of the installers and of the ConfigMap.
    #[arg(long, value_name = "NAMESPACE", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) namespace: String,
    /// The labels of the installers' pods, such as app.kubernetes.io/name=catamaran,app.kubernetes.io/component=installer.
    #[arg(long, value_name = "LABELS", value_parser = selector)]
    pub(crate) selector: String,
    /// The ConfigMap whose key "mode" tells the installers what to do.
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) config_map: String,
}

/// The mode that an uninstallation writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    Uninstall,
    UninstallForce,
}

impl Mode {
    /// The mode's word in the ConfigMap.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Uninstall => "uninstall",
            Self::UninstallForce => "uninstall-force",
        }
    }
}

/// An address to listen at, or a port on every address of IPv4 and IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Listen {
    Everywhere(u16),
    At(SocketAddr),
}

impl Listen {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let port = |port: &str| port.parse().map(Self::Everywhere).ok();
        text.strip_prefix(':').and_then(port).or_else(|| text.parse().map(Self::At).ok()).ok_or_else(|| {
            "expected a port such as :8891, or an address such as 127.0.0.1:8891 or [::1]:8891".to_owned()
        })
    }
}

/// Checks a selector. An empty one is refused, because it would select every pod of the namespace.
fn selector(text: &str) -> Result<String, String> {
    let parts = text.split(',').map(str::trim);
    match text.trim().is_empty() || parts.clone().any(str::is_empty) {
        true => {
            Err("expected labels such as app.kubernetes.io/name=catamaran,app.kubernetes.io/component=installer"
                .to_owned())
        }
        false => Ok(parts.collect::<Vec<_>>().join(",")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listening_takes_a_port_or_an_address() {
        assert_eq!(Listen::parse(":80"), Ok(Listen::Everywhere(80)));
        assert_eq!(Listen::parse("[::1]:80"), Ok(Listen::At("[::1]:80".parse().unwrap())));
        for bad in ["80", ":", ":x", ":70000", "localhost:80"] {
            assert!(Listen::parse(bad).is_err(), "{bad}");
        }
    }
}
