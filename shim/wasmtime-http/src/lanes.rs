//! Lanes: threads that each have an event loop, connections, and the instances of their requests. A connection stays with its thread, so
//! that nothing of a request crosses from one processor to another.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use wasmtime_wasi_http::handler::ProxyHandler;

use crate::connection;
use crate::drain::Alive;
use crate::instances::Instances;
use crate::service::Service;

/// A lane's stack; guests have their own.
const STACK: usize = 512 << 10;

/// Makes an event loop for this thread.
pub(crate) fn event_loop() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_io().enable_time().build()
}

/// All lanes of the server.
pub(crate) struct Lanes {
    service: Arc<Service>,
    instances: Instances,
    /// This thread's lane.
    own: Lane,
    handler: ProxyHandler<Instances>,
    /// Made when there is a connection for them, so that a small pod has one thread.
    others: Vec<(Lane, mpsc::UnboundedSender<Accepted>)>,
    most: usize,
}

/// A connection on its way to its lane, which counts it already, so that the next connection goes elsewhere.
type Accepted = (std::net::TcpStream, Alive, Counted);

/// How many connections a lane has.
#[derive(Clone, Default)]
struct Lane(Arc<AtomicUsize>);

/// Counts a connection of a lane, until it is dropped.
struct Counted(Lane);

impl Lane {
    fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    fn begin(&self) -> Counted {
        self.0.fetch_add(1, Ordering::Relaxed);
        Counted(self.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Lanes {
    /// Makes this thread's lane; further ones come later, up to `most` in all.
    pub(crate) fn new(service: Arc<Service>, instances: Instances, most: usize) -> Self {
        let handler = ProxyHandler::new(instances.clone());
        Self { service, instances, own: Lane::default(), handler, others: Vec::new(), most }
    }

    /// Gives a connection to the lane that has the fewest.
    pub(crate) fn serve(&mut self, stream: tokio::net::TcpStream) {
        let fewest = self.others.iter().min_by_key(|(lane, _)| lane.count());
        let own = self.own.count();
        if own == 0 || fewest.is_none_or(|(lane, _)| own <= lane.count()) && !self.may_grow() {
            return self.serve_here(stream);
        }
        if fewest.is_none_or(|(lane, _)| lane.count() > 0)
            && self.may_grow()
            && let Err(e) = self.grow()
        {
            self.most = 1 + self.others.len();
            self.service.output.tell(format!("catamaran: no further thread can be had: {e}\n"));
            return self.serve_here(stream);
        }
        let Some((lane, queue)) = self.others.iter().min_by_key(|(lane, _)| lane.count()) else {
            return self.serve_here(stream);
        };
        if let Ok(stream) = stream.into_std() {
            // A lane takes connections to the process's end.
            let _ = queue.send((stream, self.service.drain.subscribe(), lane.begin()));
        }
    }

    fn may_grow(&self) -> bool {
        1 + self.others.len() < self.most
    }

    fn serve_here(&self, stream: tokio::net::TcpStream) {
        let (service, handler, counted) = (Arc::clone(&self.service), self.handler.clone(), self.own.begin());
        let alive = service.drain.subscribe();
        tokio::spawn(async move {
            connection::serve(stream, alive, service, handler).await;
            drop(counted);
        });
    }

    fn grow(&mut self) -> io::Result<()> {
        let runtime = event_loop()?;
        let (queue, mut streams) = mpsc::unbounded_channel::<Accepted>();
        let service = Arc::clone(&self.service);
        let handler = ProxyHandler::new(self.instances.for_another_lane());
        let serve = async move {
            while let Some((stream, alive, counted)) = streams.recv().await {
                if let Ok(stream) = tokio::net::TcpStream::from_std(stream) {
                    let (service, handler) = (Arc::clone(&service), handler.clone());
                    tokio::spawn(async move {
                        connection::serve(stream, alive, service, handler).await;
                        drop(counted);
                    });
                }
            }
            std::future::pending::<()>().await;
        };
        let thread = std::thread::Builder::new().name(format!("lane-{}", 1 + self.others.len())).stack_size(STACK);
        // Runs to the process's end, which comes when no connection and no guest is left.
        thread.spawn(move || runtime.block_on(serve))?;
        self.others.push((Lane::default(), queue));
        Ok(())
    }
}

/// Returns how many processors this process may use: those of its cpuset, or fewer by its quota.
pub(crate) fn processors(quota: Option<u32>) -> usize {
    let set = rustix::thread::sched_getaffinity(None).map_or(1, |set| set.count().max(1) as usize);
    quota.map_or(set, |quota| set.min(quota.max(1) as usize))
}
