//! The system calls that the filter allows a server: accepting connections on a socket that listens already, and speaking on
//! them. The server can make no socket, and connect, bind or listen on none.
//!
//! A worker that its guest has taken over can answer its clients, and can open no connection itself. An accepted TCP socket keeps
//! its peer: connect(2), which could free it for another one (`AF_UNSPEC`), is not allowed, and a send that connects names a peer
//! or has `MSG_FASTOPEN`, both of which the filter refuses.

use nix::libc;

use super::rules::allow;
use crate::filter::Calls;

/// Allows accepting, without speaking on the connections (`sockets::speak`).
pub(super) fn add(calls: &mut Calls) {
    allow(calls, libc::SYS_accept4, &[]);
}

#[cfg(test)]
#[allow(unsafe_code, reason = "the structures that a call reads are made as an attacker would: by hand")]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
    use std::os::fd::AsRawFd;

    use super::super::sockets::tests::{REFUSED, call, restricted, socket};
    use super::*;
    use crate::runner::Needs;

    const SERVER: Needs = Needs { threads: true, sockets: false, accepts: true, connects: false };

    fn loopback(port: u16) -> libc::sockaddr_in {
        // SAFETY: all-zero is a valid address.
        let mut address: libc::sockaddr_in = unsafe { std::mem::zeroed() };
        address.sin_family = libc::AF_INET as u16;
        address.sin_port = port.to_be();
        address.sin_addr.s_addr = u32::from_ne_bytes([127, 0, 0, 1]);
        address
    }

    /// Returns a listener, its address, and two clients that are not accepted yet.
    fn listening() -> (TcpListener, SocketAddr, [TcpStream; 2]) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address, [(); 2].map(|()| TcpStream::connect(address).unwrap()))
    }

    #[test]
    fn a_server_accepts_reads_and_writes() {
        let (listener, address, [mut client, _other]) = listening();
        restricted(SERVER, move || {
            let (mut accepted, peer) = listener.accept().unwrap();
            assert_eq!(peer, client.local_addr().unwrap());
            assert_eq!(accepted.local_addr().unwrap(), address);
            accepted.set_nodelay(true).unwrap();
            assert!(accepted.nodelay().unwrap());
            accepted.set_nonblocking(true).unwrap();
            accepted.set_nonblocking(false).unwrap();
            client.write_all(b"request").unwrap();
            client.shutdown(Shutdown::Write).unwrap();
            assert_eq!(accepted.peek(&mut [0; 16]).unwrap(), 7);
            let mut text = String::new();
            accepted.read_to_string(&mut text).unwrap();
            assert_eq!(text, "request");
            let parts = [std::io::IoSlice::new(b"res"), std::io::IoSlice::new(b"ponse")];
            assert_eq!(accepted.write_vectored(&parts).unwrap(), 8);
            accepted.write_all(b"!").unwrap();
            accepted.shutdown(Shutdown::Write).unwrap();
            text.clear();
            client.read_to_string(&mut text).unwrap();
            assert_eq!(text, "response!");
            // Its threads too.
            std::thread::spawn(move || listener.accept().unwrap()).join().unwrap();
        });
    }

    #[test]
    fn a_server_makes_no_socket() {
        restricted(SERVER, || {
            let families = [libc::AF_INET, libc::AF_INET6, libc::AF_UNIX, libc::AF_NETLINK, libc::AF_PACKET];
            for family in families.into_iter().chain([libc::AF_VSOCK, libc::AF_ALG, libc::AF_XDP]) {
                for kind in [libc::SOCK_STREAM, libc::SOCK_DGRAM, libc::SOCK_RAW, libc::SOCK_SEQPACKET] {
                    assert_eq!(socket(family, kind, 0), REFUSED, "family {family}, kind {kind}");
                }
            }
            assert_eq!(call(libc::SYS_socketpair, [libc::AF_UNIX as u64, 1, 0, 0, 0, 0]), REFUSED);
            assert_eq!(call(libc::SYS_io_uring_setup, [1, 0, 0, 0, 0, 0]), REFUSED);
            assert_eq!(call(libc::SYS_pidfd_getfd, [0; 6]), REFUSED);
        });
    }

    #[test]
    fn a_server_connects_binds_and_listens_on_no_socket_that_it_has() {
        let (listener, address, _clients) = listening();
        // A socket that a worker could have only by a mistake of its own: it was made and never used.
        // SAFETY: plain numbers in, a new descriptor out.
        let fresh = unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0) } as u64;
        let target = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = loopback(target.local_addr().unwrap().port());
        restricted(SERVER, move || {
            let (accepted, _) = listener.accept().unwrap();
            let (second, _) = listener.accept().unwrap();
            // A connection that has ended, from both sides.
            second.shutdown(Shutdown::Both).unwrap();
            let (to, size) = (&raw const to as u64, size_of::<libc::sockaddr_in>() as u64);
            let nobody = [0_u16; 8];
            let (nobody, text) = (nobody.as_ptr() as u64, c"x".as_ptr() as u64);
            for (name, socket) in [
                ("the listener", listener.as_raw_fd() as u64),
                ("a connection", accepted.as_raw_fd() as u64),
                ("a connection that has ended", second.as_raw_fd() as u64),
                ("a new socket", fresh),
            ] {
                for (what, number, arguments) in [
                    ("connect", libc::SYS_connect, [socket, to, size, 0, 0, 0]),
                    ("connect to nobody, which frees it", libc::SYS_connect, [socket, nobody, 16, 0, 0, 0]),
                    ("bind", libc::SYS_bind, [socket, to, size, 0, 0, 0]),
                    ("listen", libc::SYS_listen, [socket, 1, 0, 0, 0, 0]),
                    ("accept, the old way", libc::SYS_accept, [socket, 0, 0, 0, 0, 0]),
                    ("sendto an address", libc::SYS_sendto, [socket, text, 1, 0, to, size]),
                    ("fast open", libc::SYS_sendto, [socket, text, 1, libc::MSG_FASTOPEN as u64, 0, 0]),
                    ("fast open to", libc::SYS_sendto, [socket, text, 1, libc::MSG_FASTOPEN as u64, to, size]),
                    ("without a copy", libc::SYS_sendto, [socket, text, 1, libc::MSG_ZEROCOPY as u64, 0, 0]),
                    ("sendmsg", libc::SYS_sendmsg, [socket, 0, 0, 0, 0, 0]),
                    ("sendmmsg", libc::SYS_sendmmsg, [socket, 0, 0, 0, 0, 0]),
                    ("recvmsg", libc::SYS_recvmsg, [socket, 0, 0, 0, 0, 0]),
                    ("recvmmsg", libc::SYS_recvmmsg, [socket, 0, 0, 0, 0, 0]),
                    ("splice", libc::SYS_splice, [socket, 0, socket, 0, 1, 0]),
                    ("sendfile", libc::SYS_sendfile, [socket, socket, 0, 1, 0, 0]),
                    ("a stream's signal", libc::SYS_fcntl, [socket, libc::F_SETOWN as u64, 1, 0, 0, 0]),
                ] {
                    assert_eq!(call(number, arguments), REFUSED, "{name}: {what}");
                }
            }
            target.set_nonblocking(true).unwrap();
            assert_eq!(target.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock, "somebody connected");
            assert_eq!(listener.local_addr().unwrap(), address);
        });
    }

    #[test]
    fn a_server_sets_no_option_but_nodelay() {
        let (listener, _, _clients) = listening();
        restricted(SERVER, move || {
            let (accepted, _) = listener.accept().unwrap();
            let value = 1_u32;
            for (name, level, option) in [
                ("SO_REUSEADDR", libc::SOL_SOCKET, libc::SO_REUSEADDR),
                ("SO_REUSEPORT", libc::SOL_SOCKET, libc::SO_REUSEPORT),
                ("SO_ATTACH_FILTER", libc::SOL_SOCKET, libc::SO_ATTACH_FILTER),
                ("SO_ATTACH_REUSEPORT_CBPF", libc::SOL_SOCKET, libc::SO_ATTACH_REUSEPORT_CBPF),
                ("SO_BINDTODEVICE", libc::SOL_SOCKET, libc::SO_BINDTODEVICE),
                ("SO_MARK", libc::SOL_SOCKET, libc::SO_MARK),
                ("SO_RCVBUF", libc::SOL_SOCKET, libc::SO_RCVBUF),
                ("SO_ZEROCOPY", libc::SOL_SOCKET, libc::SO_ZEROCOPY),
                ("TCP_ULP", libc::IPPROTO_TCP, libc::TCP_ULP),
                ("TCP_REPAIR", libc::IPPROTO_TCP, libc::TCP_REPAIR),
                ("TCP_FASTOPEN_CONNECT", libc::IPPROTO_TCP, libc::TCP_FASTOPEN_CONNECT),
                ("TCP_ZEROCOPY_RECEIVE", libc::IPPROTO_TCP, 35),
                ("IP_OPTIONS", libc::IPPROTO_IP, libc::IP_OPTIONS),
                ("IP_TRANSPARENT", libc::IPPROTO_IP, libc::IP_TRANSPARENT),
                // The number of TCP_NODELAY, at other levels.
                ("SO_DEBUG", libc::SOL_SOCKET, libc::TCP_NODELAY),
                ("IP_TOS", libc::IPPROTO_IP, libc::TCP_NODELAY),
            ] {
                for socket in [listener.as_raw_fd(), accepted.as_raw_fd()] {
                    for (level, option) in
                        [(level as u64, option as u64), (level as u64 | 1 << 32, option as u64 | 1 << 32)]
                    {
                        let arguments = [socket as u64, level, option, &raw const value as u64, 4, 0];
                        assert_eq!(call(libc::SYS_setsockopt, arguments), REFUSED, "{name}");
                    }
                }
            }
            let peer = [accepted.as_raw_fd() as u64, libc::SOL_SOCKET as u64, libc::SO_PEERCRED as u64, 0, 0, 0];
            assert_eq!(call(libc::SYS_getsockopt, peer), REFUSED);
        });
    }
}
