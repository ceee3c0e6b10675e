//! Servers. One that imports no sockets may accept connections at its listener, and open none. One that imports sockets may also use TCP
//! and UDP, like a command that imports them. One that makes HTTP requests may also connect. None may do more.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use nix::errno::Errno;

use super::network::{families, low_port};
use super::{Row, Shape, also};
use crate::call::{Answer, at, call, close, into, text};
use crate::outcome::Outcome;

/// The test connects within this time.
const SOON: Duration = Duration::from_secs(20);
const STREAM: u64 = libc::SOCK_STREAM as u64;
const DATAGRAM: u64 = libc::SOCK_DGRAM as u64;
const RAW: u64 = libc::SOCK_RAW as u64;

/// The answer to a server that tried to listen on port 1.
static LOW_PORT: OnceLock<Answer> = OnceLock::new();

pub(super) fn rows() -> Vec<Row> {
    let mut rows = vec![
        Row::new("server: a socket of any kind", also::NONE, |_| {
            families(&[
                (libc::AF_INET, STREAM),
                (libc::AF_INET6, STREAM),
                (libc::AF_INET, DATAGRAM),
                (libc::AF_INET6, DATAGRAM),
                (libc::AF_UNIX, STREAM),
                (libc::AF_NETLINK, RAW),
                (libc::AF_VSOCK, STREAM),
            ])
        }),
        Row::new("server: a socket by other ways", also::NONE, |c| {
            let mut pair = [0_i32; 2];
            Outcome::new([
                ("socketpair", call(libc::SYS_socketpair, [libc::AF_UNIX as u64, STREAM, 0, into(&mut pair)])),
                ("io_uring", call(libc::SYS_io_uring_setup, [8, at(&[0_u64; 15])])),
                ("pidfd_getfd", call(libc::SYS_pidfd_getfd, [0, c.number("LISTENER"), 0])),
                ("accept, which sets no flags", call(libc::SYS_accept, [c.number("LISTENER"), 0, 0])),
            ])
        }),
        Row::new("server: its listener bound, connected, given other options", also::NONE, |c| {
            turned_elsewhere(c.number("LISTENER"))
        }),
        Row::new("server: an accepted connection turned elsewhere", also::NONE, |c| {
            match accepted(c.number("LISTENER")) {
                Ok(connection) => turned_elsewhere(connection as u64),
                Err(e) => Outcome::Open(format!("nothing, since a server cannot accept: {e:?}")),
            }
        })
        .alone(),
    ]
    .into_iter()
    .map(|row| row.shape(Shape::Server))
    .collect::<Vec<_>>();
    rows.extend(
        [
            Row::new("server with sockets: any but TCP and UDP", also::NONE, |_| {
                // Its granted powers must work, or the rest proves nothing.
                if let Err(e) = connected(libc::AF_INET, STREAM).and(connected(libc::AF_INET, DATAGRAM)) {
                    return Outcome::Open(format!(
                        "nothing, since a server that imports sockets cannot connect: {e:?}"
                    ));
                }
                families(&[
                    (libc::AF_UNIX, STREAM),
                    (libc::AF_INET, RAW),
                    (libc::AF_INET6, RAW),
                    (libc::AF_PACKET, RAW),
                    (libc::AF_NETLINK, RAW),
                    (libc::AF_VSOCK, STREAM),
                    (libc::AF_ALG, 5),
                ])
            }),
            Row::new("server with sockets: control data and options of its sockets", also::NONE, |c| {
                let listener = c.number("LISTENER");
                match accepted(listener) {
                    Ok(connection) => Outcome::new([listener, connection as u64].into_iter().flat_map(carried)),
                    Err(e) => Outcome::Open(format!("nothing, since a server cannot accept: {e:?}")),
                }
            })
            .alone(),
        ]
        .map(|row| row.shape(Shape::SocketServer)),
    );
    rows.push(
        Row::new("server with requests: bind, listen, and any socket but TCP and UDP", also::NONE, |_| {
            // Its granted powers must work, or the rest proves nothing.
            if let Err(e) = connected(libc::AF_INET, STREAM).and(connected(libc::AF_INET, DATAGRAM)) {
                return Outcome::Open(format!("nothing, since a server that makes requests cannot connect: {e:?}"));
            }
            Outcome::new(
                bound_and_listening(STREAM).into_iter().chain(bound_and_listening(DATAGRAM)).chain(
                    [(libc::AF_UNIX, STREAM), (libc::AF_INET, RAW), (libc::AF_PACKET, RAW), (libc::AF_NETLINK, RAW)]
                        .map(|(family, kind)| ("a socket", call(libc::SYS_socket, [family as u64, kind, 0]))),
                ),
            )
        })
        .shape(Shape::RequestingServer),
    );
    rows.push(
        Row::new("server: a low port in the host's network, before its filter", also::CAPABILITIES, |_| {
            LOW_PORT.get().map_or(Outcome::Open("it was not tried".to_owned()), |&answer| answer.into())
        })
        .shape(Shape::HostServer),
    );
    rows
}

/// Tries a low port where a server's worker makes its socket, before the filter of system calls applies.
pub(crate) fn try_low_port() {
    let _ = LOW_PORT.set(low_port());
}

