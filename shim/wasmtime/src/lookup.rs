//! `wasi:sockets/ip-name-lookup`, by our own resolver: wasmtime-wasi's asks the C library, which would load the image's
//! NSS libraries.

use std::net::IpAddr;

use catamaran_names::Failure;
use tokio::task::JoinHandle;
use wasmtime::component::{Linker, Resource, ResourceType};
use wasmtime::{Result, StoreContextMut};
use wasmtime_wasi::async_trait;
use wasmtime_wasi::p2::bindings::sockets::network::{ErrorCode, IpAddress, Network};
use wasmtime_wasi::p2::{DynPollable, Pollable, subscribe};

use crate::world::World;

/// The interface in its first version, which stands for all of 0.2.
const INTERFACE: &str = "wasi:sockets/ip-name-lookup@0.2.0";

/// `resolve-address-stream`: a name that is being looked up, or its addresses.
enum Lookup {
    Running(JoinHandle<std::result::Result<Vec<IpAddr>, Failure>>),
    Done(std::result::Result<std::vec::IntoIter<IpAddr>, ErrorCode>),
}

impl Drop for Lookup {
    fn drop(&mut self) {
        if let Self::Running(task) = self {
            task.abort();
        }
    }
}

#[async_trait]
impl Pollable for Lookup {
    async fn ready(&mut self) {
        if let Self::Running(task) = self {
            let result = match task.await {
                Ok(result) => result.map(Vec::into_iter).map_err(code),
                // The look-up was aborted.
                Err(_) => Err(ErrorCode::Unknown),
            };
            *self = Self::Done(result);
        }
    }
}

fn code(failure: Failure) -> ErrorCode {
    match failure {
        Failure::Invalid => ErrorCode::InvalidArgument,
        Failure::NotFound => ErrorCode::NameUnresolvable,
        Failure::Unavailable => ErrorCode::TemporaryResolverFailure,
    }
}

/// Adds the interface.
pub(crate) fn add_to_linker<E: Send + 'static>(linker: &mut Linker<World<E>>) -> Result<()> {
    let mut instance = linker.instance(INTERFACE)?;
    let stream = ResourceType::host::<Lookup>();
    instance.resource("resolve-address-stream", stream, |mut store, index| {
        store.data_mut().table.delete(Resource::<Lookup>::new_own(index))?;
        Ok(())
    })?;
    instance.func_wrap("resolve-addresses", resolve_addresses::<E>)?;
    instance.func_wrap("[method]resolve-address-stream.resolve-next-address", resolve_next_address::<E>)?;
    instance.func_wrap(
        "[method]resolve-address-stream.subscribe",
        |mut store: StoreContextMut<'_, World<E>>,
         (lookup,): (Resource<Lookup>,)|
         -> Result<(Resource<DynPollable>,)> { Ok((subscribe(&mut store.data_mut().table, lookup)?,)) },
    )
}

type Answer<T> = std::result::Result<T, ErrorCode>;

fn resolve_addresses<E>(
    mut store: StoreContextMut<'_, World<E>>,
    (network, name): (Resource<Network>, String),
) -> Result<(Answer<Resource<Lookup>>,)> {
    let table = &mut store.data_mut().table;
    // The caller must have a network.
    table.get(&network)?;
    // The look-up runs on the guest's own thread, whenever the guest waits.
    let lookup = Lookup::Running(tokio::spawn(async move { catamaran_names::resolve(&name).await }));
    Ok((Ok(table.push(lookup)?),))
}

fn resolve_next_address<E>(
    mut store: StoreContextMut<'_, World<E>>,
    (lookup,): (Resource<Lookup>,),
) -> Result<(Answer<Option<IpAddress>>,)> {
    let answer = match store.data_mut().table.get_mut(&lookup)? {
        Lookup::Done(Ok(addresses)) => Ok(addresses.next().map(IpAddress::from)),
        Lookup::Done(Err(code)) => Err(*code),
        Lookup::Running(_) => Err(ErrorCode::WouldBlock),
    };
    Ok((answer,))
}
