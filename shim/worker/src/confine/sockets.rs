//! The system calls that the filter allows a module that uses the network: TCP and UDP over IPv4 and IPv6, and the options that an
//! engine sets for a guest.
//!
//! A worker that its guest has taken over has the pod's network as every container of the pod has it, and under `hostNetwork` the
//! host's. It does not have: packets of its own making (raw, packet and netlink sockets), other processes' sockets and
//! descriptors (unix sockets), programs in the kernel (`SO_ATTACH_FILTER`, `SO_ATTACH_BPF` and the like), another route or
//! interface than the host's table says (`SO_BINDTODEVICE`, `SO_MARK`, `IP_OPTIONS`), other protocols under a stream's
//! name (MPTCP, SCTP, SMC, a `TCP_ULP`), ping sockets, and memory shared with the kernel (`SO_ZEROCOPY`,
//! `TCP_ZEROCOPY_RECEIVE`).

use nix::libc;

use super::rules::{allow, equals, int, of_int};
use crate::filter::Calls;

/// Calls on an existing socket. Not sendmsg and recvmsg: their control messages are in memory, where the filter does not look,
/// and can set the options that setsockopt is refused for (another source address, a way by IP options).
#[rustfmt::skip]
const ALLOWED: &[i64] = &[
    libc::SYS_bind, libc::SYS_connect, libc::SYS_listen, libc::SYS_accept4, libc::SYS_getsockname, libc::SYS_getpeername,
    libc::SYS_shutdown,
];

/// Type and protocol; 0 is the type's own.
const KINDS: [(libc::c_int, libc::c_int); 4] = [
    (libc::SOCK_STREAM, 0),
    (libc::SOCK_STREAM, libc::IPPROTO_TCP),
    (libc::SOCK_DGRAM, 0),
    (libc::SOCK_DGRAM, libc::IPPROTO_UDP),
];

/// Options to set and to read, by level: one list for both calls, which are neighbours and so one leaf of the filter.
/// `SO_REUSEPORT` is for Wasmer, which switches it off at each bind; the kernel shares a port among sockets of one user only.
/// `SO_ERROR` cannot be set.
#[rustfmt::skip]
const OPTIONS: &[(libc::c_int, &[libc::c_int])] = &[
    (libc::SOL_SOCKET, &[
        libc::SO_REUSEADDR, libc::SO_REUSEPORT, libc::SO_BROADCAST, libc::SO_KEEPALIVE, libc::SO_LINGER, libc::SO_RCVBUF,
        libc::SO_SNDBUF, libc::SO_ERROR,
    ]),
    (libc::IPPROTO_TCP, &[libc::TCP_NODELAY, libc::TCP_KEEPIDLE, libc::TCP_KEEPINTVL, libc::TCP_KEEPCNT]),
    (libc::IPPROTO_IP, &[
        libc::IP_TTL, libc::IP_MULTICAST_TTL, libc::IP_MULTICAST_LOOP, libc::IP_ADD_MEMBERSHIP, libc::IP_DROP_MEMBERSHIP,
    ]),
    (libc::IPPROTO_IPV6, &[
        libc::IPV6_V6ONLY, libc::IPV6_UNICAST_HOPS, libc::IPV6_MULTICAST_LOOP, libc::IPV6_ADD_MEMBERSHIP,
        libc::IPV6_DROP_MEMBERSHIP,
    ]),
];

/// The flags of send and receive that an engine gives; with MSG_FASTOPEN a send would be a connect.
const SENDING: libc::c_int = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
const RECEIVING: libc::c_int = libc::MSG_PEEK | libc::MSG_TRUNC | libc::MSG_DONTWAIT;

/// Allows these calls.
pub(super) fn add(calls: &mut Calls) {
    for &call in ALLOWED {
        allow(calls, call, &[]);
    }
    make(calls);
    allow(calls, libc::SYS_sendto, &[of_int(3, SENDING, 0)]);
    allow(calls, libc::SYS_recvfrom, &[of_int(3, RECEIVING, 0)]);
    for (level, options) in OPTIONS {
        for option in *options {
            for call in [libc::SYS_setsockopt, libc::SYS_getsockopt] {
                allow(calls, call, &[int(1, *level), int(2, *option)]);
            }
        }
    }
}

/// Allows the making of TCP and UDP sockets.
pub(super) fn make(calls: &mut Calls) {
    for family in [libc::AF_INET, libc::AF_INET6] {
        for (kind, protocol) in KINDS {
            let kind = of_int(1, libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC, kind);
            allow(calls, libc::SYS_socket, &[int(0, family), kind, int(2, protocol)]);
        }
    }
}

