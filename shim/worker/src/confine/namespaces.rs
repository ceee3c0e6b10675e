//! Makes the container's namespaces or joins those of a running one, and sets up the new ones.
#![allow(unsafe_code, reason = "the loopback interface is raised by an ioctl; the SAFETY comment argues it")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use nix::libc;
use nix::sched::CloneFlags;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::{ConfineError, step};
use crate::control::Descriptors;
use crate::job::{NamespaceKind, NewWorld};

fn is_new(world: &NewWorld, kind: NamespaceKind) -> bool {
    world.namespaces.iter().any(|n| n.kind == kind && n.join.is_none())
}

/// Joins the namespaces that exist and makes the others: all of the world's but the pid namespace, which only the worker enters.
/// A mount namespace is always new.
pub(super) fn join_or_make(world: &NewWorld, descriptors: &mut Descriptors) -> Result<(), ConfineError> {
    let mut new = CloneFlags::CLONE_NEWNS;
    for namespace in &world.namespaces {
        let flag = match namespace.kind {
            NamespaceKind::Net => CloneFlags::CLONE_NEWNET,
            NamespaceKind::Ipc => CloneFlags::CLONE_NEWIPC,
            NamespaceKind::Uts => CloneFlags::CLONE_NEWUTS,
            // Its root is the cgroup of this process, which is the container's.
            NamespaceKind::Cgroup => CloneFlags::CLONE_NEWCGROUP,
            NamespaceKind::Pid => continue,
        };
        match namespace.join {
            Some(fd) => {
                let fd = step("taking a namespace", descriptors.take(fd))?;
                step(format_args!("joining the {:?} namespace", namespace.kind), nix::sched::setns(fd, flag))?;
            }
            None => new |= flag,
        }
    }
    step("making the namespaces", nix::sched::unshare(new))
}

/// Sets `hostname` and `domainname`; the shim has checked that the uts namespace is the container's or its pod's.
pub(super) fn host_names(world: &NewWorld) -> Result<(), ConfineError> {
    if let Some(name) = &world.hostname {
        step(format_args!("setting the host name {name:?}"), nix::unistd::sethostname(name))?;
    }
    if let Some(name) = &world.domainname {
        step(
            format_args!("setting the domain name {name:?}"),
            rustix::system::setdomainname(name.as_bytes()).map_err(io::Error::from),
        )?;
    }
    Ok(())
}

/// Raises the loopback interface of a new network namespace, as every other runtime does.
pub(super) fn loopback_up(world: &NewWorld) -> Result<(), ConfineError> {
    if is_new(world, NamespaceKind::Net) {
        step("raising the loopback interface", raise_loopback())?;
    }
    Ok(())
}

fn raise_loopback() -> io::Result<()> {
    let socket: OwnedFd = rustix::net::socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    // SAFETY: all-zero is a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(c"lo".to_bytes()) {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads one ifreq, which `request` is, and keeps no pointer to it (netdevice(7)).
    if unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Sets `linux.sysctl`. The shim lets only keys through that belong to a namespace of the container.
pub(super) fn sysctls(world: &NewWorld) -> Result<(), ConfineError> {
    for (name, value) in &world.sysctl {
        let path = format!("/proc/sys/{}", name.replace('.', "/"));
        step(format_args!("setting the sysctl {name}={value}"), std::fs::write(path, value))?;
    }
    Ok(())
}

/// Enters the namespaces of a container's process, but for its pid and cgroup namespaces. Root and working directory then are the
/// container's root, and no path leads to the host's tree any more.
pub(super) fn join_those_of(process: BorrowedFd<'_>) -> Result<(), ConfineError> {
    let flags =
        CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWUTS | CloneFlags::CLONE_NEWNS;
    step("joining the container's namespaces", nix::sched::setns(process, flags))
}

/// Enters the cgroup namespace of a container's process, in the worker: if the kernel guards the borders of cgroup namespaces
/// (`nsdelegate`), an intermediate in the namespace, but outside of the cgroup, could not clone into it.
pub(super) fn join_cgroup_of(process: OwnedFd) -> Result<(), ConfineError> {
    step("joining the container's cgroup namespace", nix::sched::setns(process, CloneFlags::CLONE_NEWCGROUP))
}