/// Accepts a connection. The listener does not block.
fn accepted(listener: u64) -> Answer {
    let begin = Instant::now();
    loop {
        match call(libc::SYS_accept4, [listener, 0, 0, libc::SOCK_CLOEXEC as u64]) {
            Err(Errno::EAGAIN) if begin.elapsed() < SOON => std::thread::sleep(Duration::from_millis(20)),
            answer => return answer,
        }
    }
}

/// struct sockaddr_in: family, port 8080, 127.0.0.1, where a server listens.
const SERVER: [u8; 16] = [libc::AF_INET as u8, 0, 0x1f, 0x90, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];

/// A new socket, connected to the server's own port.
fn connected(family: i32, kind: u64) -> Answer {
    let socket = call(libc::SYS_socket, [family as u64, kind, 0])?;
    let answer = call(libc::SYS_connect, [socket as u64, at(&SERVER), 16]);
    close(socket);
    answer
}

/// Calls that would let others reach a new socket.
fn bound_and_listening(kind: u64) -> [(&'static str, Answer); 3] {
    let socket = match call(libc::SYS_socket, [libc::AF_INET as u64, kind, 0]) {
        Ok(socket) => socket as u64,
        Err(e) => return [("a socket", Err(e)); 3],
    };
    // Any port of any address.
    let address: [u8; 16] = [libc::AF_INET as u8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let tried = [
        ("bind", call(libc::SYS_bind, [socket, at(&address), 16])),
        ("listen", call(libc::SYS_listen, [socket, 1])),
        ("sendto somebody else", call(libc::SYS_sendto, [socket, at(&address), 1, 0, at(&SERVER), 16])),
    ];
    close(socket as i64);
    tried
}

/// Calls on a listener or a connection that are refused although sockets are allowed: descriptors and control data beside the bytes, and
/// options that change the socket.
fn carried(socket: u64) -> [(&'static str, Answer); 9] {
    let one = 1_u32;
    // struct msghdr, with nothing in it.
    let message = [0_u64; 7];
    let set = |level: i32, option: i32| call(libc::SYS_setsockopt, [socket, level as u64, option as u64, at(&one), 4]);
    [
        ("sendmsg", call(libc::SYS_sendmsg, [socket, at(&message), 0])),
        (
            "recvmsg, which takes descriptors",
            call(libc::SYS_recvmsg, [socket, at(&message), libc::MSG_DONTWAIT as u64]),
        ),
        ("accept, which sets no flags", call(libc::SYS_accept, [socket, 0, 0])),
        ("another protocol above", set(libc::IPPROTO_TCP, libc::TCP_ULP)),
        ("another interface", set(libc::SOL_SOCKET, libc::SO_BINDTODEVICE)),
        ("a mark for other routes", set(libc::SOL_SOCKET, libc::SO_MARK)),
        ("a program in the kernel", set(libc::SOL_SOCKET, libc::SO_ATTACH_FILTER)),
        ("memory shared with the kernel", set(libc::SOL_SOCKET, libc::SO_ZEROCOPY)),
        ("another source address", set(libc::IPPROTO_IP, libc::IP_TRANSPARENT)),
    ]
}

/// All calls that could connect a socket to another peer.
fn turned_elsewhere(socket: u64) -> Outcome {
    // An address of zeros is AF_UNSPEC, which disconnects a socket.
    let address = SERVER;
    let (to, nobody, one, letter) = (at(&address), at(&[0_u8; 16]), 1_u32, text(c"x"));
    // struct msghdr, with nothing in it but the address.
    let message = [to, 16, 0, 0, 0, 0, 0];
    let fast = libc::MSG_FASTOPEN as u64;
    let set = |level: i32, option: i32| call(libc::SYS_setsockopt, [socket, level as u64, option as u64, at(&one), 4]);
    let outcome = Outcome::new([
        ("connect to nobody", call(libc::SYS_connect, [socket, nobody, 16])),
        ("connect", call(libc::SYS_connect, [socket, to, 16])),
        ("bind", call(libc::SYS_bind, [socket, to, 16])),
        ("listen", call(libc::SYS_listen, [socket, 1])),
        ("sendto an address", call(libc::SYS_sendto, [socket, letter, 1, 0, to, 16])),
        ("sendto, fast open", call(libc::SYS_sendto, [socket, letter, 1, fast, to, 16])),
        ("sendmsg", call(libc::SYS_sendmsg, [socket, at(&message), 0])),
        ("sendmmsg", call(libc::SYS_sendmmsg, [socket, at(&[message, [0; 7]]), 1, 0])),
        (
            "recvmsg, which takes descriptors",
            call(libc::SYS_recvmsg, [socket, at(&message), libc::MSG_DONTWAIT as u64]),
        ),
        ("another listener of the port", set(libc::SOL_SOCKET, libc::SO_REUSEPORT)),
        ("another protocol above", set(libc::IPPROTO_TCP, libc::TCP_ULP)),
        ("another interface", set(libc::SOL_SOCKET, libc::SO_BINDTODEVICE)),
    ]);
    close(socket as i64);
    outcome
}
