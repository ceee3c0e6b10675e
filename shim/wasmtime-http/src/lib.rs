//! The HTTP server of a worker: a component that exports `wasi:http/incoming-handler` or `wasi:http/handler`, called for each request.
//!
//! ```text
//! artifact --- load ---> engine with a pool of slots, component       confined
//!   address --- listen ---> listening socket                          the user's rights, the pod's network
//!                                                                     nothing executable, no further socket from here on
//!     imports --- link ---> ProxyPre
//!       `--- program --->  acceptor --> lane (a thread, an event loop) --> connection --> request --> instance
//! ```
//!
//! A request's way: [`connection`] (limits of heads and connections) -> [`service`] (what a server refuses by itself) ->
//! [`admission`] (how many at once) -> wasmtime-wasi-http's dispatcher, which has [`instances`] made -> [`response`].
//!
//! Invariants, each with its reason where it binds:
//! - An instance of WASI 0.2 handles one request and is dropped, unless the pod's author says otherwise. One of 0.3 handles several
//!   at once, and many.
//! - A request that traps, exits or computes for too long ends its own instance, and no other; each other request of that instance is
//!   answered 500, or its response is broken off. One that only waits for too long ends nobody else.
//! - An idle server does nothing: no timer runs, no thread wakes up.
//! - Nothing is kept for a request beyond its response, and a slot is free when its guest has returned.

mod admission;
mod ceiling;
mod connection;
mod drain;
mod exchange;
mod guest;
mod instances;
mod lanes;
mod link;
mod outgoing;
mod output;
mod pool;
mod refusal;
mod report;
mod request;
mod response;
mod runner;
mod service;
mod stream;
mod tasks;
mod ticker;
mod wasi3;
mod work;

pub use runner::Http;
