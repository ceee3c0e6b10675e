//! Sockets of the pod's network namespace: TCP and UDP, whatever the namespace lets through. The filter of system calls
//! decides which families there are.
//!
//! The thread that waits for sockets is made with the first of them: most guests have none.

use std::cell::Cell;
use std::mem::MaybeUninit;
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::sync::OnceLock;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use catamaran_names::Failure;
use catamaran_worker::panics;
use tokio::runtime::Handle;
use virtual_net::host::LocalNetworking;
use virtual_net::{
    InterestHandler, NetworkError, Result, SocketStatus, VirtualConnectedSocket, VirtualIoSource, VirtualNetworking,
    VirtualSocket, VirtualTcpBoundSocket, VirtualTcpListener, VirtualTcpSocket, VirtualUdpSocket,
};
use wasmer::RuntimeError;
use wasmer_wasix::net::net_error_into_wasi_err;
use wasmer_wasix::wasmer_wasix_types::wasi::Errno;

use crate::call::Call;
use crate::datagrams::Datagrams;
use crate::waits;

/// The pod's network, as far as guests are given it.
#[derive(Debug)]
pub(crate) struct Pod {
    events: Handle,
    sockets: OnceLock<Option<LocalNetworking>>,
}

impl Pod {
    pub(crate) fn new(events: Handle) -> Self {
        Self { events, sockets: OnceLock::new() }
    }

    fn sockets(&self) -> Result<&LocalNetworking> {
        let made = self.sockets.get_or_init(|| {
            let _entered = self.events.enter();
            // `new` panics if no thread can be had.
            panics::caught(LocalNetworking::new)
        });
        made.as_ref().ok_or(NetworkError::InsufficientMemory)
    }
}

#[async_trait]
impl VirtualNetworking for Pod {
    async fn listen_tcp(
        &self,
        address: SocketAddr,
        only_v6: bool,
        reuse_port: bool,
        reuse_address: bool,
    ) -> Result<Box<dyn VirtualTcpListener + Sync>> {
        self.sockets()?.listen_tcp(address, only_v6, reuse_port, reuse_address).await
    }

    async fn bind_tcp(
        &self,
        address: SocketAddr,
        only_v6: bool,
        reuse_port: bool,
        reuse_address: bool,
    ) -> Result<Box<dyn VirtualTcpBoundSocket + Sync>> {
        let bound = self.sockets()?.bind_tcp(address, only_v6, reuse_port, reuse_address).await?;
        Ok(Box::new(Bound(bound)))
    }

    async fn bind_udp(
        &self,
        address: SocketAddr,
        reuse_port: bool,
        reuse_address: bool,
    ) -> Result<Box<dyn VirtualUdpSocket + Sync>> {
        self.sockets()?.bind_udp(address, reuse_port, reuse_address).await.map(Datagrams::over)
    }

    async fn connect_tcp(&self, address: SocketAddr, peer: SocketAddr) -> Result<Box<dyn VirtualTcpSocket + Sync>> {
        self.sockets()?.connect_tcp(address, peer).await.map(Connection::over)
    }

    /// Resolves by the container's own files and servers. [`LocalNetworking`] would ask the C library, which loads the
    /// image's code.
    async fn resolve(&self, host: &str, _port: Option<u16>, _server: Option<IpAddr>) -> Result<Vec<IpAddr>> {
        let host = host.to_owned();
        // On the event loop, whose timers and sockets are needed.
        let found = self.events.spawn(async move { catamaran_names::resolve(&host).await }).await;
        match found.map_err(|_| NetworkError::IOError)? {
            Ok(addresses) => Ok(addresses),
            Err(Failure::NotFound) => Ok(Vec::new()),
            Err(Failure::Invalid) => Err(NetworkError::InvalidInput),
            Err(Failure::Unavailable) => Err(NetworkError::TimedOut),
        }
    }
}

thread_local! {
    /// Whether this thread is in the guest's connect(2), and why that could not make a connection.
    static CONNECTING: Cell<bool> = const { Cell::new(false) };
    static FAILED: Cell<Option<NetworkError>> = const { Cell::new(None) };
}

/// `sock_connect`. Reports an immediate refusal at once, even if the guest does not wait: wasmer-wasix leaves it for later
/// (SO_ERROR), and wasix-libc does not ask for that, but says that there was none.
pub(crate) fn connect(call: &mut Call<'_>) -> std::result::Result<i32, RuntimeError> {
    // A signal's handler may connect within this call.
    let outer = (CONNECTING.replace(true), FAILED.take());
    let said = waits::its_own_time(call);
    CONNECTING.set(outer.0);
    let failed = FAILED.replace(outer.1);
    said.map(|said| match failed {
        Some(failed) if said == Errno::Inprogress as i32 => net_error_into_wasi_err(failed) as i32,
        _ => said,
    })
}

