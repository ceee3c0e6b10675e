//! Datagram sockets. wasmer-wasix keeps a socket's peer to itself, so that the kernel would report no refusal by the peer. So
//! the first datagram that a socket sends to its peer connects it in the kernel too.
#![allow(unsafe_code, reason = "the library lends no descriptor of its sockets; the call has its SAFETY comment")]

use std::cell::Cell;
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{BorrowedFd, RawFd};
use std::task::{Context, Poll};

use virtual_net::{
    InterestHandler, NetworkError, Result, SocketStatus, VirtualConnectionlessSocket, VirtualIoSource, VirtualSocket,
    VirtualUdpSocket,
};

thread_local! {
    /// Whether this thread is in a call that sends without a destination.
    static TO_THE_PEER: Cell<bool> = const { Cell::new(false) };
}

/// Makes `call`, which sends without a destination.
pub(crate) fn to_the_peer<T>(call: impl FnOnce() -> T) -> T {
    let outer = TO_THE_PEER.replace(true);
    let answer = call();
    TO_THE_PEER.set(outer);
    answer
}

/// A datagram socket.
#[derive(Debug)]
pub(crate) struct Datagrams {
    socket: Box<dyn VirtualUdpSocket + Sync>,
    /// The peer to which it is connected in the kernel.
    peer: Option<SocketAddr>,
}

impl Datagrams {
    pub(crate) fn over(socket: Box<dyn VirtualUdpSocket + Sync>) -> Box<dyn VirtualUdpSocket + Sync> {
        Box::new(Self { socket, peer: None })
    }

    fn connect(&mut self, peer: SocketAddr) {
        let Some(number) = number(&*self.socket) else { return };
        // SAFETY: the descriptor must be open for as long as it is borrowed: until this function ends. It is `socket`'s own, which closes
        // it only when it is dropped.
        let socket = unsafe { BorrowedFd::borrow_raw(number) };
        // If this fails, the send reports what is wrong with the peer.
        if rustix::net::connect(socket, &peer).is_ok() {
            self.peer = Some(peer);
        }
    }
}

/// A socket's descriptor, read off its debug text.
fn number(socket: &dyn VirtualUdpSocket) -> Option<RawFd> {
    let text = format!("{socket:?}");
    let (_, number) = text.split_once(" fd: ")?;
    number.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

impl VirtualConnectionlessSocket for Datagrams {
    fn try_send_to(&mut self, data: &[u8], peer: SocketAddr) -> Result<usize> {
        if TO_THE_PEER.get() && self.peer != Some(peer) {
            self.connect(peer);
        }
        self.socket.try_send_to(data, peer)
    }

    fn try_recv_from(&mut self, buffer: &mut [MaybeUninit<u8>], peek: bool) -> Result<(usize, SocketAddr)> {
        self.socket.try_recv_from(buffer, peek)
    }
}

impl VirtualIoSource for Datagrams {
    fn remove_handler(&mut self) {
        self.socket.remove_handler();
    }

    fn poll_read_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize>> {
        self.socket.poll_read_ready(cx)
    }

    fn poll_write_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize>> {
        self.socket.poll_write_ready(cx)
    }
}

/// Passes calls on to the socket within.
macro_rules! own {
    ($($call:ident(&self) -> $answer:ty;)*) => {$(
        fn $call(&self) -> $answer {
            self.socket.$call()
        }
    )*};
    ($($call:ident(&mut self $(, $argument:ident: $ty:ty)*) -> $answer:ty;)*) => {$(
        fn $call(&mut self $(, $argument: $ty)*) -> $answer {
            self.socket.$call($($argument),*)
        }
    )*};
}

impl VirtualSocket for Datagrams {
    own! {
        ttl(&self) -> Result<u32>;
        addr_local(&self) -> Result<SocketAddr>;
        last_error(&self) -> Result<Option<NetworkError>>;
        status(&self) -> Result<SocketStatus>;
    }
    own! {
        set_ttl(&mut self, ttl: u32) -> Result<()>;
        set_handler(&mut self, handler: Box<dyn InterestHandler + Send + Sync>) -> Result<()>;
    }
}

impl VirtualUdpSocket for Datagrams {
    own! {
        broadcast(&self) -> Result<bool>;
        multicast_loop_v4(&self) -> Result<bool>;
        multicast_loop_v6(&self) -> Result<bool>;
        multicast_ttl_v4(&self) -> Result<u32>;
        addr_peer(&self) -> Result<Option<SocketAddr>>;
    }
    own! {
        set_broadcast(&mut self, on: bool) -> Result<()>;
        set_multicast_loop_v4(&mut self, on: bool) -> Result<()>;
        set_multicast_loop_v6(&mut self, on: bool) -> Result<()>;
        set_multicast_ttl_v4(&mut self, ttl: u32) -> Result<()>;
        join_multicast_v4(&mut self, group: Ipv4Addr, interface: Ipv4Addr) -> Result<()>;
        leave_multicast_v4(&mut self, group: Ipv4Addr, interface: Ipv4Addr) -> Result<()>;
        join_multicast_v6(&mut self, group: Ipv6Addr, interface: u32) -> Result<()>;
        leave_multicast_v6(&mut self, group: Ipv6Addr, interface: u32) -> Result<()>;
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::time::Duration;

    use virtual_net::host::LocalNetworking;
    use virtual_net::{NetworkError, VirtualNetworking};

    use super::{Datagrams, to_the_peer};

    #[test]
    fn a_datagram_to_a_closed_port_is_reported_as_refused() {
        let events = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        events.block_on(async {
            let any = "127.0.0.1:0".parse().unwrap();
            let socket = LocalNetworking::new().bind_udp(any, false, false).await.unwrap();
            let mut socket = Datagrams::over(socket);
            let nobody = UdpSocket::bind(any).unwrap().local_addr().unwrap();
            socket.try_send_to(b"x", nobody).unwrap();
            std::thread::sleep(Duration::from_millis(50));
            assert_eq!(socket.try_recv_from(&mut [], false), Err(NetworkError::WouldBlock), "sent without a peer");
            to_the_peer(|| socket.try_send_to(b"x", nobody)).unwrap();
            std::thread::sleep(Duration::from_millis(50));
            assert_eq!(socket.try_recv_from(&mut [], false), Err(NetworkError::ConnectionRefused));
        });
    }
}
