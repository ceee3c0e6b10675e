//! The shim's settings for a worker that serves HTTP.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How a worker serves HTTP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// Where it listens, over TCP. `[::]` stands for IPv4 and IPv6, or IPv4 alone if the pod has no IPv6.
    pub listen: SocketAddr,
    /// The source of that address, for an error: an annotation, a variable of the environment, or the default.
    pub listen_from: String,
    /// Connections that the kernel keeps until they are accepted (listen(2)).
    pub backlog: u32,
    /// The processors that the container's quota amounts to, rounded up; None without a quota.
    pub processors: Option<u32>,
    /// Requests that the worker handles at once, at least 1. A few more wait; the worker answers the rest 503.
    pub most_requests: u32,
    /// How long a request may take until its response begins, and how long an instance may compute after that. None without a
    /// limit, for machine code that cannot be interrupted.
    pub request_timeout: Option<Duration>,
    /// Requests that one instance handles, at least 1: those of WASI 0.2 one after the other. None for the default, which differs
    /// for a component of WASI 0.3.
    pub instance_reuse: Option<u32>,
    /// Bytes of linear memory that one instance may have, all of its memories together.
    pub instance_memory: Option<u64>,
    /// The most bytes of a request's body; the worker answers a longer one 413. None without a limit.
    pub most_body: Option<u64>,
    /// How long a server that was told to stop goes on accepting connections.
    pub lame_duck: Duration,
    /// The folder in which the pod's author mounts the server's certificate and key: an absolute path in the container, without
    /// `.` and `..`. None for a server without TLS.
    pub tls: Option<String>,
}

impl Server {
    /// Makes the settings of a server of which only the address is given: the rest is the defaults of docs/annotations.md.
    pub fn new(listen: SocketAddr, listen_from: impl Into<String>) -> Self {
        Self {
            listen,
            listen_from: listen_from.into(),
            backlog: 1024,
            processors: None,
            most_requests: 128,
            request_timeout: Some(Duration::from_secs(60)),
            instance_reuse: None,
            instance_memory: None,
            most_body: None,
            lame_duck: Duration::ZERO,
            tls: None,
        }
    }
}
