//! What is set inside the namespaces that were made for the container, and the way into those of one that is there.
#![allow(unsafe_code, reason = "the loopback interface is raised by an ioctl; the SAFETY comment argues it")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::libc;
use nix::sched::CloneFlags;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::{ConfineError, step};
use crate::job::{NamespaceKind, NewWorld};

fn is_new(world: &NewWorld, kind: NamespaceKind) -> bool {
    world.namespaces.iter().any(|n| n.kind == kind && n.join.is_none())
}

/// A cgroup namespace has the cgroup of the process that makes it as its root: only the worker lies in the right one.
pub(super) fn new_cgroup_namespace(world: &NewWorld) -> Result<(), ConfineError> {
    if is_new(world, NamespaceKind::Cgroup) {
        step("making the cgroup namespace", nix::sched::unshare(CloneFlags::CLONE_NEWCGROUP))?;
    }
    Ok(())
}

/// `hostname` and `domainname`; the shim has checked that a uts namespace is the container's or its pod's.
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

/// A new network namespace has a loopback interface that is down; every other runtime raises it.
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

/// `linux.sysctl`. The shim lets through only what belongs to a namespace of the container.
pub(super) fn sysctls(world: &NewWorld) -> Result<(), ConfineError> {
    for (name, value) in &world.sysctl {
        let path = format!("/proc/sys/{}", name.replace('.', "/"));
        step(format_args!("setting the sysctl {name}={value}"), std::fs::write(path, value))?;
    }
    Ok(())
}

/// Enters what the process of a container is in that the intermediate could not enter for this one.
///
/// Its cgroup namespace: where the kernel guards their borders (`nsdelegate`), who is in it cannot clone from outside of it
/// into the cgroup. Its mounts: the last act that needs the host's files. Root and working directory are the container's
/// root then, and nothing of the host's tree has a name any more.
pub(super) fn enter_those_of(process: OwnedFd) -> Result<(), ConfineError> {
    let flags = CloneFlags::CLONE_NEWCGROUP | CloneFlags::CLONE_NEWNS;
    step("joining the container's mounts", nix::sched::setns(process.as_fd(), flags))
}
