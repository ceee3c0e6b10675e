//! The worker of components that need more than the plain worker has: servers, which export `wasi:http/incoming-handler` or
//! `wasi:http/handler` and are called for each request, and extended commands ([`command`]), which are run once.
//!
//! ```text
//! artifact --- load ---> engine with a pool of slots, component       confined
//!   address --- listen ---> listening socket                          the user's rights, the pod's network
//!                                                                     nothing executable, no further socket from here on
//!     imports --- link ---> ProxyPre
//!       `--- program --->  acceptor --> lane (a thread, an event loop) --> connection --> request --> instance
//! ```
//!
//! A request's way: [`tls`], where the pod's author asks for it -> [`connection`] (limits of heads and connections) -> [`protocol`] (the
//! version of HTTP) -> [`service`] (the server's own refusals) -> [`admission`] (how many at once) -> wasmtime-wasi-http's dispatcher,
//! which has [`instances`] made -> [`response`].
//!
//! Invariants; the reason for each stands beside the code that it binds:
//! - An instance of WASI 0.2 handles one request and is dropped, unless the pod's author says otherwise. An instance of 0.3 handles several
//!   at once, and many in all.
//! - A request that traps, exits or computes for too long ends its own instance, and no other; each other request of that instance is
//!   answered 500, or its response is broken off. A request that only waits for too long ends no other.
//! - An idle server does nothing: no timer runs, no thread wakes up.
//! - Nothing is kept for a request beyond its response, and a slot is free when its guest has returned.

mod admission;
mod ceiling;
mod command;
mod connection;
mod drain;
mod exchange;
mod guest;
mod instances;
mod lanes;
mod link;
mod log;
mod outgoing;
mod output;
mod pool;
mod proposals;
mod protocol;
mod refusal;
mod report;
mod request;
mod response;
mod runner;
mod service;
mod stream;
mod tasks;
mod ticker;
mod tls;
mod tracked;
mod transport;
mod wasi3;
mod work;

pub use runner::Http;

#[cfg(test)]
mod tests {
    use crate::{admission, connection, protocol, refusal, request, runner, service, tls};

    /// Finds the server's own limits in the document's table, and in the text below it.
    #[test]
    fn the_document_names_the_limits_of_the_code() {
        let document = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/annotations.md");
        let document = std::fs::read_to_string(document).unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
        let retry = service::RETRY.to_str().unwrap().to_owned();
        for said in [
            format!("a head that is not complete {} s after its first byte", connection::LONGEST_HEAD.as_secs()),
            format!("a head of more than {} KiB", protocol::LARGEST_HEAD >> 10),
            format!("503 with `Retry-After: {retry}`"),
            format!("reads nothing of a response for {} s loses", connection::LONGEST_STALL.as_secs()),
            format!("Connections: {} for each request at once", runner::CONNECTIONS),
            format!("{} at least, and no more than the container's descriptors", runner::FEWEST_CONNECTIONS),
            format!("one that is idle ends after {} s", connection::LONGEST_IDLE.as_secs()),
            format!("reads up to {} KiB of the rest", request::LARGEST_REST >> 10),
            format!("when the client has sent the rest, or {} s later", connection::LONGEST_REST.as_secs()),
            "and as many wait already or this one has waited for a second".to_owned(),
            format!("may have {} requests at once, or twice `http-max-concurrent-requests`", protocol::FEWEST_STREAMS),
            format!("if that is more, up to {}.", protocol::MOST_STREAMS),
            format!("has not completed TLS's handshake after {} s", tls::LONGEST_HANDSHAKE.as_secs()),
        ] {
            assert!(document.contains(&said), "the document does not say: {said}");
        }
        // The document has these in words.
        assert_eq!((admission::WAITING, admission::LONGEST_WAIT.as_secs_f64()), (1, 1.0));
        assert_eq!((connection::LONGEST_FAREWELL.as_secs(), tls::LOOK_EVERY.as_secs()), (1, 10));
        assert!(refusal::TOO_MANY.windows(16).any(|part| part == format!("retry-after: {retry}\r\n").as_bytes()));
    }
}
