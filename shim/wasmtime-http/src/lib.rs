//! The HTTP server of a worker: a component that exports `wasi:http/incoming-handler`, called for each request.
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
//! - An instance handles one request and is dropped, unless the pod's author says otherwise.
//! - A request that traps, exits or takes too long ends its own instance, and no other.
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

pub use runner::Http;
