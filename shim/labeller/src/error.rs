//! Errors, with what to do about them.

use std::error::Error as StdError;
use std::io;

pub(crate) type Result<T> = std::result::Result<T, Error>;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// There is neither a usable service account nor a KUBECONFIG.
    #[error(
        "no cluster to talk to: {0}\n  What to do: run in a pod with a service account and its token, or name a file in KUBECONFIG"
    )]
    NoCluster(String),
    #[error("{doing}: {why}\n  What to do: {remedy}")]
    Api { doing: String, why: String, remedy: String, is_final: bool },
    #[error(
        "the API server does not answer\n  What to do: check whether this pod can reach it: look at NetworkPolicies, proxies, and \
         the server itself"
    )]
    NoAnswer,
    #[error("listening at {address}: {source}\n  What to do: name another port with --listen")]
    Listen { address: String, source: io::Error },
    #[error("--ready-label and --version-label are both {0:?}\n  What to do: write two different keys")]
    SameLabel(String),
    #[error("the program cannot wait for signals: {0}")]
    Signals(io::Error),
    /// The text names the nodes, their messages and the remedy.
    #[error("{0}")]
    NotUninstalled(String),
    #[error(
        "ended by a signal before all nodes had uninstalled; the mode stays {mode:?}, and the nodes go on uninstalling\n  \
         What to do: run the command again, which goes on from there"
    )]
    Interrupted { mode: &'static str },
}

impl Error {
    pub(crate) fn no_cluster(error: &dyn StdError) -> Self {
        Self::NoCluster(words(error))
    }

    pub(crate) fn signals(error: io::Error) -> Self {
        Self::Signals(error)
    }

    /// Makes the error of a request that the API server refused, or that did not reach it.
    pub(crate) fn api(doing: impl Into<String>, error: &kube::Error) -> Self {
        let (why, remedy) = api_words(error);
        Self::Api { doing: doing.into(), why, remedy: remedy.to_owned(), is_final: is_final(error) }
    }

    /// Whether trying the same request again is useless.
    pub(crate) fn is_final(&self) -> bool {
        match self {
            Self::Api { is_final, .. } => *is_final,
            _ => true,
        }
    }
}

fn code(error: &kube::Error) -> Option<u16> {
    match error {
        kube::Error::Api(status) => Some(status.code),
        _ => None,
    }
}

fn is_final(error: &kube::Error) -> bool {
    code(error).is_some_and(|code| (400..500).contains(&code) && ![408, 409, 429].contains(&code))
}

pub(crate) fn is_not_found(error: &kube::Error) -> bool {
    code(error) == Some(404)
}

/// Returns the API server's message, and the remedy.
pub(crate) fn api_words(error: &kube::Error) -> (String, &'static str) {
    let remedy = match code(error) {
        Some(401) => "check the service account's token: it is unknown or expired",
        Some(403) => "give the service account this right, as the chart's Role and ClusterRole do",
        Some(404) => "correct the names on the command line: there is no such object",
        Some(400 | 422) => "correct the values on the command line: the API server refuses them",
        Some(409) => "nothing: another change came first, and this request is tried again",
        Some(_) => "check the API server, which answers with an error",
        None => {
            "check whether this pod can reach the API server: look at NetworkPolicies, proxies, and the server itself"
        }
    };
    let why = match error {
        kube::Error::Api(status) => format!("{} ({})", status.message, status.code),
        kube::Error::Service(e) => words(e.as_ref()),
        other => words(other),
    };
    (why, remedy)
}

/// Returns an error's text with its causes, each once.
pub(crate) fn words(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}
