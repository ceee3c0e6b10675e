//! A pod's annotations and a server's environment.

use std::time::Duration;

use catamaran_daemon::untrusted;
use serde_json::{Map, Value, json};

use crate::lines::widened;
use crate::{Taken, told};

/// Lines of `KEY=VALUE`: those whose key has a dot are annotations, the others variables. `~` stands for a long text.
pub(crate) fn target(input: &[u8]) -> Taken {
    let text = String::from_utf8_lossy(&widened(input)).into_owned();
    let (annotations, env): (Vec<_>, Vec<_>) =
        text.lines().filter_map(|line| line.split_once('=')).partition(|(key, _)| key.contains('.'));
    let annotations: Map<_, _> =
        annotations.into_iter().map(|(key, value)| (key.to_owned(), Value::from(value))).collect();
    let env: Vec<_> = env.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    let spec = json!({"ociVersion": "1.2.0", "annotations": annotations}).to_string();
    told::taken(untrusted::choice(spec.as_bytes()));
    let server = untrusted::server(spec.as_bytes(), &env);
    if let Ok(server) = &server {
        let timeout = server.request_timeout.unwrap_or(Duration::from_secs(1));
        assert!(server.listen.port() > 0 && server.backlog > 0, "{server:?}");
        assert!((1..=4096).contains(&server.most_requests), "{server:?}");
        assert!((Duration::from_millis(1)..=Duration::from_secs(24 * 3600)).contains(&timeout), "{server:?}");
        assert!(server.instance_reuse.is_none_or(|n| (1..=1_000_000).contains(&n)), "{server:?}");
        assert!(server.instance_memory.is_none_or(|bytes| (64 << 10..=4 << 30).contains(&bytes)), "{server:?}");
        assert!(server.lame_duck <= Duration::from_secs(600), "{server:?}");
        assert!(server.tls.as_ref().is_none_or(|path| plain(path)), "{server:?}");
    }
    told::taken(server)
}

/// Whether an absolute path has no part that leads elsewhere.
fn plain(path: &str) -> bool {
    path.len() > 1
        && path.strip_prefix('/').is_some_and(|rest| rest.split('/').all(|name| !["", ".", ".."].contains(&name)))
}
