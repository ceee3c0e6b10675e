//! A network namespace of a test's own, with only its loopback.

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::thread;

use rustix::mount::{UnmountFlags, mount_bind, unmount};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

use crate::node::Node;
use crate::task::Task;

// linux/netlink.h, linux/rtnetlink.h, linux/if.h, linux/if_addr.h, linux/socket.h
const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_NEWADDR: u16 = 20;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const IFF_UP: u32 = 1;
const IFA_LOCAL: u16 = 2;
const AF_INET: u8 = 2;
/// The loopback is every namespace's first interface.
const LOOPBACK: u32 = 1;
/// The length of a message's header. In an acknowledgement, a `struct nlmsgerr`, the error follows it.
const HEADER: usize = 16;

/// A network namespace that has a name, its file. Removed when this is dropped, and with the node if a test fails.
pub struct Network(PathBuf);

impl Network {
    /// A new one of this name on the node, whose loopback is up.
    ///
    /// # Panics
    /// When the kernel refuses it.
    pub fn new(node: &Node, name: &str) -> Self {
        let path = node.folder("netns").join(name);
        File::create(&path).unwrap_or_else(|error| panic!("cannot make {}: {error}", path.display()));
        // In a thread of its own, because the test's thread must stay in its namespace.
        in_a_thread(|| {
            leave();
            raise_loopback();
            mount_bind("/proc/thread-self/ns/net", &path).expect("cannot keep a network namespace");
        });
        Self(path)
    }

    /// Its file, for `ctr run --with-ns network:FILE`.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Runs `work` in it, in a thread of its own.
    ///
    /// # Panics
    /// With the panic of `work`.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        inside(&self.0, work)
    }
}

impl Task<'_> {
    /// Runs `work` in the task's network namespace, in a thread of its own.
    ///
    /// # Panics
    /// When the task is gone, and with the panic of `work`.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        inside(&PathBuf::from(format!("/proc/{}/ns/net", self.pid())), work)
    }

    /// As [`Task::within`]; None if the process is gone.
    pub fn try_within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Option<T> {
        let namespace = File::open(format!("/proc/{}/ns/net", self.pid())).ok()?;
        Some(entered(&namespace, work))
    }

    /// Gives the loopback of its network namespace one more address.
    ///
    /// # Panics
    /// When the task is gone, or the kernel refuses the address.
    pub fn add_to_loopback(&self, address: Ipv4Addr) {
        self.within(|| {
            // struct ifaddrmsg: family, length of the prefix, flags, scope, index
            // struct rtattr behind it: length, type, value
            let mut body = vec![AF_INET, 32, 0, 0];
            body.extend(LOOPBACK.to_ne_bytes());
            body.extend(8_u16.to_ne_bytes());
            body.extend(IFA_LOCAL.to_ne_bytes());
            body.extend(address.octets());
            change(RTM_NEWADDR, &body).expect("the loopback cannot have another address");
        });
    }
}

fn inside<T: Send>(namespace: &Path, work: impl FnOnce() -> T + Send) -> T {
    let namespace = File::open(namespace).unwrap_or_else(|error| panic!("{}: {error}", namespace.display()));
    entered(&namespace, work)
}

fn entered<T: Send>(namespace: &File, work: impl FnOnce() -> T + Send) -> T {
    in_a_thread(|| {
        move_into_link_name_space(std::os::fd::AsFd::as_fd(namespace), Some(LinkNameSpaceType::Network))
            .expect("cannot enter a network namespace");
        work()
    })
}

impl Drop for Network {
    fn drop(&mut self) {
        let unmounted = unmount(&self.0, UnmountFlags::DETACH).map_err(std::io::Error::from);
        let gone = unmounted.and_then(|()| fs::remove_file(&self.0));
        assert!(gone.is_ok() || thread::panicking(), "cannot remove {}: {gone:?}", self.0.display());
    }
}

fn in_a_thread<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| scope.spawn(work).join()).unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

#[allow(unsafe_code, reason = "unshare(2) has a safe form in no library")]
fn leave() {
    // SAFETY: the call is unsafe because some of its flags unshare what threads rely on sharing, descriptors and folders. Every thread has
    // a network namespace of its own to begin with.
    let left = unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) };
    left.expect("cannot make a network namespace");
}

fn raise_loopback() {
    // In the namespace that the thread is in.
    change_link(RTM_NEWLINK, LOOPBACK, IFF_UP).expect("the loopback cannot be raised");
}

/// Removes an interface of this program's namespace; succeeds if it is gone already.
pub(crate) fn remove_link(index: u32) {
    if let Err(error) = change_link(RTM_DELLINK, index, 0) {
        assert_eq!(error, rustix::io::Errno::NODEV, "the interface {index} cannot be removed");
    }
}

/// Sets these flags of an interface, or removes it.
fn change_link(kind: u16, index: u32, flags: u32) -> Result<(), rustix::io::Errno> {
    // struct ifinfomsg: family and type, index, flags, which flags
    let mut body = vec![0_u8; 4];
    for word in [index, flags, flags] {
        body.extend(word.to_ne_bytes());
    }
    change(kind, &body)
}

/// Sends a request of this kind to the kernel by netlink: not every machine has ip(8).
fn change(kind: u16, body: &[u8]) -> Result<(), rustix::io::Errno> {
    let mut message = Vec::new();
    // struct nlmsghdr: length, type, flags, sequence, port
    message.extend(((HEADER + body.len()) as u32).to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend((NLM_F_REQUEST | NLM_F_ACK).to_ne_bytes());
    message.extend([0; 8]);
    message.extend_from_slice(body);
    // NETLINK_ROUTE is the protocol 0.
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)
        .expect("cannot open a netlink socket");
    send(&socket, &message, SendFlags::empty()).expect("cannot send to netlink");
    let mut answer = [0; 256];
    let (length, _) = recv(&socket, &mut answer[..], RecvFlags::empty()).expect("netlink does not answer");
    let error = answer[..length].get(HEADER..HEADER + 4).expect("a short answer of netlink's");
    match i32::from_ne_bytes(error.try_into().expect("four bytes")) {
        0 => Ok(()),
        number => Err(rustix::io::Errno::from_raw_os_error(-number)),
    }
}