/// Allows speaking on an existing connection, to its peer alone. Not sendmsg and recvmsg, as above.
pub(super) fn speak(calls: &mut Calls) {
    for call in [libc::SYS_getsockname, libc::SYS_getpeername, libc::SYS_shutdown] {
        allow(calls, call, &[]);
    }
    allow(calls, libc::SYS_sendto, &[of_int(3, SENDING, 0), equals(4, 0)]);
    allow(calls, libc::SYS_recvfrom, &[of_int(3, RECEIVING, 0)]);
    for call in [libc::SYS_setsockopt, libc::SYS_getsockopt] {
        allow(calls, call, &[int(1, libc::IPPROTO_TCP), int(2, libc::TCP_NODELAY)]);
    }
}

#[cfg(test)]
#[allow(unsafe_code, reason = "the calls that must be refused are made as an attacker would: raw")]
pub(super) mod tests {
    use super::*;
    use crate::runner::Needs;

    pub(in super::super) const REFUSED: i64 = -(libc::ENOSYS as i64);

    /// Makes a raw call, and returns its result or the negative error number.
    pub(in super::super) fn call(number: i64, arguments: [u64; 6]) -> i64 {
        let [a, b, c, d, e, f] = arguments;
        // SAFETY: the calls below make sockets and set options of them, from memory that outlives each call.
        let result = unsafe { libc::syscall(number, a, b, c, d, e, f) };
        if result == -1 { -i64::from(nix::errno::Errno::last_raw()) } else { result }
    }

    pub(in super::super) fn socket(family: i32, kind: i32, protocol: i32) -> i64 {
        call(libc::SYS_socket, [family as u64, kind as u64, protocol as u64, 0, 0, 0])
    }

    const NETWORK: Needs = Needs { threads: false, sockets: true, accepts: false, connects: false };

    /// Runs `then` under the worker's filter.
    pub(in super::super) fn restricted(needs: Needs, then: impl FnOnce() + Send + 'static) {
        let thread = std::thread::spawn(move || {
            crate::confine::credentials::no_new_privileges().unwrap();
            crate::confine::restrict(None, needs).unwrap();
            then();
        });
        thread.join().unwrap();
    }

