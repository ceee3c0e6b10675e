//! The requests that a guest makes: a client of HTTP/1.1 and 2, with TLS, which keeps its connections for the next request.
//!
//! ```text
//! request -> connection of the pool, or [`connect`]: name -> addresses (catamaran-names) -> [`rules`] -> TCP -> TLS ([`tls`])
//!              '-> response head -> [`body`]
//! ```
//!
//! A connection belongs to a lane, as its guests do. A lane has no client before its first request.

mod body;
mod connect;
mod failure;
mod rules;
mod tls;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::uri::Scheme;
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::sync::Semaphore;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody};

use crate::output::Output;
use body::Timed;
use connect::{CONNECT_LIMIT, Connector};

/// How long to wait for a connection, TLS included, unless the guest says otherwise.
const CONNECT: Duration = Duration::from_secs(30);
/// How long to wait for the response's begin, and between its parts, unless the guest says otherwise: beyond `request_timeout`'s default.
const SILENCE: Duration = Duration::from_secs(600);
/// The most connections to one host that a lane keeps for the next request.
const KEPT: usize = 32;
/// How long a lane keeps them.
const KEPT_FOR: Duration = Duration::from_secs(60);
/// The most pending requests of all guests, because the server's own connections need descriptors too.
const MOST: usize = 512;

/// What all lanes of a server share.
pub(crate) struct Shared {
    /// `SSL_CERT_FILE` of the container's environment.
    certificates: Option<String>,
    /// Whether requests may go to link-local addresses and metadata services: the handler's option
    /// `link_local_requests`.
    link_local_requests: bool,
    output: Output,
    under_way: Arc<Semaphore>,
    tls: tls::Settings,
}

/// A lane's client.
pub(crate) struct Outgoing {
    shared: Arc<Shared>,
    client: OnceLock<Client<Connector, WasiBody>>,
}

impl Shared {
    pub(crate) fn new(certificates: Option<String>, link_local_requests: bool, output: Output) -> Arc<Self> {
        let under_way = Arc::new(Semaphore::new(MOST));
        Arc::new(Self { certificates, link_local_requests, output, under_way, tls: tls::Settings::default() })
    }
}

impl Outgoing {
    pub(crate) fn new(shared: &Arc<Shared>) -> Arc<Self> {
        Arc::new(Self { shared: Arc::clone(shared), client: OnceLock::new() })
    }

    /// Returns a client for another lane.
    pub(crate) fn another(&self) -> Arc<Self> {
        Self::new(&self.shared)
    }

    /// Sends a request, and returns as soon as the response's head is there.
    ///
    /// # Errors
    /// Why there is no response, as `wasi:http` names it.
    pub(crate) async fn send(
        &self,
        request: Request<WasiBody>,
        options: RequestOptions,
    ) -> Result<Response<WasiBody>, Error> {
        let under_way = Arc::clone(&self.shared.under_way);
        let permit = under_way.try_acquire_owned().map_err(|_| Error::ConnectionLimitReached)?;
        if request.uri().scheme() == Some(&Scheme::HTTPS) {
            self.shared.tls.load(&self.shared)?;
        }
        let connect = options.connect_timeout.unwrap_or(CONNECT);
        let first = options.first_byte_timeout.unwrap_or(SILENCE);
        let between = options.between_bytes_timeout.unwrap_or(SILENCE);
        // A connection of the pool takes no time; the client does not say when a new one was there.
        let answered = CONNECT_LIMIT.scope(connect, self.client().request(request));
        let response = tokio::time::timeout(connect.saturating_add(first), answered)
            .await
            .map_err(|_| Error::ConnectionReadTimeout)?
            .map_err(|e| failure::of_client(&e))?;
        Ok(response.map(|body| Timed::new(body, between, permit).boxed_unsync()))
    }

    fn client(&self) -> &Client<Connector, WasiBody> {
        self.client.get_or_init(|| {
            Client::builder(TokioExecutor::new())
                .pool_timer(TokioTimer::new())
                .pool_idle_timeout(KEPT_FOR)
                .pool_max_idle_per_host(KEPT)
                .build(Connector::new(Arc::clone(&self.shared)))
        })
    }
}
