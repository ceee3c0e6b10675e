//! The socket on which a server listens: made in the container's network namespace, with the rights of its user, before the
//! filter of system calls, which lets no further socket be made.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use crate::job::Server;
use crate::runner::RunnerError;

/// The annotation by which an author gives a container an address of its own.
pub const ANNOTATION: &str = "catamaran.wasm/http-listen";

/// Opens a TCP socket that listens at the server's address, and does not block. `[::]` is IPv6 and IPv4 in one, or IPv4 alone
/// if the pod has no IPv6.
///
/// # Errors
/// [`RunnerError::Address`], which says which address to write instead.
pub fn open(server: &Server) -> Result<OwnedFd, RunnerError> {
    let opened = match listening(server.listen, server.backlog) {
        Err(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL)
            if server.listen.is_ipv6() && server.listen.ip().is_unspecified() =>
        {
            listening((Ipv4Addr::UNSPECIFIED, server.listen.port()).into(), server.backlog)
        }
        opened => opened,
    };
    opened.map_err(|e| RunnerError::Address(explained(server, e)))
}

fn listening(address: SocketAddr, backlog: u32) -> rustix::io::Result<OwnedFd> {
    let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    // Connections of an earlier container may still linger on the port.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        // For IPv4 too, whatever net.ipv6.bindv6only says.
        sockopt::set_ipv6_v6only(&socket, false)?;
    }
    rustix::net::bind(&socket, &address)?;
    // The kernel cuts the backlog to net.core.somaxconn.
    rustix::net::listen(&socket, i32::try_from(backlog).unwrap_or(i32::MAX))?;
    Ok(socket)
}

/// Explains the kernel's refusal of the address, and says what to write instead.
fn explained(server: &Server, e: Errno) -> String {
    let advice = match e {
        Errno::ACCESS | Errno::PERM => {
            "no Wasm container keeps the right to a port below net.ipv4.ip_unprivileged_port_start (0 in a pod's own network, 1024 \
             in most nodes'): write a port from 1024 on"
                .to_owned()
        }
        Errno::ADDRINUSE => format!(
            "another container of the pod listens there, or under hostNetwork another process of the node: write another port, for \
             this container alone by the annotation {ANNOTATION}.<container>"
        ),
        Errno::ADDRNOTAVAIL => {
            "the pod has no such address: write [::]:PORT, or 0.0.0.0:PORT, for all that it has".to_owned()
        }
        Errno::AFNOSUPPORT => "this node's kernel has no IPv6: write an address of IPv4, such as 0.0.0.0:PORT".to_owned(),
        _ => format!("write another address, by the annotation {ANNOTATION}"),
    };
    format!("cannot listen at {} ({}): {}; {advice}", server.listen, server.listen_from, std::io::Error::from(e))
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv6Addr, TcpListener, TcpStream};

    use nix::libc;
    use rustix::fs::OFlags;
    use rustix::io::FdFlags;

    use super::*;
    use crate::filter::{self, Calls, Condition, Operator, Rule, Verdict};
    use crate::job::Profile;
    use crate::runner::Needs;

    fn server(listen: &str) -> Server {
        Server::new(listen.parse().unwrap(), "annotation catamaran.wasm/http-listen.web")
    }

    fn refused(listen: &str) -> String {
        match open(&server(listen)) {
            Err(RunnerError::Address(text)) => text,
            other => panic!("{other:?}"),
        }
    }

    /// Runs `then` under a filter that answers `errno` to the call `number` if `argument`, an int, is `value`.
    fn where_refused(number: i64, argument: usize, value: i32, errno: i32, then: impl FnOnce() + Send + 'static) {
        let thread = std::thread::spawn(move || {
            let operator = Operator::Masked(u64::from(u32::MAX));
            let conditions = vec![Condition { argument, operator, value: value as u64 }];
            let mut calls = Calls::default();
            calls.add(number as usize, &[Rule { conditions, verdict: Verdict::Errno(errno as u16) }]);
            let profile = Profile { program: filter::assemble(&calls, Verdict::Allow), log: false };
            rustix::thread::set_no_new_privs(true).unwrap();
            let needs = Needs { sockets: true, ..Needs::default() };
            crate::confine::restrict(Some(&profile), needs).unwrap();
            then();
        });
        thread.join().unwrap();
    }

    #[test]
    fn the_listener_has_the_flags_that_a_server_needs() {
        let socket = open(&server("127.0.0.1:0")).unwrap();
        assert!(rustix::io::fcntl_getfd(&socket).unwrap().contains(FdFlags::CLOEXEC));
        assert!(rustix::fs::fcntl_getfl(&socket).unwrap().contains(OFlags::NONBLOCK));
        assert!(sockopt::socket_reuseaddr(&socket).unwrap());
        let listener = TcpListener::from(socket);
        let address = listener.local_addr().unwrap();
        assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
        TcpStream::connect(address).unwrap();
        listener.accept().unwrap();
    }

    #[test]
    fn the_unspecified_address_of_ipv6_is_that_of_ipv4_too() {
        let listener = TcpListener::from(open(&server("[::]:0")).unwrap());
        let port = listener.local_addr().unwrap().port();
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() {
            TcpStream::connect((Ipv6Addr::LOCALHOST, port)).unwrap();
        }
    }

    #[test]
    fn a_pod_without_ipv6_is_served_on_ipv4() {
        for errno in [libc::EAFNOSUPPORT, libc::EADDRNOTAVAIL] {
            where_refused(libc::SYS_socket, 0, libc::AF_INET6, errno, || {
                let listener = TcpListener::from(open(&server("[::]:0")).unwrap());
                assert!(listener.local_addr().unwrap().is_ipv4());
            });
        }
        where_refused(libc::SYS_socket, 0, libc::AF_INET6, libc::EAFNOSUPPORT, || {
            // Only `[::]` has a substitute.
            let said = refused("[::1]:0");
            assert!(said.contains("no IPv6: write an address of IPv4"), "{said}");
        });
    }

    #[test]
    fn a_port_that_is_taken_names_the_address_and_where_it_was_read() {
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = other.local_addr().unwrap().to_string();
        let said = refused(&address);
        for words in [
            &format!("cannot listen at {address} (annotation catamaran.wasm/http-listen.web): Address already in use")
                as &str,
            "another container of the pod listens there",
            "catamaran.wasm/http-listen.<container>",
        ] {
            assert!(said.contains(words), "{words:?} is missing in: {said}");
        }
    }

    #[test]
    fn an_address_that_the_pod_has_not_is_named() {
        // An address for documentation alone (RFC 5737).
        let said = refused("192.0.2.1:8080");
        assert!(said.contains("cannot listen at 192.0.2.1:8080 (") && said.contains("write [::]:PORT"), "{said}");
    }

    #[test]
    fn a_port_without_the_right_to_it_says_which_are_free() {
        where_refused(libc::SYS_bind, 2, size_of::<libc::sockaddr_in>() as i32, libc::EACCES, || {
            let said = refused("0.0.0.0:80");
            assert!(said.contains("Permission denied") && said.contains("write a port from 1024 on"), "{said}");
        });
    }

    #[test]
    fn a_port_is_had_again_at_once_when_its_server_has_ended() {
        let first = TcpListener::from(open(&server("127.0.0.1:0")).unwrap());
        let address = first.local_addr().unwrap();
        let client = TcpStream::connect(address).unwrap();
        let (accepted, _) = first.accept().unwrap();
        // The server closes first, and its side of the connection lingers.
        drop((accepted, first));
        open(&server(&address.to_string())).unwrap();
        drop(client);
    }
}
