//! Sockets of the pod's network namespace: TCP and UDP, whatever the namespace lets through. Which families there are says
//! the filter of system calls.
//!
//! The thread that waits for sockets is made with the first of them: most guests have none.

use std::net::{IpAddr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;

use async_trait::async_trait;
use tokio::runtime::Handle;
use virtual_net::host::LocalNetworking;
use virtual_net::{
    NetworkError, Result, VirtualNetworking, VirtualTcpBoundSocket, VirtualTcpListener, VirtualTcpSocket,
    VirtualUdpSocket,
};

/// The pod's network, as far as guests are given it.
#[derive(Debug)]
pub(crate) struct Pod {
    events: Handle,
    sockets: OnceLock<Option<LocalNetworking>>,
}

impl Pod {
    pub(crate) fn new(events: Handle) -> Self {
        Self { events, sockets: OnceLock::new() }
    }

    fn sockets(&self) -> Result<&LocalNetworking> {
        let made = self.sockets.get_or_init(|| {
            let _entered = self.events.enter();
            // It panics where no thread can be had.
            catch_unwind(AssertUnwindSafe(LocalNetworking::new)).ok()
        });
        made.as_ref().ok_or(NetworkError::InsufficientMemory)
    }
}

#[async_trait]
impl VirtualNetworking for Pod {
    async fn listen_tcp(
        &self,
        address: SocketAddr,
        only_v6: bool,
        reuse_port: bool,
        reuse_address: bool,
    ) -> Result<Box<dyn VirtualTcpListener + Sync>> {
        self.sockets()?.listen_tcp(address, only_v6, reuse_port, reuse_address).await
    }

    async fn bind_tcp(
        &self,
        address: SocketAddr,
        only_v6: bool,
        reuse_port: bool,
        reuse_address: bool,
    ) -> Result<Box<dyn VirtualTcpBoundSocket + Sync>> {
        self.sockets()?.bind_tcp(address, only_v6, reuse_port, reuse_address).await
    }

    async fn bind_udp(
        &self,
        address: SocketAddr,
        reuse_port: bool,
        reuse_address: bool,
    ) -> Result<Box<dyn VirtualUdpSocket + Sync>> {
        self.sockets()?.bind_udp(address, reuse_port, reuse_address).await
    }

    async fn connect_tcp(&self, address: SocketAddr, peer: SocketAddr) -> Result<Box<dyn VirtualTcpSocket + Sync>> {
        self.sockets()?.connect_tcp(address, peer).await
    }

    /// An address stands for itself; names are not resolved yet. [`LocalNetworking`] would ask the C library, which takes its
    /// orders from the image's files.
    async fn resolve(&self, host: &str, _port: Option<u16>, _server: Option<IpAddr>) -> Result<Vec<IpAddr>> {
        host.parse().map(|address| vec![address]).map_err(|_| NetworkError::Unsupported)
    }
}