    #[test]
    fn without_socket_imports_no_socket_is_made() {
        // SAFETY: two plain numbers in, a new descriptor out.
        let open = unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0) } as u64;
        restricted(Needs::default(), move || {
            for family in [libc::AF_INET, libc::AF_INET6, libc::AF_UNIX] {
                assert_eq!(socket(family, libc::SOCK_STREAM, 0), REFUSED);
                assert_eq!(socket(family, libc::SOCK_DGRAM, 0), REFUSED);
            }
            for number in [
                libc::SYS_bind,
                libc::SYS_connect,
                libc::SYS_listen,
                libc::SYS_accept4,
                libc::SYS_accept,
                libc::SYS_getsockname,
                libc::SYS_getpeername,
                libc::SYS_shutdown,
                libc::SYS_sendto,
                libc::SYS_recvfrom,
                libc::SYS_setsockopt,
                libc::SYS_getsockopt,
                libc::SYS_socketpair,
            ] {
                assert_eq!(call(number, [open, 0, 0, 0, 0, 0]), REFUSED, "call {number}");
            }
        });
    }

    #[test]
    fn only_tcp_and_udp_sockets_are_made() {
        restricted(NETWORK, || {
            let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
            for family in [libc::AF_INET, libc::AF_INET6] {
                for (kind, protocol) in KINDS {
                    for flags in [0, libc::SOCK_CLOEXEC, flags] {
                        // A kernel without IPv6 says so itself.
                        let made = socket(family, kind | flags, protocol);
                        assert!(
                            made > 2 || made == -i64::from(libc::EAFNOSUPPORT),
                            "{family} {kind} {protocol}: {made}"
                        );
                    }
                }
                for (name, kind, protocol) in [
                    ("raw", libc::SOCK_RAW, libc::IPPROTO_RAW),
                    ("raw ICMP", libc::SOCK_RAW, libc::IPPROTO_ICMP),
                    ("ping", libc::SOCK_DGRAM, libc::IPPROTO_ICMP),
                    ("ping of IPv6", libc::SOCK_DGRAM, libc::IPPROTO_ICMPV6),
                    ("MPTCP", libc::SOCK_STREAM, libc::IPPROTO_MPTCP),
                    ("SCTP", libc::SOCK_STREAM, libc::IPPROTO_SCTP),
                    ("SMC", libc::SOCK_STREAM, 256),
                    ("UDP-Lite", libc::SOCK_DGRAM, libc::IPPROTO_UDPLITE),
                    ("seqpacket", libc::SOCK_SEQPACKET, 0),
                    ("packet, the old way", 10, 0),
                    ("another flag", libc::SOCK_STREAM | 0x100, 0),
                ] {
                    assert_eq!(socket(family, kind, protocol), REFUSED, "{name}");
                }
            }
            for family in [libc::AF_UNIX, libc::AF_NETLINK, libc::AF_PACKET, libc::AF_VSOCK, libc::AF_ALG, libc::AF_XDP]
            {
                for kind in [libc::SOCK_STREAM, libc::SOCK_DGRAM, libc::SOCK_SEQPACKET, libc::SOCK_RAW] {
                    assert_eq!(socket(family, kind, 0), REFUSED, "family {family}");
                }
            }
            assert_eq!(call(libc::SYS_socketpair, [libc::AF_UNIX as u64, 1, 0, 0, 0, 0]), REFUSED);
            assert_eq!(call(libc::SYS_sendmmsg, [0; 6]), REFUSED);
            assert_eq!(call(libc::SYS_splice, [0; 6]), REFUSED);
        });
    }

    #[test]
    fn socket_options_that_no_engine_sets_are_denied() {
        restricted(NETWORK, || {
            let stream = socket(libc::AF_INET, libc::SOCK_STREAM, 0) as u64;
            let value = 1u32;
            let size = size_of::<u32>() as u64;
            let set = |level: i32, option: i32| {
                let value = &raw const value as u64;
                call(libc::SYS_setsockopt, [stream, level as u64, option as u64, value, size, 0])
            };
            for option in [libc::SO_REUSEADDR, libc::SO_KEEPALIVE, libc::SO_RCVBUF, libc::SO_SNDBUF] {
                assert_eq!(set(libc::SOL_SOCKET, option), 0, "SOL_SOCKET {option}");
            }
            for option in [libc::TCP_NODELAY, libc::TCP_KEEPIDLE, libc::TCP_KEEPINTVL, libc::TCP_KEEPCNT] {
                assert_eq!(set(libc::IPPROTO_TCP, option), 0, "IPPROTO_TCP {option}");
            }
            assert_eq!(set(libc::IPPROTO_IP, libc::IP_TTL), 0);
            for (name, level, option) in [
                ("SO_ATTACH_FILTER", libc::SOL_SOCKET, libc::SO_ATTACH_FILTER),
                ("SO_ATTACH_BPF", libc::SOL_SOCKET, libc::SO_ATTACH_BPF),
                ("SO_ATTACH_REUSEPORT_CBPF", libc::SOL_SOCKET, libc::SO_ATTACH_REUSEPORT_CBPF),
                ("SO_ATTACH_REUSEPORT_EBPF", libc::SOL_SOCKET, libc::SO_ATTACH_REUSEPORT_EBPF),
                ("SO_BINDTODEVICE", libc::SOL_SOCKET, libc::SO_BINDTODEVICE),
                ("SO_BINDTOIFINDEX", libc::SOL_SOCKET, libc::SO_BINDTOIFINDEX),
                ("SO_MARK", libc::SOL_SOCKET, libc::SO_MARK),
                ("SO_PRIORITY", libc::SOL_SOCKET, libc::SO_PRIORITY),
                ("SO_RCVBUFFORCE", libc::SOL_SOCKET, libc::SO_RCVBUFFORCE),
                ("SO_BUSY_POLL", libc::SOL_SOCKET, libc::SO_BUSY_POLL),
                ("SO_ZEROCOPY", libc::SOL_SOCKET, libc::SO_ZEROCOPY),
                ("SO_TXTIME", libc::SOL_SOCKET, libc::SO_TXTIME),
                ("SO_TIMESTAMPING", libc::SOL_SOCKET, libc::SO_TIMESTAMPING),
                ("SO_PASSCRED", libc::SOL_SOCKET, libc::SO_PASSCRED),
                ("SO_DEBUG", libc::SOL_SOCKET, libc::SO_DEBUG),
                ("TCP_ULP", libc::IPPROTO_TCP, libc::TCP_ULP),
                ("TCP_REPAIR", libc::IPPROTO_TCP, libc::TCP_REPAIR),
                ("TCP_CONGESTION", libc::IPPROTO_TCP, libc::TCP_CONGESTION),
                ("TCP_MD5SIG", libc::IPPROTO_TCP, libc::TCP_MD5SIG),
                ("TCP_FASTOPEN", libc::IPPROTO_TCP, libc::TCP_FASTOPEN),
                ("TCP_ZEROCOPY_RECEIVE", libc::IPPROTO_TCP, 35),
                ("IP_OPTIONS", libc::IPPROTO_IP, libc::IP_OPTIONS),
                ("IP_HDRINCL", libc::IPPROTO_IP, libc::IP_HDRINCL),
                ("IP_TRANSPARENT", libc::IPPROTO_IP, libc::IP_TRANSPARENT),
                ("IP_FREEBIND", libc::IPPROTO_IP, libc::IP_FREEBIND),
                ("IP_PKTINFO", libc::IPPROTO_IP, libc::IP_PKTINFO),
                ("IP_MULTICAST_IF", libc::IPPROTO_IP, libc::IP_MULTICAST_IF),
                ("IP_UNBLOCK_SOURCE", libc::IPPROTO_IP, libc::IP_UNBLOCK_SOURCE),
                ("IPT_SO_SET_REPLACE", libc::IPPROTO_IP, 64),
                ("IPV6_RTHDR", libc::IPPROTO_IPV6, libc::IPV6_RTHDR),
                ("UDP_ENCAP", libc::IPPROTO_UDP, 100),
            ] {
                assert_eq!(set(level, option), REFUSED, "{name}");
                // The kernel ignores the upper half of an argument, and so must the filter.
                let padded =
                    [stream, level as u64 | 1 << 32, option as u64 | 1 << 32, &raw const value as u64, size, 0];
                assert_eq!(call(libc::SYS_setsockopt, padded), REFUSED, "{name}, padded");
            }
            for option in [libc::SO_PEERCRED, libc::SO_PEERSEC, libc::SO_COOKIE, libc::SO_GET_FILTER] {
                assert_eq!(call(libc::SYS_getsockopt, [stream, 1, option as u64, 0, 0, 0]), REFUSED, "asking {option}");
            }
            let text = c"x".as_ptr() as u64;
            let open = libc::MSG_FASTOPEN as u64;
            assert_eq!(call(libc::SYS_sendto, [stream, text, 1, open, 0, 0]), REFUSED, "MSG_FASTOPEN");
            let zero_copy = libc::MSG_ZEROCOPY as u64;
            assert_eq!(call(libc::SYS_sendto, [stream, text, 1, zero_copy, 0, 0]), REFUSED, "MSG_ZEROCOPY");
        });
    }

    #[test]
    fn a_message_carries_no_options_and_no_descriptors() {
        restricted(NETWORK, || {
            let heard = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
            let port = heard.local_addr().unwrap().port();
            // SAFETY: all-zero is a valid address.
            let mut to: libc::sockaddr_in = unsafe { std::mem::zeroed() };
            to.sin_family = libc::AF_INET as u16;
            to.sin_port = port.to_be();
            to.sin_addr.s_addr = u32::from_ne_bytes([127, 0, 0, 1]);
            let mut text = *b"x";
            let mut part = libc::iovec { iov_base: text.as_mut_ptr().cast(), iov_len: 1 };
            // A control message each, with an option that setsockopt is refused for: its length, its level and kind, its data.
            let source = [28_u64, (libc::IP_PKTINFO as u64) << 32, 0x0900_007f << 32, 0];
            let options = [24_u64, (libc::IP_RETOPTS as u64) << 32, 0x0000_0000_0004_0707, 0];
            for (name, said) in [("another source", source), ("IP options", options)] {
                // SAFETY: all-zero is a valid message header.
                let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
                message.msg_name = (&raw mut to).cast();
                message.msg_namelen = size_of::<libc::sockaddr_in>() as u32;
                message.msg_iov = &raw mut part;
                message.msg_iovlen = 1;
                message.msg_control = said.as_ptr().cast_mut().cast();
                message.msg_controllen = size_of_val(&said) as _;
                let datagram = socket(libc::AF_INET, libc::SOCK_DGRAM, 0) as u64;
                let sent = call(libc::SYS_sendmsg, [datagram, &raw const message as u64, 0, 0, 0, 0]);
                assert_eq!(sent, REFUSED, "{name}");
                assert_eq!(call(libc::SYS_recvmsg, [datagram, &raw const message as u64, 0, 0, 0, 0]), REFUSED);
            }
        });
    }

    #[test]
    fn a_connection_as_an_engine_makes_it_works() {
        restricted(NETWORK, || {
            use std::io::{Read, Write};
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let mut client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            client.set_nodelay(true).unwrap();
            let (mut server, peer) = listener.accept().unwrap();
            assert_eq!(peer, client.local_addr().unwrap());
            client.write_all(b"hello").unwrap();
            client.shutdown(std::net::Shutdown::Write).unwrap();
            let mut text = String::new();
            server.read_to_string(&mut text).unwrap();
            assert_eq!(text, "hello");
            assert!(server.take_error().unwrap().is_none());
            let (one, other) = ["127.0.0.1:0"; 2].map(|a| std::net::UdpSocket::bind(a).unwrap()).into();
            one.send_to(b"datagram", other.local_addr().unwrap()).unwrap();
            let mut bytes = [0; 16];
            assert_eq!(other.recv_from(&mut bytes).unwrap(), (8, one.local_addr().unwrap()));
        });
    }
}
