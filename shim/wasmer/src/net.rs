//! Sockets of the pod's network namespace: TCP and UDP, whatever the namespace lets through. Which families there are says
//! the filter of system calls.
//!
//! The thread that waits for sockets is made with the first of them: most guests have none.

use std::net::{IpAddr, SocketAddr};
use std::sync::OnceLock;

use async_trait::async_trait;
use catamaran_names::Failure;
use catamaran_worker::panics;
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
            panics::caught(LocalNetworking::new)
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

    /// By the container's own files and servers. [`LocalNetworking`] would ask the C library, which loads the image's code.
    async fn resolve(&self, host: &str, _port: Option<u16>, _server: Option<IpAddr>) -> Result<Vec<IpAddr>> {
        let host = host.to_owned();
        // On the event loop: its timers and sockets are needed.
        let found = self.events.spawn(async move { catamaran_names::resolve(&host).await }).await;
        match found.map_err(|_| NetworkError::IOError)? {
            Ok(addresses) => Ok(addresses),
            Err(Failure::NotFound) => Ok(Vec::new()),
            Err(Failure::Invalid) => Err(NetworkError::InvalidInput),
            Err(Failure::Unavailable) => Err(NetworkError::TimedOut),
        }
    }
}
