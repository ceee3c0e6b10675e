//! Sockets of every family, and the host's abstract ones.

use nix::errno::Errno;

use super::{Row, Shape, also};
use crate::call::{Answer, at, call};
use crate::outcome::Outcome;

const STREAM: u64 = libc::SOCK_STREAM as u64;
/// linux/socket.h.
const AF_QIPCRTR: i32 = 42;
const RAW: u64 = libc::SOCK_RAW as u64;

pub(super) fn rows() -> Vec<Row> {
    let mut rows = vec![
        Row::new("socket: unix", also::NETWORK, |_| families(&[(libc::AF_UNIX, STREAM)])),
        Row::new("socket: raw and packet", also::CAPABILITIES, |_| {
            families(&[(libc::AF_INET, RAW), (libc::AF_INET6, RAW), (libc::AF_PACKET, RAW)])
        }),
        Row::new("socket: netlink", also::NETWORK, |_| families(&[(libc::AF_NETLINK, RAW)])),
        Row::new("socket: vsock, to the hypervisor", also::NONE, |_| families(&[(libc::AF_VSOCK, STREAM)])),
        Row::new("socket: the kernel's cryptography", also::NONE, |_| families(&[(libc::AF_ALG, 5)])),
        Row::new("socket: families that few use", also::NETWORK, |_| {
            families(&[
                (libc::AF_CAN, RAW),
                (libc::AF_TIPC, STREAM),
                (libc::AF_RDS, 5),
                (libc::AF_BLUETOOTH, RAW),
                (libc::AF_XDP, RAW),
                (libc::AF_KEY, RAW),
                (libc::AF_NFC, RAW),
                (libc::AF_PPPOX, STREAM),
                (AF_QIPCRTR, 2),
            ])
        }),
        Row::new("socketpair", also::NONE, |_| {
            let mut pair = [0_i32; 2];
            call(libc::SYS_socketpair, [libc::AF_UNIX as u64, STREAM, 0, crate::call::into(&mut pair)]).into()
        }),
    ];
    rows.extend(
        [
            Row::new("connect: an abstract socket of the host", also::LANDLOCK, |c| {
                connect(c.text("ABSTRACT").as_bytes(), true).into()
            }),
            Row::new("connect: containerd, by its path and as an abstract name", also::TREE, |c| {
                let path = c.text("CONTAINERD").as_bytes();
                Outcome::new([("path", connect(path, false)), ("abstract", connect(path, true))])
            }),
            Row::new("bind: an abstract name, a low port, netlink in the host's network", also::NONE, |_| {
                Outcome::new([
                    ("abstract", bound(b"catamaran-attack")),
                    ("port 1", low_port()),
                    ("netlink", call(libc::SYS_socket, [libc::AF_NETLINK as u64, RAW, 0])),
                ])
            }),
            Row::new("raw and packet sockets in the host's network", also::CAPABILITIES, |_| {
                families(&[(libc::AF_INET, RAW), (libc::AF_PACKET, RAW)])
            }),
        ]
        .map(|row| row.shape(Shape::HostNet)),
    );
    rows
}

pub(super) fn families(all: &[(i32, u64)]) -> Outcome {
    Outcome::new(all.iter().map(|&(family, kind)| ("a socket", call(libc::SYS_socket, [family as u64, kind, 0]))))
}

/// struct sockaddr_un, and its length.
fn address(name: &[u8], hidden: bool) -> Result<([u8; 110], u64), Errno> {
    let mut address = [0; 110];
    address[..2].copy_from_slice(&(libc::AF_UNIX as u16).to_ne_bytes());
    let start = if hidden { 3 } else { 2 };
    address.get_mut(start..start + name.len()).ok_or(Errno::ENAMETOOLONG)?.copy_from_slice(name);
    let length = start + name.len() + usize::from(!hidden);
    Ok((address, length as u64))
}

pub(super) fn connect(name: &[u8], hidden: bool) -> Answer {
    let (address, length) = address(name, hidden)?;
    let socket = call(libc::SYS_socket, [libc::AF_UNIX as u64, STREAM, 0])?;
    call(libc::SYS_connect, [socket as u64, at(&address), length])
}

fn bound(name: &[u8]) -> Answer {
    let (address, length) = address(name, true)?;
    let socket = call(libc::SYS_socket, [libc::AF_UNIX as u64, STREAM, 0])?;
    call(libc::SYS_bind, [socket as u64, at(&address), length])
}

pub(super) fn low_port() -> Answer {
    // struct sockaddr_in: family, port 1, 127.0.0.1.
    let address: [u8; 16] = [libc::AF_INET as u8, 0, 0, 1, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
    let socket = call(libc::SYS_socket, [libc::AF_INET as u64, STREAM, 0])?;
    call(libc::SYS_bind, [socket as u64, at(&address), 16])
}
