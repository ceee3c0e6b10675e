//! One request: the server's own refusals, the guest that handles it, and the answer.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use catamaran_worker::job::Server;
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, RETRY_AFTER, TRANSFER_ENCODING};
use http::request::Parts;
use http::uri::{self, Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use tokio::sync::oneshot;
use wasmtime::{Error, PoolConcurrencyLimitError};
use wasmtime_wasi_http::WasiBody;
use wasmtime_wasi_http::handler::{InstantiationError, ProxyHandler};
use wasmtime_wasi_http::p3::bindings::http::types::ErrorCode;

use crate::admission::Admission;
use crate::drain::Drain;
use crate::exchange::{Exchange, Failure, Head};
use crate::instances::Instances;
use crate::output::Output;
use crate::report::Report;
use crate::request::RequestBody;
use crate::response::{End, GuestBody, ResponseBody, Run, Sent};
use crate::tasks;
use crate::tls::Tls;
use crate::work::Work;

/// After how many seconds a refused client may come again.
pub(crate) const RETRY: HeaderValue = HeaderValue::from_static("1");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const CLOSE: HeaderValue = HeaderValue::from_static("close");

/// What all requests of a server share.
pub(crate) struct Service {
    pub(crate) settings: Server,
    pub(crate) admission: Admission,
    pub(crate) work: Arc<Work>,
    pub(crate) drain: Drain,
    pub(crate) output: Output,
    pub(crate) report: Arc<Report>,
    /// The host of a request that names none: the address that this server listens at.
    pub(crate) host: Authority,
    /// None for a server that speaks HTTP in clear.
    pub(crate) tls: Option<Tls>,
}

/// A refusal of the server's own.
struct Refused(StatusCode, String);

/// How a guest began.
enum Begun {
    Head(Result<Head, oneshot::error::RecvError>),
    /// It returned without a head, or with it, as guests of WASI 0.3 do.
    Ended(wasmtime::Result<Response<WasiBody>>),
}

impl Service {
    /// Answers a request. Never fails, because an error is an answer too.
    pub(crate) async fn call(
        self: Arc<Self>,
        handler: ProxyHandler<Instances>,
        request: Request<Incoming>,
    ) -> Result<Response<ResponseBody>, Infallible> {
        let service = Arc::clone(&self);
        // The request may have had a length too, which hyper has dropped. A proxy that went by the length takes other bytes for the next
        // request, so the connection ends after this one (RFC 9112, section 6.1).
        let ambiguous = request.headers().contains_key(TRANSFER_ENCODING);
        // HTTP/2 ends connections by frames, and has no such header.
        let by_header = request.version() != Version::HTTP_2;
        let mut response = match self.handle(handler, request).await {
            Ok(response) => response,
            Err(Refused(status, text)) => refusal(status, text),
        };
        if !by_header {
            response.headers_mut().remove(CONNECTION);
        } else if ambiguous || service.drain.has_begun() {
            response.headers_mut().insert(CONNECTION, CLOSE);
        }
        Ok(response)
    }

    async fn handle(
        self: Arc<Self>,
        handler: ProxyHandler<Instances>,
        request: Request<Incoming>,
    ) -> Result<Response<ResponseBody>, Refused> {
        let asked = Asked { method: request.method().clone(), version: request.version() };
        let (request, excess) = self.checked(request)?;
        let Some(permit) = self.admission.admit().await else {
            let text = format!("{} requests are handled, and as many wait", self.settings.most_requests);
            return Err(Refused(StatusCode::SERVICE_UNAVAILABLE, text));
        };
        let ticking = self.work.tick();
        let (exchange, head) = Exchange::new(handler.state().is_of_wasi_3());
        let data = Arc::clone(&exchange);
        let future = Box::pin(async move { handler.handle(data, request).await });
        let run = Run {
            future: Some(future),
            exchange,
            report: Arc::clone(&self.report),
            _permit: permit,
            _ticking: ticking,
        };
        let mut waiting = Waiting(Some(run));
        let begun = match self.report.limit {
            None => waiting.begin(head).await,
            Some(limit) => tokio::time::timeout(limit, waiting.begin(head)).await.map_err(|_| self.overdue(limit))?,
        };
        let Some(mut run) = waiting.0.take() else { return Err(internal()) };
        let exceeded = excess.is_some_and(|excess| excess.load(Ordering::Relaxed));
        match begun {
            // The guest was not given the whole body, so its response is not the answer.
            Begun::Head(Ok(_)) | Begun::Ended(Ok(_)) if exceeded => {
                drop(GuestBody::new(WasiBody::default(), Some(run), None, Sent::Whole));
                Err(self.too_large())
            }
            Begun::Head(Ok(Ok(head))) => {
                // Most guests have returned by now.
                let ended = std::future::poll_fn(|cx| match run.poll_end(cx) {
                    Poll::Ready(end) => Poll::Ready(Some(end)),
                    Poll::Pending => Poll::Ready(None),
                })
                .await;
                Ok(answer(&asked, head, run, ended))
            }
            Begun::Head(Ok(Err(code))) => {
                self.report.answered_with(&code);
                // The guest may go on.
                drop(GuestBody::new(WasiBody::default(), Some(run), None, Sent::Whole));
                Err(internal())
            }
            // Does not happen: the sender goes with the exchange, which the run has.
            Begun::Head(Err(_)) => Err(internal()),
            Begun::Ended(Ok(head)) => Ok(answer(&asked, head, run, None)),
            Begun::Ended(Err(error)) => match error.downcast_ref::<ErrorCode>() {
                Some(_) if exceeded => Err(self.too_large()),
                Some(code) => {
                    self.report.answered_with(code);
                    Err(internal())
                }
                None => Err(self.without_answer(&run, error)),
            },
        }
    }

    /// Reports a guest that has not answered in its time, and refuses its request.
    fn overdue(&self, limit: Duration) -> Refused {
        self.report.did_not_answer();
        Refused(StatusCode::GATEWAY_TIMEOUT, format!("the component did not answer within {limit:?}"))
    }

    /// Returns the client's answer for an instance that has ended before it answered.
    fn without_answer(&self, run: &Run, error: Error) -> Refused {
        if run.exchange.is_overdone() {
            return self.overdue(self.report.limit.unwrap_or_default());
        }
        if let Some(failed) = error.downcast_ref::<InstantiationError<Arc<Exchange>>>() {
            if failed.error.is::<PoolConcurrencyLimitError>() {
                return Refused(StatusCode::SERVICE_UNAVAILABLE, "all places for instances are taken".to_owned());
            }
            self.report.failed(&failed.error);
            return internal();
        }
        match run.exchange.failure(Some(error)) {
            Some(Failure::New(error)) => {
                self.report.failed(&error);
                internal()
            }
            Some(Failure::Told) => internal(),
            None => {
                self.report.returned_without_response();
                internal()
            }
        }
    }

    /// Returns a request's full target, with its scheme and its host (RFC 9110, section 7.1). A request that names its host in its first
    /// line, or in HTTP/2's `:authority`, asks for that host.
    fn target(&self, parts: &Parts) -> Result<Uri, Refused> {
        let bad = |text: &str| Refused(StatusCode::BAD_REQUEST, text.to_owned());
        let named = parts.uri.authority();
        let mut hosts = parts.headers.get_all(HOST).iter();
        let host = match (hosts.next(), hosts.next()) {
            (Some(_), Some(_)) => return Err(bad("more than one Host header")),
            (Some(host), None) => Some(authority(host).map_err(|()| bad("a Host header that is no host"))?),
            (None, _) => None,
        };
        let version = parts.version;
        let authority = match (named, host) {
            (Some(named), _) if named.as_str().contains('@') => return Err(bad("a host with a user's name")),
            // RFC 9113, section 8.3.1.
            (Some(named), Some(Some(host))) if version == Version::HTTP_2 && *named != host => {
                return Err(bad("a Host header of another host than :authority"));
            }
            (Some(named), _) => named.clone(),
            (None, Some(Some(host))) => host,
            (None, None) if version == Version::HTTP_11 => return Err(bad("no Host header")),
            (None, None) if version == Version::HTTP_2 => return Err(bad("no :authority and no Host header")),
            (None, _) => self.host.clone(),
        };
        let mut target = uri::Parts::default();
        target.scheme = Some(if self.tls.is_some() { Scheme::HTTPS } else { Scheme::HTTP });
        target.authority = Some(authority);
        // None only for a request to a proxy.
        target.path_and_query = parts.uri.path_and_query().cloned().or(Some(PathAndQuery::from_static("/")));
        Uri::from_parts(target).map_err(|_| bad("a target that is no path"))
    }

    /// Returns the request as a guest is given it, or what is wrong with it (RFC 9112, sections 3.2 and 6).
    ///
    /// The second value is set when the body turns out to be longer than it may be.
    fn checked(&self, request: Request<Incoming>) -> Result<(Request<WasiBody>, Option<Arc<AtomicBool>>), Refused> {
        let (mut parts, body) = request.into_parts();
        if parts.method == Method::CONNECT {
            return Err(Refused(StatusCode::NOT_IMPLEMENTED, "this server is no proxy".to_owned()));
        }
        parts.uri = self.target(&parts)?;
        let body = RequestBody::new(body);
        let Some(most) = self.settings.most_body else {
            let body = body.map_err(wasmtime_wasi_http::Error::from).boxed_unsync();
            return Ok((Request::from_parts(parts, body), None));
        };
        let declared = parts.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        if declared.is_some_and(|length| length > most) {
            return Err(self.too_large());
        }
        let excess = Arc::new(AtomicBool::new(false));
        let found = Arc::clone(&excess);
        let body = Limited::new(body, usize::try_from(most).unwrap_or(usize::MAX));
        let body = body.map_err(move |e| match e.downcast::<hyper::Error>() {
            Ok(e) => wasmtime_wasi_http::Error::from(*e),
            Err(_) => {
                found.store(true, Ordering::Relaxed);
                wasmtime_wasi_http::Error::HttpRequestBodySize(Some(most))
            }
        });
        Ok((Request::from_parts(parts, body.boxed_unsync()), Some(excess)))
    }

    fn too_large(&self) -> Refused {
        let most = self.settings.most_body.unwrap_or_default();
        Refused(StatusCode::PAYLOAD_TOO_LARGE, format!("the body has more than {most} bytes"))
    }
}

/// Parses `uri-host [ ":" port ]` (RFC 9110, section 7.2). Returns None for a target without an authority.
fn authority(value: &HeaderValue) -> Result<Option<Authority>, ()> {
    match value.as_bytes() {
        [] => Ok(None),
        bytes if bytes.contains(&b'@') => Err(()),
        bytes => Authority::try_from(bytes).map(Some).map_err(drop),
    }
}

/// The parts of a request that its answer depends on.
struct Asked {
    method: Method,
    version: Version,
}

fn answer(asked: &Asked, head: Response<WasiBody>, run: Run, ended: Option<End>) -> Response<ResponseBody> {
    let run = ended.is_none().then_some(run);
    let bodiless = asked.method == Method::HEAD
        || matches!(head.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
        || head.status().is_informational();
    let length = head.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    let sent = match length {
        _ if bodiless => Sent::Whole,
        Some(length) => Sent::ButFor(length),
        None => Sent::NotEnded,
    };
    // In HTTP/2 hyper would send the body all the same.
    let drops = bodiless && asked.version == Version::HTTP_2;
    head.map(|body| {
        let body = if drops { WasiBody::default() } else { body };
        ResponseBody::Guest(GuestBody::new(body, run, ended, sent))
    })
}

fn internal() -> Refused {
    Refused(StatusCode::INTERNAL_SERVER_ERROR, "the component failed".to_owned())
}

fn refusal(status: StatusCode, text: String) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::Text(Full::new(Bytes::from(text + "\n"))));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, TEXT);
    match status {
        StatusCode::SERVICE_UNAVAILABLE => drop(response.headers_mut().insert(RETRY_AFTER, RETRY)),
        // The bytes after a bad request may not mean what their sender intends; and nobody wants the rest of a body that is too long.
        StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE => {
            drop(response.headers_mut().insert(CONNECTION, CLOSE))
        }
        _ => {}
    }
    response
}

/// A guest that has not answered yet. Dropping it ends the guest, since nobody waits any more (the client is gone, or the time is over).
struct Waiting(Option<Run>);

impl Waiting {
    async fn begin(&mut self, mut head: oneshot::Receiver<Head>) -> Begun {
        std::future::poll_fn(|cx| {
            let Some(run) = &mut self.0 else { return Poll::Pending };
            // If both are there the head comes first, as it was set before the guest returned.
            if let Poll::Ready(head) = Pin::new(&mut head).poll(cx) {
                return Poll::Ready(Begun::Head(head));
            }
            run.poll_returned(cx).map(Begun::Ended)
        })
        .await
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let Some(mut run) = self.0.take() else { return };
        run.exchange.expire();
        // A shared instance serves other requests too.
        if run.exchange.is_shared() {
            return;
        }
        // The guest's place is free when the guest is gone.
        tasks::spawn(async move { run.end_of_guest().await });
    }
}
