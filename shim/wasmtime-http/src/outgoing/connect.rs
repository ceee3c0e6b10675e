//! Makes a connection: resolves the name by our own resolver, judges the addresses, and adds TLS if it is asked for.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower_service::Service;

use super::Shared;
use super::failure::Failure;
use super::rules;

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Connecting<T> = Pin<Box<dyn Future<Output = Result<T, BoxError>> + Send>>;

tokio::task_local! {
    /// How long the pending request waits for a connection.
    pub(super) static CONNECT_LIMIT: Duration;
}

/// Connects for the client.
#[derive(Clone)]
pub(super) struct Connector {
    shared: Arc<Shared>,
    plain: HttpConnector<Resolver>,
}

impl Connector {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let resolver = Resolver { link_local_requests: shared.link_local_requests };
        let mut plain = HttpConnector::new_with_resolver(resolver);
        plain.enforce_http(false);
        plain.set_nodelay(true);
        Self { shared, plain }
    }
}

impl Service<Uri> for Connector {
    type Response = MaybeHttpsStream<TokioIo<TcpStream>>;
    type Error = BoxError;
    type Future = Connecting<Self::Response>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let limit = CONNECT_LIMIT.try_with(|limit| *limit).unwrap_or(super::CONNECT);
        let Self { shared, plain } = self.clone();
        Box::pin(async move {
            let connecting = async {
                // The rules judge a name's addresses in the resolver. An address in place of a name does not go through the resolver.
                let literal = uri.host().and_then(|host| host.trim_matches(['[', ']']).parse::<IpAddr>().ok());
                if literal.is_some_and(|address| !rules::is_allowed(address, shared.link_local_requests)) {
                    return Err(Failure::Prohibited.into());
                }
                match uri.scheme_str() {
                    Some("https") => secured(&shared, plain)?.call(uri).await,
                    _ => Ok(MaybeHttpsStream::Http(unsecured(plain, uri).await?)),
                }
            };
            tokio::time::timeout(limit, connecting).await.unwrap_or_else(|_| Err(Failure::Late.into()))
        })
    }
}

async fn unsecured(mut plain: HttpConnector<Resolver>, uri: Uri) -> Result<TokioIo<TcpStream>, BoxError> {
    Ok(plain.call(uri).await?)
}

fn secured(
    shared: &Shared,
    plain: HttpConnector<Resolver>,
) -> Result<HttpsConnector<HttpConnector<Resolver>>, BoxError> {
    let config = shared.tls.load(shared)?;
    Ok(HttpsConnectorBuilder::new()
        .with_tls_config(config.as_ref().clone())
        .https_only()
        .enable_all_versions()
        .wrap_connector(plain))
}

/// Finds the addresses of a name that may be reached.
#[derive(Clone)]
pub(super) struct Resolver {
    link_local_requests: bool,
}

impl Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = BoxError;
    type Future = Connecting<Self::Response>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let link_local_requests = self.link_local_requests;
        Box::pin(async move {
            let found = catamaran_names::resolve(name.as_str()).await.map_err(Failure::Name)?;
            let allowed = found.into_iter().filter(|&address| rules::is_allowed(address, link_local_requests));
            // The client puts the port in.
            let addresses: Vec<SocketAddr> = allowed.map(|address| (address, 0).into()).collect();
            match addresses.is_empty() {
                true => Err(Failure::Prohibited.into()),
                false => Ok(addresses.into_iter()),
            }
        })
    }
}
