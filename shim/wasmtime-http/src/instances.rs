//! What the dispatcher asks for: an instance for a request, and whether it may go on.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use catamaran_wasmtime::world::World;
use catamaran_worker::Guest;
use tokio::time::Sleep;
use wasmtime::component::GuestTaskId;
use wasmtime::{Engine, Error, Result, Store, StoreContextMut, UpdateDeadline};
use wasmtime_wasi_http::handler::{
    HandlerState, Instance, Proxy, ShouldAccept, WorkerExpiration, WorkerState, WorkerStatus,
};
use wasmtime_wasi_http::p2;
use wasmtime_wasi_http::p2::types::HostResponseOutparam;

use crate::ceiling::Ceiling;
use crate::exchange::{Exchange, Life};
use crate::guest::{self, Extra, Hooks, Limit};
use crate::output::Output;

/// So long an instance that may be used again waits for a request.
const IDLE: Duration = Duration::from_secs(30);

/// How instances of the component are made.
#[derive(Clone)]
pub(crate) struct Instances {
    pub(crate) engine: Engine,
    pub(crate) pre: p2::bindings::ProxyPre<World<Extra>>,
    pub(crate) guest: Arc<Guest>,
    pub(crate) hooks: Hooks,
    pub(crate) output: Output,
    pub(crate) sockets: bool,
    /// Requests of one instance.
    pub(crate) reuse: usize,
    /// Bytes of linear memory of one instance.
    pub(crate) memory: Option<u64>,
    pub(crate) limit: Limit,
}

impl Instances {
    pub(crate) fn for_another_lane(&self) -> Self {
        Self { hooks: self.hooks.another(), ..self.clone() }
    }

    fn store(&self, life: &Arc<Life>) -> Store<World<Extra>> {
        let extra =
            Extra::new(&self.guest, &self.hooks, Ceiling::new(self.memory.unwrap_or(u64::MAX)), Arc::clone(life));
        let mut store = Store::new(&self.engine, guest::world(extra, &self.output, self.sockets));
        if self.memory.is_some() {
            store.limiter(|world| &mut world.extra.ceiling);
        }
        if self.limit.is_some() {
            store.set_epoch_deadline(1);
            store.epoch_deadline_callback(|store| match store.data().extra.life.is_over() {
                true => Err(Error::msg("it took longer than its request may")),
                false => {
                    store.data().extra.life.computes();
                    Ok(UpdateDeadline::Yield(1))
                }
            });
        }
        store
    }
}

impl HandlerState for Instances {
    type StoreData = World<Extra>;
    type WorkerExpiration = Expiration;
    type WorkerState = Requests;

    async fn instantiate(&self) -> Result<Instance<Self::StoreData, Expiration, Requests>> {
        let life = Arc::new(Life::default());
        let mut store = self.store(&life);
        let made = self.pre.instantiate_async(&mut store);
        let proxy = match self.limit {
            Some(limit) => tokio::time::timeout(limit, made)
                .await
                .map_err(|_| Error::msg(format!("its instance was not ready after {limit:?}")))??,
            None => made.await?,
        };
        Ok(Instance {
            store,
            proxy: Proxy::P2(proxy),
            view: guest::view,
            expiration: Expiration { life: Arc::clone(&life), limit: self.limit, computing: None, idle: None },
            state: Requests { life, reuse: self.reuse },
        })
    }
}

/// Which requests an instance is given.
pub(crate) struct Requests {
    life: Arc<Life>,
    reuse: usize,
}

impl WorkerState for Requests {
    type StoreData = World<Extra>;
    type RequestData = Arc<Exchange>;

    fn should_accept_request(&self, running: usize, so_far: usize) -> ShouldAccept {
        match (so_far < self.reuse, running) {
            (false, _) => ShouldAccept::Never,
            // WASI 0.2 has one at a time.
            (true, 1..) => ShouldAccept::No,
            (true, 0) => ShouldAccept::Yes,
        }
    }

    fn on_request_start(
        &self,
        mut store: StoreContextMut<'_, World<Extra>>,
        exchange: Arc<Exchange>,
        _: GuestTaskId,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + Sync>> {
        exchange.is_handled_by(&self.life);
        take_head(&mut store, exchange);
        // Expiration ends it, from outside: in here nothing is looked at while a guest computes.
        Box::pin(std::future::pending())
    }

    fn drop(&self, store: Store<World<Extra>>, result: Result<(), Error>) {
        // Before the body's end is seen, which the store has.
        if let Err(e) = result {
            self.life.fail(e);
        }
        drop(store);
    }
}

/// Has the response go to `exchange` when the guest sets it. The dispatcher, which takes what is set for the end of the matter,
/// tells so how the guest itself ended: a trap behind the beginning of its response is no complete response.
fn take_head(store: &mut StoreContextMut<'_, World<Extra>>, exchange: Arc<Exchange>) {
    let mut entries = store.data_mut().table.iter_mut();
    let found = entries.find_map(|entry| (entry as &mut dyn std::any::Any).downcast_mut::<HostResponseOutparam>());
    if let Some(outparam) = found {
        outparam.send = Box::new(move |head| exchange.set_head(head));
    }
}

/// When an instance is over.
pub(crate) struct Expiration {
    life: Arc<Life>,
    limit: Limit,
    /// Since when the guest has computed without waiting for anything.
    computing: Option<Instant>,
    idle: Option<Pin<Box<Sleep>>>,
}

impl WorkerExpiration for Expiration {
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>, status: WorkerStatus, start: Instant) -> Poll<()> {
        if self.life.poll_over(cx.waker()) {
            return Poll::Ready(());
        }
        // After each turn that the guest had: either it was interrupted, or it waits.
        self.computing = match (self.life.has_computed(), self.computing) {
            (true, since) => since.or_else(|| Some(Instant::now())),
            (false, _) => None,
        };
        if let (Some(since), Some(limit)) = (self.computing, self.limit)
            && since.elapsed() > limit
        {
            self.life.overdo();
            return Poll::Ready(());
        }
        if status != WorkerStatus::Idle {
            self.idle = None;
            return Poll::Pending;
        }
        let until = start + IDLE;
        let idle = self.idle.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until.into())));
        idle.as_mut().poll(cx)
    }
}
