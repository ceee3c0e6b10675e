//! Makes connected datagram sockets without binding them: connecting gives them a port, and not every worker may bind one.

use std::io;
use std::net::{SocketAddr, UdpSocket};

use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};

/// Makes a non-blocking socket that receives from `peer` alone.
pub(crate) fn connected(peer: SocketAddr) -> io::Result<UdpSocket> {
    let family = if peer.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::DGRAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    connect(&socket, &peer)?;
    Ok(socket.into())
}
