//! A web server: a type that WASI's HTTP handler is, called for each request.

use std::io::{self, Write};

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{
    ErrorCode, Fields, IncomingRequest, Method, OutgoingBody, OutgoingResponse, ResponseOutparam,
};

struct Server;

wasip2::http::proxy::export!(Server);

impl Guest for Server {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let target = request.path_with_query().unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        // What fails once the response has begun is seen by the client as a body that ends early.
        let _ = match (request.method(), path) {
            (Method::Post, "/echo") => echo(request, out),
            _ => greet(query, out),
        };
    }
}

fn greet(query: &str, out: ResponseOutparam) -> io::Result<()> {
    let name = query.split('&').find_map(|pair| pair.strip_prefix("name=")).unwrap_or("stranger");
    let text = format!("Ahoy from Rust, {name}!\n");
    respond(out, Some(text.len()), |body| body.write_all(text.as_bytes()))
}

/// Sends the request's body back while it comes: whatever its size, one buffer of it is in memory.
fn echo(request: IncomingRequest, out: ResponseOutparam) -> io::Result<()> {
    let Ok(incoming) = request.consume() else {
        ResponseOutparam::set(out, Err(ErrorCode::InternalError(None)));
        return Ok(());
    };
    let mut stream = incoming.stream().expect("a body's stream is taken once");
    respond(out, None, |body| io::copy(&mut stream, body).map(drop))
}

fn respond(
    out: ResponseOutparam,
    length: Option<usize>,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let headers = Fields::new();
    headers.append("content-type", b"text/plain; charset=utf-8").expect("a header that a program may set");
    if let Some(length) = length {
        headers.append("content-length", length.to_string().as_bytes()).expect("a header that a program may set");
    }
    let response = OutgoingResponse::new(headers);
    let body = response.body().expect("a response's body is taken once");
    ResponseOutparam::set(out, Ok(response));
    let mut stream = body.write().expect("a body's stream is taken once");
    write(&mut stream)?;
    Write::flush(&mut stream)?;
    // The stream is to be gone before its body is finished.
    drop(stream);
    OutgoingBody::finish(body, None).map_err(io::Error::other)
}
