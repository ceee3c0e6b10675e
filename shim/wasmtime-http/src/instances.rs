//! Answers the dispatcher: makes an instance for a request, and says whether the instance may go on.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use catamaran_wasmtime::world::World;
use tokio::time::Sleep;
use wasmtime::component::GuestTaskId;
use wasmtime::{Engine, Error, Result, Store, StoreContextMut, UpdateDeadline};
use wasmtime_wasi_http::handler::{
    HandlerState, Instance, ProxyPre, ShouldAccept, WorkerExpiration, WorkerState, WorkerStatus,
};
use wasmtime_wasi_http::p2::types::HostResponseOutparam;

use crate::ceiling::Ceiling;
use crate::exchange::{Exchange, Life};
use crate::guest::{self, Common, Extra, Limit};
use crate::output::Output;
use crate::work::{AtWork, Work};

/// How long an instance that may be used again waits for a request.
const IDLE: Duration = Duration::from_secs(30);
/// How many requests one instance of WASI 0.3 handles, unless the pod's author says otherwise, and how many at once: as with `wasmtime
/// serve`.
const REUSE_3: usize = 128;
pub(crate) const AT_ONCE_3: u32 = 16;
/// How long an instance that nobody waits for goes on, if some of its work may be for a request that was given up.
const GRACE: Duration = Duration::from_secs(1);

/// How instances of the component are made.
#[derive(Clone)]
pub(crate) struct Instances {
    pub(crate) engine: Engine,
    pub(crate) pre: Arc<ProxyPre<World<Extra>>>,
    pub(crate) common: Common,
    pub(crate) output: Output,
    pub(crate) sockets: bool,
    /// Requests of one instance, if the pod's author sets them.
    pub(crate) reuse: Option<u32>,
    /// Bytes of linear memory of one instance.
    pub(crate) memory: Option<u64>,
    pub(crate) limit: Limit,
    pub(crate) work: Arc<Work>,
}

/// Returns how many requests one instance handles in all: `said`, or else the default of its version of WASI.
pub(crate) fn reuse(said: Option<u32>, of_wasi_3: bool) -> usize {
    said.map_or(if of_wasi_3 { REUSE_3 } else { 1 }, |said| said as usize)
}

impl Instances {
    pub(crate) fn for_another_lane(&self) -> Self {
        Self { common: self.common.for_another_lane(), ..self.clone() }
    }

    /// Whether several requests share an instance.
    pub(crate) fn is_of_wasi_3(&self) -> bool {
        matches!(*self.pre, ProxyPre::P3(_))
    }

    fn store(&self, life: &Arc<Life>) -> Store<World<Extra>> {
        let extra = Extra::new(&self.common, Ceiling::new(self.memory.unwrap_or(u64::MAX)), Arc::clone(life));
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
        let of_wasi_3 = self.is_of_wasi_3();
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
            proxy,
            view: guest::view,
            expiration: Expiration {
                life: Arc::clone(&life),
                limit: self.limit,
                computing: None,
                timer: None,
                work: of_wasi_3.then(|| Arc::clone(&self.work)),
                at_work: None,
            },
            state: Requests { life, reuse: reuse(self.reuse, of_wasi_3), of_wasi_3 },
        })
    }
}

/// Decides which requests an instance is given.
pub(crate) struct Requests {
    life: Arc<Life>,
    reuse: usize,
    of_wasi_3: bool,
}

impl WorkerState for Requests {
    type StoreData = World<Extra>;
    type RequestData = Arc<Exchange>;

    fn should_accept_request(&self, running: usize, so_far: usize) -> ShouldAccept {
        match (so_far < self.reuse, self.of_wasi_3) {
            (false, false) => ShouldAccept::Never,
            // `Never` would end the instance with its last guest, while the host may still be sending what the guest left to it.
            (false, true) => {
                self.life.fill();
                ShouldAccept::No
            }
            (true, false) if running < 1 => ShouldAccept::Yes,
            (true, true) if running < AT_ONCE_3 as usize => ShouldAccept::Yes,
            (true, _) => ShouldAccept::No,
        }
    }

    fn on_request_start(
        &self,
        mut store: StoreContextMut<'_, World<Extra>>,
        exchange: Arc<Exchange>,
        _: GuestTaskId,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + Sync>> {
        exchange.is_handled_by(&self.life);
        // A guest of 0.3 returns its response.
        if !self.of_wasi_3 {
            take_head(&mut store, exchange);
        }
        // `Expiration` ends the instance from outside, because nothing polls this future while a guest computes. Besides, the dispatcher
        // may wake an instance that takes no further request instead of one that does.
        Box::pin(std::future::pending())
    }

    fn drop(&self, store: Store<World<Extra>>, result: Result<(), Error>) {
        // Notes the failure before the body's end is seen, which comes with the store's drop.
        if let Err(e) = result {
            self.life.fail(e);
        }
        drop(store);
    }
}

/// Sends the response to `exchange` when the guest of WASI 0.2 sets it. The dispatcher, for which a set response would be the end, then
/// reports how the guest itself ended: a response whose guest traps after its head is not complete.
fn take_head(store: &mut StoreContextMut<'_, World<Extra>>, exchange: Arc<Exchange>) {
    let mut entries = store.data_mut().table.iter_mut();
    let found = entries.find_map(|entry| (entry as &mut dyn std::any::Any).downcast_mut::<HostResponseOutparam>());
    if let Some(outparam) = found {
        outparam.send = Box::new(move |head| exchange.set_head(head));
    }
}

/// Decides when an instance is over.
pub(crate) struct Expiration {
    life: Arc<Life>,
    limit: Limit,
    /// Since when the guest has computed without waiting for anything.
    computing: Option<Instant>,
    /// Armed for `deadline`.
    timer: Option<Pin<Box<Sleep>>>,
    /// Only for WASI 0.3, where a guest's work may go on when nothing else counts it any more.
    work: Option<Arc<Work>>,
    at_work: Option<AtWork>,
}

impl Expiration {
    /// Returns when the instance is over if nothing changes; None for never.
    fn deadline(&self, status: WorkerStatus, start: Instant) -> Option<Instant> {
        if self.life.serves() {
            return None;
        }
        let alone = self.life.alone_since();
        if status == WorkerStatus::Idle {
            let since = alone.map_or(start, |since| since.max(start));
            return Some(if self.life.is_full() { since } else { since + IDLE });
        }
        match (self.life.is_burdened(), self.limit) {
            (true, limit) => Some(alone? + limit.map_or(GRACE, |limit| limit.min(GRACE))),
            (false, Some(limit)) => Some(alone? + limit),
            (false, None) => None,
        }
    }
}

impl WorkerExpiration for Expiration {
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>, status: WorkerStatus, start: Instant) -> Poll<()> {
        if self.life.poll_over(cx.waker()) {
            return Poll::Ready(());
        }
        match (&self.work, status) {
            (Some(_), WorkerStatus::Idle) => self.at_work = None,
            (Some(work), _) if self.at_work.is_none() => self.at_work = Some(work.begin()),
            (Some(_) | None, _) => {}
        }
        // Polled after each turn that the guest had: either the guest was interrupted, or it waits.
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
        let Some(deadline) = self.deadline(status, start).map(tokio::time::Instant::from) else {
            self.timer = None;
            return Poll::Pending;
        };
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if timer.deadline() != deadline {
            timer.as_mut().reset(deadline);
        }
        std::task::ready!(timer.as_mut().poll(cx));
        if status != WorkerStatus::Idle {
            self.life.end();
        }
        Poll::Ready(())
    }
}