/// A connection that is being made, or has been. wasmer-wasix takes it for made as soon as its socket can be written to. A refused socket
/// can be, too, and connect(2) would succeed.
#[derive(Debug)]
struct Connection(Box<dyn VirtualTcpSocket + Sync>);

impl Connection {
    fn over(socket: Box<dyn VirtualTcpSocket + Sync>) -> Box<dyn VirtualTcpSocket + Sync> {
        Box::new(Self(socket))
    }

    /// Why the connection failed, for the thread that is in connect(2).
    fn failure(&self) -> Option<NetworkError> {
        let failed = CONNECTING.get() && matches!(self.0.status(), Ok(SocketStatus::Failed));
        failed.then(|| self.0.last_error().ok().flatten().unwrap_or(NetworkError::IOError))
    }
}

/// Passes calls on to the socket within.
macro_rules! own {
    ($($call:ident(&self) -> $answer:ty;)*) => {$(
        fn $call(&self) -> $answer {
            self.0.$call()
        }
    )*};
    ($($call:ident(&mut self $(, $argument:ident: $ty:ty)*) -> $answer:ty;)*) => {$(
        fn $call(&mut self $(, $argument: $ty)*) -> $answer {
            self.0.$call($($argument),*)
        }
    )*};
}

impl VirtualIoSource for Connection {
    fn remove_handler(&mut self) {
        self.0.remove_handler();
    }

    fn poll_read_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize>> {
        self.0.poll_read_ready(cx)
    }

    fn poll_write_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize>> {
        let room = ready!(self.0.poll_write_ready(cx));
        Poll::Ready(self.failure().map_or(room, Err))
    }
}

impl VirtualSocket for Connection {
    own! {
        ttl(&self) -> Result<u32>;
        addr_local(&self) -> Result<SocketAddr>;
        last_error(&self) -> Result<Option<NetworkError>>;
    }
    own! {
        set_ttl(&mut self, ttl: u32) -> Result<()>;
        set_handler(&mut self, handler: Box<dyn InterestHandler + Send + Sync>) -> Result<()>;
    }

    fn status(&self) -> Result<SocketStatus> {
        let status = self.0.status();
        if let Some(failure) = self.failure() {
            FAILED.set(Some(failure));
        }
        status
    }
}

impl VirtualConnectedSocket for Connection {
    own! {
        linger(&self) -> Result<Option<Duration>>;
    }
    own! {
        set_linger(&mut self, linger: Option<Duration>) -> Result<()>;
        try_send(&mut self, bytes: &[u8]) -> Result<usize>;
        try_flush(&mut self) -> Result<()>;
        close(&mut self) -> Result<()>;
        try_recv(&mut self, buffer: &mut [MaybeUninit<u8>], peek: bool) -> Result<usize>;
    }
}

impl VirtualTcpSocket for Connection {
    own! {
        recv_buf_size(&self) -> Result<usize>;
        send_buf_size(&self) -> Result<usize>;
        nodelay(&self) -> Result<bool>;
        keepalive(&self) -> Result<bool>;
        dontroute(&self) -> Result<bool>;
        addr_peer(&self) -> Result<SocketAddr>;
        is_closed(&self) -> bool;
    }
    own! {
        set_recv_buf_size(&mut self, size: usize) -> Result<()>;
        set_send_buf_size(&mut self, size: usize) -> Result<()>;
        set_nodelay(&mut self, nodelay: bool) -> Result<()>;
        set_keepalive(&mut self, keepalive: bool) -> Result<()>;
        set_dontroute(&mut self, dontroute: bool) -> Result<()>;
        shutdown(&mut self, how: Shutdown) -> Result<()>;
    }
}

/// A socket with an address of its own, from which a connection can be made.
#[derive(Debug)]
struct Bound(Box<dyn VirtualTcpBoundSocket + Sync>);

impl VirtualTcpBoundSocket for Bound {
    own! {
        addr_local(&self) -> Result<SocketAddr>;
        ttl(&self) -> Result<u32>;
    }
    own! {
        listen(&mut self) -> Result<Box<dyn VirtualTcpListener + Sync>>;
        set_ttl(&mut self, ttl: u32) -> Result<()>;
    }

    fn connect(&mut self, peer: SocketAddr) -> Result<Box<dyn VirtualTcpSocket + Sync>> {
        self.0.connect(peer).map(Connection::over)
    }
}
