//! A server of WASI 0.3 in Rust, by the path that is asked for:
//!   /hello                            "hello from rust"
//!   /about                            method, scheme, authority, path and the header x-word, as the guest sees them
//!   /fetch?HOST/PATH                  a request of its own: its status and body
//!   /echo                             the request's body, while it comes, with a trailer
//!   /grpc.health.v1.Health/Check      "serving", as gRPC has it
//!   /grpc.echo.Echo/Stream            the messages of the request, while they come: streaming both ways
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use wasip3::http::client;
use wasip3::http::types::{self, ErrorCode};
use wasip3::http_compat::{
    IncomingRequestBody, http_from_wasi_request, http_from_wasi_response, http_into_wasi_request, http_into_wasi_response,
};

/// HealthCheckResponse { status: SERVING }, with the length before it.
const SERVING: &[u8] = &[0, 0, 0, 0, 2, 8, 1];

struct Server;
wasip3::http::service::export!(Server);

type Answer = Response<UnsyncBoxBody<Bytes, ErrorCode>>;

impl wasip3::exports::http::handler::Guest for Server {
    async fn handle(request: types::Request) -> Result<types::Response, ErrorCode> {
        let about = (request.get_scheme(), request.get_authority());
        http_into_wasi_response(answer(http_from_wasi_request(request)?, about).await?)
    }
}

async fn answer(
    request: http::Request<IncomingRequestBody>,
    (scheme, authority): (Option<types::Scheme>, Option<String>),
) -> Result<Answer, ErrorCode> {
    let (parts, body) = request.into_parts();
    let word = parts.headers.get("x-word").and_then(|value| value.to_str().ok()).unwrap_or("none");
    match parts.uri.path() {
        "/hello" => Ok(text("hello from rust\n")),
        "/about" => Ok(text(&format!("{} {scheme:?} {authority:?} {} {word}\n", parts.method, parts.uri.path()))),
        "/fetch" => {
            let request = http::Request::get(format!("http://{}", parts.uri.query().unwrap_or_default()));
            let request = request.body(http_body_util::Empty::<Bytes>::new()).map_err(internal)?;
            let response = client::send(http_into_wasi_request(request)?).await?;
            let (parts, body) = http_from_wasi_response(response)?.into_parts();
            let body = body.collect().await?.to_bytes();
            Ok(text(&format!("{} {}", parts.status.as_u16(), String::from_utf8_lossy(&body))))
        }
        "/echo" => Ok(Response::new(Trailing::new(body.boxed_unsync(), "x-end", "echoed"))),
        "/grpc.health.v1.Health/Check" => grpc(Full::new(Bytes::from_static(SERVING)).map_err(|e| match e {}).boxed_unsync()),
        "/grpc.echo.Echo/Stream" => grpc(body.boxed_unsync()),
        _ => {
            let mut answer = text("nothing here\n");
            *answer.status_mut() = StatusCode::NOT_FOUND;
            Ok(answer)
        }
    }
}

fn internal(e: impl ToString) -> ErrorCode {
    ErrorCode::InternalError(Some(e.to_string()))
}

fn text(text: &str) -> Answer {
    Response::new(Full::new(Bytes::from(text.to_owned())).map_err(|e| match e {}).boxed_unsync())
}

fn grpc(body: UnsyncBoxBody<Bytes, ErrorCode>) -> Result<Answer, ErrorCode> {
    let mut answer = Response::new(Trailing::new(body, "grpc-status", "0"));
    answer.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    Ok(answer)
}

/// A body with one trailer of its own.
struct Trailing {
    body: UnsyncBoxBody<Bytes, ErrorCode>,
    trailer: Option<(&'static str, &'static str)>,
}

impl Trailing {
    fn new(body: UnsyncBoxBody<Bytes, ErrorCode>, name: &'static str, value: &'static str) -> UnsyncBoxBody<Bytes, ErrorCode> {
        Self { body, trailer: Some((name, value)) }.boxed_unsync()
    }
}

impl Body for Trailing {
    type Data = Bytes;
    type Error = ErrorCode;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ErrorCode>>> {
        match std::task::ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            Some(Ok(frame)) if frame.is_data() => Poll::Ready(Some(Ok(frame))),
            Some(Err(code)) => Poll::Ready(Some(Err(code))),
            // The request's own trailers end it as nothing does.
            Some(Ok(_)) | None => Poll::Ready(self.trailer.take().map(|(name, value)| {
                let trailers = [(HeaderName::from_static(name), HeaderValue::from_static(value))];
                Ok(Frame::trailers(HeaderMap::from_iter(trailers)))
            })),
        }
    }
}
