//! The system calls that the filter allows a server whose guest makes HTTP requests: connecting to others over TCP, and asking
//! name servers over UDP.
//!
//! The server cannot bind a socket or listen on one: a worker that its guest has taken over reaches all that its pod reaches, and
//! others reach it only through the socket that it was given.

use nix::libc;

use super::rules::{allow, int};
use super::sockets;
use crate::filter::Calls;

/// Allows connecting, without speaking on the connections ([`sockets::speak`]).
pub(super) fn add(calls: &mut Calls) {
    sockets::make(calls);
    allow(calls, libc::SYS_connect, &[]);
    allow(calls, libc::SYS_getsockopt, &[int(1, libc::SOL_SOCKET), int(2, libc::SO_ERROR)]);
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use super::super::sockets::tests::{REFUSED, call, restricted, socket};
    use super::*;
    use crate::runner::Needs;

    /// A server with a guest that makes requests.
    const REQUESTING: Needs = Needs { threads: true, sockets: false, accepts: true, connects: true };

    #[test]
    fn a_server_with_requests_connects() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        restricted(REQUESTING, move || {
            let mut client = TcpStream::connect(address).unwrap();
            client.set_nodelay(true).unwrap();
            client.set_nonblocking(true).unwrap();
            client.set_nonblocking(false).unwrap();
            assert!(client.take_error().unwrap().is_none());
            let (mut server, _) = listener.accept().unwrap();
            client.write_all(b"request").unwrap();
            let mut bytes = [0; 7];
            server.read_exact(&mut bytes).unwrap();
            assert_eq!(&bytes, b"request");
        });
    }

    #[test]
    fn a_server_with_requests_binds_and_listens_nowhere() {
        restricted(REQUESTING, || {
            for (family, kind) in [
                (libc::AF_INET, libc::SOCK_STREAM),
                (libc::AF_INET, libc::SOCK_DGRAM),
                (libc::AF_INET6, libc::SOCK_STREAM),
                (libc::AF_INET6, libc::SOCK_DGRAM),
            ] {
                let made = socket(family, kind, 0);
                // A kernel without IPv6 says so itself.
                if made == -i64::from(libc::EAFNOSUPPORT) {
                    continue;
                }
                assert!(made > 2, "{made}");
                let (made, address) = (made as u64, [0_u8; 28]);
                let to = address.as_ptr() as u64;
                for (what, number, arguments) in [
                    ("bind", libc::SYS_bind, [made, to, 28, 0, 0, 0]),
                    ("listen", libc::SYS_listen, [made, 1, 0, 0, 0, 0]),
                    ("sendto an address", libc::SYS_sendto, [made, to, 1, 0, to, 28]),
                    ("fast open", libc::SYS_sendto, [made, to, 1, libc::MSG_FASTOPEN as u64, 0, 0]),
                    ("sendmsg", libc::SYS_sendmsg, [made, 0, 0, 0, 0, 0]),
                    ("recvmsg", libc::SYS_recvmsg, [made, 0, 0, 0, 0, 0]),
                    ("SO_MARK", libc::SYS_setsockopt, [made, 1, libc::SO_MARK as u64, to, 4, 0]),
                    ("SO_BINDTODEVICE", libc::SYS_setsockopt, [made, 1, libc::SO_BINDTODEVICE as u64, to, 4, 0]),
                    ("SO_REUSEPORT", libc::SYS_setsockopt, [made, 1, libc::SO_REUSEPORT as u64, to, 4, 0]),
                ] {
                    assert_eq!(call(number, arguments), REFUSED, "{what}");
                }
            }
            for family in [libc::AF_UNIX, libc::AF_NETLINK, libc::AF_PACKET, libc::AF_VSOCK, libc::AF_ALG, libc::AF_XDP]
            {
                for kind in [libc::SOCK_STREAM, libc::SOCK_DGRAM, libc::SOCK_RAW, libc::SOCK_SEQPACKET] {
                    assert_eq!(socket(family, kind, 0), REFUSED, "family {family}, kind {kind}");
                }
            }
        });
    }
}
